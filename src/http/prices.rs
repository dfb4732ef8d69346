//! `/v1/prices`: what a model costs, and why.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    params::Params,
};
use crate::{
    domain::{
        Millis,
        event::format_millis,
        model::LONGEST_MODEL,
        price::{Part, Rates, Schedule, ServiceTier},
    },
    pricing::Chosen,
};

/// The price of every part, in US dollars as decimals.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PriceRates {
    /// Of a million tokens of the prompt.
    pub input: String,
    /// Of a million tokens of the prompt that came from a cache.
    pub cached_input: String,
    /// Of a million tokens of the prompt that were written to a cache for five minutes.
    pub cache_write_5m: String,
    /// Of a million tokens of the prompt that were written to a cache for an hour.
    pub cache_write_1h: String,
    /// Of a million tokens of the answer.
    pub output: String,
    /// Of a million tokens of the answer that were spent on reasoning.
    pub reasoning: String,
    /// Of each request.
    pub per_request: String,
    /// Of each image.
    pub per_image: String,
    /// Of each second of sound or film.
    pub per_second: String,
    /// Of a million characters.
    pub per_million_characters: String,
}

impl From<&Rates> for PriceRates {
    fn from(rates: &Rates) -> Self {
        let written = |part: Part| part.written(rates.get(part));
        Self {
            input: written(Part::Input),
            cached_input: written(Part::CachedInput),
            cache_write_5m: written(Part::CacheWrite5m),
            cache_write_1h: written(Part::CacheWrite1h),
            output: written(Part::Output),
            reasoning: written(Part::Reasoning),
            per_request: written(Part::Request),
            per_image: written(Part::Image),
            per_second: written(Part::Second),
            per_million_characters: written(Part::Character),
        }
    }
}

/// The prices of a whole request with a longer prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PriceTier {
    /// The prompt has more tokens than this.
    pub above_prompt_tokens: u64,
    /// What each part costs then.
    #[serde(flatten)]
    pub rates: PriceRates,
}

/// Prices, and those for longer prompts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PriceSchedule {
    /// What each part costs.
    #[serde(flatten)]
    pub rates: PriceRates,
    /// What it costs with longer prompts, rising.
    pub tiers: Vec<PriceTier>,
}

impl From<&Schedule> for PriceSchedule {
    fn from(schedule: &Schedule) -> Self {
        let tier =
            |(above, rates): &(u64, Rates)| PriceTier { above_prompt_tokens: *above, rates: rates.into() };
        Self { rates: (&schedule.base).into(), tiers: schedule.tiers.iter().map(tier).collect() }
    }
}

/// What a model costs now, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelPrice {
    /// The name that was asked about.
    pub model: String,
    /// The entry of the price list whose price it is; null: the fallback.
    #[schema(value_type = Option<String>)]
    pub priced_as: Option<Arc<str>>,
    /// The name under which limits and usage count it.
    pub counts_as: String,
    /// Why: `name`, `alias`, `provider prefix`, `snapshot of …`, `pattern …` or `fallback`.
    pub because: String,
    /// Since when it holds; null: always.
    pub from: Option<String>,
    /// The prices of requests without a service tier.
    #[serde(flatten)]
    pub standard: PriceSchedule,
    /// The prices in a batch; absent: as without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<PriceSchedule>,
    /// The prices in the flexible tier; absent: as without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flex: Option<PriceSchedule>,
    /// The prices with priority; absent: as without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriceSchedule>,
}

impl ModelPrice {
    fn of(model: &str, chosen: Chosen) -> Self {
        let service = |tier: ServiceTier| chosen.price.service(tier).map(Into::into);
        Self {
            model: model.to_owned(),
            counts_as: chosen.identity.as_ref().map_or(model, |identity| &identity.name).to_owned(),
            because: chosen.because.to_string(),
            from: (chosen.from > Millis::MIN).then(|| format_millis(chosen.from)),
            standard: chosen.price.standard().into(),
            batch: service(ServiceTier::Batch),
            flex: service(ServiceTier::Flex),
            priority: service(ServiceTier::Priority),
            priced_as: chosen.priced_as,
        }
    }
}

/// Says what a model costs now, by the price list in force on this instance, and why it is this price.
#[utoipa::path(
    get, path = "/v1/prices", tag = "usage", operation_id = "show_price",
    params((
        "model" = String, Query, description = "The model, by any of its names; 1 to 128 bytes.", example = "gpt-4.1"
    )),
    responses(
        (status = 200, body = ModelPrice, description = "What it costs."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Names no model."),
    ),
)]
pub(super) async fn show(State(app): State<App>, params: Params) -> Result<Json<ModelPrice>, ApiError> {
    let params = params.only(&["model"])?;
    let model = params.text("model").filter(|model| (1..=LONGEST_MODEL).contains(&model.len()));
    let Some(model) = model else {
        let detail = format!("must be the name of a model, of 1 to {LONGEST_MODEL} bytes: ?model=gpt-4.1");
        return Err(ApiError::field("/model", detail));
    };
    let chosen = app.intake.prices().choose(model, app.engine.now());
    Ok(Json(ModelPrice::of(model, chosen)))
}
