//! Plays a script into a service over its HTTP API, at its pace, and keeps the score.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;

use super::{
    super::{Failure, client::Connection, code},
    answer::Answer,
    screen::Screen,
};
use crate::{
    clock,
    demo::Cue,
    domain::decision::{Action, Reason},
    simulate::score::{Score, Scorer, Verdict},
};

/// How often the script is looked at.
const BEAT: Duration = Duration::from_millis(25);

/// Plays it all. Each request is made when its cue comes, or as soon after as the service has answered the one before.
pub(super) async fn play(service: &Connection, cues: Vec<Cue>, screen: &Screen) -> Result<Score, Failure> {
    let mut scorer = Scorer::default();
    let mut news = News::default();
    let began = clock::instant();
    let mut beats = clock::ticks(BEAT);
    for cue in cues {
        while began.elapsed() < cue.after {
            beats.tick().await;
        }
        let answer = tell(service, &cue).await?;
        let findings = answer.anomalies.iter().map(|finding| (finding.kind, finding.severity)).collect();
        // A budget that is used up is no mistake about whose key it is.
        let allowed = answer.allowed || answer.reason.as_deref() == Some(Reason::BudgetExceeded.name());
        scorer.add(&cue.labelled, &Verdict { allowed, findings });
        if news.is_new(&cue, &answer) {
            screen.decision(began.elapsed(), &cue, &answer)?;
        }
    }
    Ok(scorer.finish())
}

async fn tell(service: &Connection, cue: &Cue) -> Result<Answer, Failure> {
    let mut body = serde_json::to_value(&cue.labelled.record)?;
    if let Some(fields) = body.as_object_mut() {
        // It happens now, whatever hour of the holder's life it is taken from; and a retry of nothing.
        fields.remove("timestamp");
        fields.remove("request_id");
    }
    let body = service.json(service.request(Method::POST, &["v1", "record"]).json(&body)).await?;
    serde_json::from_value(body).map_err(|error| Failure::new(code::SOFTWARE, error.to_string()))
}

/// What was shown already: the first sight of a key, each sort of finding and each action once.
#[derive(Default)]
struct News(BTreeSet<(&'static str, Option<&'static str>, String)>);

impl News {
    fn is_new(&mut self, cue: &Cue, answer: &Answer) -> bool {
        let what = match answer.worst() {
            Some(finding) if answer.action >= Action::Throttle => {
                format!("{} {}", finding.kind.name(), answer.action.name())
            }
            // Remarks are for the event log.
            _ if answer.allowed => String::new(),
            _ => answer.reason.clone().unwrap_or_default(),
        };
        // An attack's requests that passed are no news; a rightful key at work is, once.
        (cue.labelled.label.is_none() || !what.is_empty())
            && self.0.insert((cue.name, cue.labelled.label, what))
    }
}
