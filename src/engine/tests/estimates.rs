//! Estimates of prompt and answer, told apart or not, against limits on tokens and money.

use super::{
    limits::{day, project},
    *,
};
use crate::{
    domain::{decision::Settlement, reservation::HoldTerms, window::Unit},
    intake::WireCheck,
    pricing::built_in,
};

/// A limit, an estimate that just fits, one that is one too large, and one more that no longer fits beside the first.
struct Case {
    limit: serde_json::Value,
    fits: serde_json::Value,
    over: serde_json::Value,
    more: serde_json::Value,
}

fn split(input: u64, output: u64) -> serde_json::Value {
    json!({ "estimated_input_tokens": input, "estimated_output_tokens": output })
}

fn either(tokens: u64) -> serde_json::Value {
    json!({ "estimated_tokens": tokens })
}

fn case(limit: serde_json::Value, estimates: [serde_json::Value; 3]) -> Case {
    let [fits, over, more] = estimates;
    Case { limit, fits, over, more }
}

fn limit(unit: &str, most: u64) -> serde_json::Value {
    json!({ "unit": unit, "window": "day", "limit": most })
}

/// Asks with an estimate of a model at 2 dollars per million tokens of the prompt, and 8 of the answer.
async fn hold(day: &Day, estimate: &serde_json::Value) -> Decision {
    let mut body = json!({ "key_id": "a", "source_ip": SINGAPORE, "project_id": "p", "model": "gpt-4.1" });
    body.as_object_mut().unwrap().extend(estimate.as_object().unwrap().clone());
    let check = serde_json::from_value::<WireCheck>(body).unwrap();
    let record = day.intake.record(check.into(), day.now).unwrap();
    day.engine.reserve(&record, HoldTerms::default(), day.now).await
}

/// What the limits of the project count, by their units.
fn used(decision: &Decision) -> Vec<(Unit, u64)> {
    let of_project = decision.limits.iter().filter(|limit| limit.scope.is_some());
    of_project.map(|limit| (limit.unit, limit.used)).collect()
}

async fn priced(limits: &[serde_json::Value]) -> Day {
    let mut day = day(&[("p", project(json!({ "limits": limits })))]).await;
    day.intake = Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), built_in(), DAY);
    day
}

#[tokio::test]
async fn an_estimate_is_held_against_the_limits_of_its_kind_and_of_either_kind_where_it_may_be_both() {
    let (input, output, tokens) =
        (limit("input_tokens", 1_000), limit("output_tokens", 500), limit("tokens", 600));
    // 0.0044 dollars: 200 tokens at 2 and 500 at 8, or 550 at 8, dollars per million.
    let money = json!({ "unit": "cost_usd", "window": "day", "limit": "0.0044" });
    for Case { limit, fits, over, more } in [
        case(input.clone(), [split(1_000, 9), split(1_001, 9), split(1, 0)]),
        case(input.clone(), [json!({"estimated_input_tokens": 1_000}), split(1_001, 0), either(1)]),
        case(input, [either(1_000), either(1_001), either(1)]),
        case(output.clone(), [split(9, 500), split(9, 501), split(0, 1)]),
        case(output.clone(), [json!({"estimated_output_tokens": 500}), split(0, 501), either(1)]),
        case(output, [either(500), either(501), split(0, 1)]),
        case(tokens.clone(), [split(100, 500), split(101, 500), split(1, 0)]),
        case(tokens, [either(600), either(601), either(1)]),
        case(money.clone(), [split(200, 500), split(200, 501), split(0, 1)]),
        case(money, [either(550), either(551), either(1)]),
    ] {
        let day = priced(std::slice::from_ref(&limit)).await;
        for (estimate, is_held) in [(&over, false), (&fits, true), (&more, false)] {
            let answer = hold(&day, estimate).await;
            assert_eq!(
                (answer.allowed, answer.reserved.is_some()),
                (is_held, is_held),
                "{limit}: {estimate}"
            );
            let reason =
                if limit["unit"] == "cost_usd" { Reason::BudgetExceeded } else { Reason::RateLimitExceeded };
            assert_eq!(answer.reason, Some(reason).filter(|_| !is_held), "{limit}: {estimate}");
        }
    }
}

#[tokio::test]
async fn an_estimate_holds_its_part_of_every_limit_and_its_record_puts_what_was_used_in_its_place() {
    let limits = [
        limit("input_tokens", 10_000),
        limit("output_tokens", 10_000),
        limit("tokens", 10_000),
        json!({ "unit": "cost_usd", "window": "day", "limit": "1" }),
    ];
    let figures = |input: u64, output: u64, tokens: u64, nanos: u64| {
        let units = [Unit::InputTokens, Unit::OutputTokens, Unit::Tokens, Unit::CostUsd];
        units.into_iter().zip([input, output, tokens, nanos]).collect::<Vec<_>>()
    };
    for (estimate, held) in [
        (split(300, 100), figures(300, 100, 400, 1_400_000)),
        (either(400), figures(400, 400, 400, 3_200_000)),
        (json!({ "estimated_output_tokens": 100 }), figures(0, 100, 100, 800_000)),
    ] {
        let mut day = priced(&limits).await;
        let answer = hold(&day, &estimate).await;
        assert_eq!(used(&answer), held, "{estimate}");
        let record = json!({
            "project_id": "p", "model": "gpt-4.1", "tokens_used": null, "prompt_tokens": 250,
            "completion_tokens": 20, "reservation_id": &*answer.reserved.unwrap().id,
        });
        let settled = day.ask(record).await;
        assert_eq!(settled.settlement, Some(Settlement::Settled));
        assert_eq!(used(&settled), figures(250, 20, 270, 660_000), "{estimate}");
    }
}

#[tokio::test]
async fn an_estimate_that_does_not_fit_one_limit_is_held_against_none() {
    let day = priced(&[limit("input_tokens", 1_000), limit("output_tokens", 50)]).await;
    assert!(hold(&day, &split(100, 10)).await.allowed);
    for too_large in [split(100, 41), either(41), json!({ "estimated_output_tokens": 41 })] {
        let refused = hold(&day, &too_large).await;
        assert!(!refused.allowed, "{too_large}");
        assert_eq!(used(&refused), [(Unit::InputTokens, 100), (Unit::OutputTokens, 10)], "{too_large}");
    }
    assert_eq!(
        used(&hold(&day, &split(900, 40)).await),
        [(Unit::InputTokens, 1_000), (Unit::OutputTokens, 50)]
    );
}
