//! What is wrong with `[gateway]`: everything at once, by the full names of the settings.

use std::{collections::HashMap, time::Duration};

use super::{
    target::Target,
    types::{Dialect, GatewaySettings, UpstreamSettings},
};
use crate::{
    domain::{
        address,
        model::{LONGEST_MODEL, ModelName},
        subject::valid_id,
    },
    outbound,
    settings::{SettingError, SettingErrors, nearest},
};

/// Highest weight of a target.
const MAX_WEIGHT: u32 = 10_000;
/// Longest name of an upstream, in bytes.
const LONGEST_NAME: usize = 64;

/// Where each entry of the lists was written: its position there, without those that could not be read.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as the lists are")]
pub struct Places {
    pub upstreams: Vec<usize>,
    pub routes: Vec<usize>,
    pub aliases: Vec<usize>,
    pub models: Vec<usize>,
    /// The names of all upstreams, also of those that could not be read.
    pub names: Vec<String>,
}

/// Adds everything that is wrong with the settings.
pub fn check(settings: &GatewaySettings, places: &Places, errors: &mut SettingErrors) {
    for (n, text) in settings.trusted_proxies.iter().enumerate() {
        let parsed = address::parse_network(text).map(drop);
        let name = format!("gateway.trusted_proxies[{n}]");
        errors.check(parsed.map_err(|error| SettingError::new(name, error.to_string())));
    }
    cache(settings, errors);
    upstreams(settings, places, errors);
    models(settings, places, errors);
    routes(settings, places, errors);
    aliases(settings, places, errors);
    default_model(settings, errors);
}

fn cache(settings: &GatewaySettings, errors: &mut SettingErrors) {
    let is_used = settings.cache_mib == 0 || !settings.cache_projects.is_empty();
    let hint = "must name the projects whose answers are kept where cache_mib is not 0";
    errors.check(SettingError::ensure(is_used, "gateway.cache_projects", hint));
    for (n, project) in settings.cache_projects.iter().enumerate() {
        let hint = "must be the id of a project";
        errors.check(SettingError::ensure(valid_id(project), &format!("gateway.cache_projects[{n}]"), hint));
    }
}

fn upstreams(settings: &GatewaySettings, places: &Places, errors: &mut SettingErrors) {
    let mut known = HashMap::new();
    for (n, upstream) in places.upstreams.iter().zip(&settings.upstreams) {
        let place = format!("gateway.upstreams[{n}]");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name =
            (1..=LONGEST_NAME).contains(&upstream.name.len()) && upstream.name.chars().all(is_plain);
        let form = "must be 1 to 64 letters, digits, or any of - _ .";
        errors.check(SettingError::ensure(is_name, &format!("{place}.name"), form));
        if let Some(earlier) = known.insert(&upstream.name, n) {
            let hint = format!("must not be that of `gateway.upstreams[{earlier}]`, too");
            errors.check(Err(SettingError::new(format!("{place}.name"), hint)));
        }
        errors.check(base_url(upstream).map_err(|error| error.within(&place)));
    }
}

/// Adds every key of an upstream that is not where it should be.
pub fn check_keys(settings: &GatewaySettings, places: &Places, errors: &mut SettingErrors) {
    for (n, upstream) in places.upstreams.iter().zip(&settings.upstreams) {
        let read = upstream.api_key.as_ref().map_or(Ok(()), |key| key.read("api_key").map(drop));
        errors.check(read.map_err(|error| error.within(&format!("gateway.upstreams[{n}]"))));
    }
}

/// Whether the upstream may be connected to by what is written, and its URL is the one that SDKs take.
fn base_url(upstream: &UpstreamSettings) -> Result<(), SettingError> {
    let settings = upstream.outbound(Duration::from_secs(1))?;
    outbound::check_url(&upstream.base_url, &settings).map_err(|error| error.renamed("base_url"))?;
    let path = upstream.base_url.split('?').next().unwrap_or_default().trim_end_matches('/');
    let (is_right, hint) = match upstream.dialect {
        Dialect::Openai => (
            !["/chat/completions", "/embeddings", "/responses"].iter().any(|end| path.ends_with(end)),
            "must be as the provider's SDK takes it: up to /v1, without the path of an interface",
        ),
        Dialect::Anthropic => (
            !path.ends_with("/v1") && !path.ends_with("/messages"),
            "must be as the provider's SDK takes it: without /v1, which is added",
        ),
    };
    SettingError::ensure(is_right, "base_url", hint)
}

fn models(settings: &GatewaySettings, places: &Places, errors: &mut SettingErrors) {
    let mut known = HashMap::new();
    for (n, model) in places.models.iter().zip(&settings.models) {
        let place = format!("gateway.models[{n}]");
        errors.check(pattern(&model.model).map_err(|error| error.within(&place)));
        if let Some(earlier) = known.insert(&model.model, n) {
            let hint = format!("must not be that of `gateway.models[{earlier}]`, too");
            errors.check(Err(SettingError::new(format!("{place}.model"), hint)));
        }
        for (name, tokens) in
            [("context_window", model.context_window), ("max_output_tokens", model.max_output_tokens)]
        {
            let is_right = tokens.is_none_or(|tokens| (1..=1_000_000_000).contains(&tokens));
            let hint = "must be from 1 to 1000000000 tokens";
            errors.check(SettingError::ensure(is_right, &format!("{place}.{name}"), hint));
        }
    }
}

fn routes(settings: &GatewaySettings, places: &Places, errors: &mut SettingErrors) {
    let mut known = HashMap::new();
    for (n, route) in places.routes.iter().zip(&settings.routes) {
        let place = format!("gateway.routes[{n}]");
        errors.check(pattern(&route.model).map_err(|error| error.within(&place)));
        if let Some(earlier) = known.insert(&route.model, n) {
            let hint =
                format!("must not be that of `gateway.routes[{earlier}]`, too: one of them is never used");
            errors.check(Err(SettingError::new(format!("{place}.model"), hint)));
        }
        let weight: u64 = route.upstreams.iter().map(|target| u64::from(target.weight)).sum();
        let hint = "must name at least one upstream with a weight above 0";
        errors.check(SettingError::ensure(weight > 0, &format!("{place}.upstreams"), hint));
        for (list, targets) in [("upstreams", &route.upstreams), ("fallback", &route.fallback)] {
            for (m, target) in targets.iter().enumerate() {
                errors.extend(target_errors(target, &places.names).within(&format!("{place}.{list}[{m}]")));
            }
        }
    }
}

fn target_errors(target: &Target, known: &[String]) -> SettingErrors {
    let mut errors = SettingErrors::default();
    let names = || known.iter().map(String::as_str);
    let is_known = names().any(|name| name == target.name);
    let unknown = SettingError::ensure(is_known, "name", "must name an upstream of [[gateway.upstreams]]");
    errors.check(unknown.map_err(|error| error.suggesting(nearest(&target.name, names()))));
    let hint = format!("must be from 0 to {MAX_WEIGHT}");
    errors.check(SettingError::ensure(target.weight <= MAX_WEIGHT, "weight", hint));
    errors.check(target.model.as_deref().map_or(Ok(()), name));
    errors
}

fn aliases(settings: &GatewaySettings, places: &Places, errors: &mut SettingErrors) {
    let mut known = HashMap::new();
    for (n, alias) in places.aliases.iter().zip(&settings.aliases) {
        let place = format!("gateway.aliases[{n}]");
        errors.check(name(&alias.name).map_err(|error| error.renamed("name").within(&place)));
        if let Some(earlier) = known.insert(&alias.name, n) {
            let hint = format!("must not be that of `gateway.aliases[{earlier}]`, too");
            errors.check(Err(SettingError::new(format!("{place}.name"), hint)));
        }
        let is_alias = settings.aliases.iter().any(|other| other.name == alias.model);
        let hint = "must be a model: an alias of an alias is not followed";
        errors.check(SettingError::ensure(!is_alias, &format!("{place}.model"), hint));
        if !is_alias {
            errors.check(routed(settings, &alias.model, &format!("{place}.model")));
        }
    }
}

fn default_model(settings: &GatewaySettings, errors: &mut SettingErrors) {
    let model = settings.default_model.as_str();
    let is_alias = settings.aliases.iter().any(|alias| alias.name == model);
    if !model.is_empty() && !is_alias {
        errors.check(routed(settings, model, "gateway.default_model"));
    }
}

/// Whether a route leads from a model.
fn routed(settings: &GatewaySettings, model: &str, setting: &str) -> Result<(), SettingError> {
    let fits = |pattern: &str| ModelName::parse(pattern).is_ok_and(|name| name.fits(model));
    let is_routed = settings.routes.iter().any(|route| fits(&route.model));
    let names = settings.routes.iter().map(|route| route.model.as_str());
    let error =
        SettingError::ensure(is_routed, setting, "must be a model that a route of [[gateway.routes]] fits");
    error.map_err(|error| error.suggesting(nearest(model, names)))
}

fn pattern(text: &str) -> Result<(), SettingError> {
    name(text)?;
    ModelName::parse(text)
        .map(drop)
        .map_err(|why| SettingError::new("model", format!("is no pattern: {why}")))
}

fn name(text: &str) -> Result<(), SettingError> {
    let is_name =
        (1..=LONGEST_MODEL).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    SettingError::ensure(is_name, "model", "must be 1 to 128 visible ASCII characters, without spaces")
}
