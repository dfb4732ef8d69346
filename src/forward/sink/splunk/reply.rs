//! What an answer of the collector means, by Splunk's table of codes.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    forward::{
        error::{SendError, SendErrorKind},
        http::{accepted, answered},
    },
    outbound::HttpResponse,
};

/// The members of an answer that are used.
#[derive(Deserialize)]
struct Reply {
    code: u16,
    /// The index of the first event that is not taken, from 0.
    #[serde(rename = "invalid-event-number")]
    invalid_event: Option<usize>,
    #[serde(rename = "ackId", alias = "ackID")]
    ack: Option<Value>,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum PostOutcome {
    /// It was taken, under this number if acknowledgement is on.
    Taken(Option<u64>),
    /// It was not taken, because of the event at this index.
    InvalidEvent(usize, SendError),
}

/// What became of a request, by the answer to it.
///
/// # Errors
/// Why nothing of the request was taken, if that is not one event of it.
pub(super) fn outcome(response: HttpResponse) -> Result<PostOutcome, SendError> {
    let Some(reply) = response.object::<Reply>() else {
        let response = accepted(response)?;
        return Err(answered(SendErrorKind::Unreachable, &response)
            .detail("that is no HTTP Event Collector, or its answer broke off"));
    };
    let failed = |kind| answered(kind, &response);
    let denied = |hint: &str| Err(failed(SendErrorKind::Denied).detail(hint));
    match reply.code {
        // 24 and 25: taken, but queues are nearly full.
        0 | 24 | 25 if response.is_success() => Ok(PostOutcome::Taken(reply.ack.as_ref().and_then(number))),
        1..=4 | 16 | 21 | 22 => denied("correct the token, in Splunk or here"),
        5 | 6 | 12 | 13 | 15 => {
            let refused = failed(SendErrorKind::Refused);
            match reply.invalid_event {
                Some(n) => Ok(PostOutcome::InvalidEvent(n, refused)),
                None => Err(refused),
            }
        }
        7 => denied("allow the token this index, or set another one"),
        8 => Err(failed(SendErrorKind::Broken)),
        9 | 18..=20 | 23 | 26 | 27 => Err(failed(SendErrorKind::Busy { retry_after: response.retry_after })),
        10 => denied("the token wants indexer acknowledgement: set acknowledge = true"),
        11 => denied("Splunk does not take our channel"),
        14 => denied("enable indexer acknowledgement for the token, or set acknowledge = false"),
        _ => {
            let unknown = failed(SendErrorKind::Unreachable).detail("that code is not known");
            accepted(response)?;
            Err(unknown)
        }
    }
}

/// A number, or one in a string.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Result<PostOutcome, SendErrorKind> {
        let body = body.as_bytes().to_vec();
        outcome(HttpResponse { status, retry_after: None, body, complete: true }).map_err(|error| error.kind)
    }

    fn with_code(status: u16, code: u16) -> Result<PostOutcome, SendErrorKind> {
        of(status, &format!(r#"{{"text":"x","code":{code}}}"#))
    }

    fn taken(outcome: Result<PostOutcome, SendErrorKind>) -> Option<u64> {
        match outcome.unwrap() {
            PostOutcome::Taken(ack) => ack,
            PostOutcome::InvalidEvent(..) => panic!("not taken"),
        }
    }

    #[test]
    fn what_is_taken_has_its_number_if_there_is_one() {
        assert_eq!(taken(with_code(200, 0)), None);
        assert_eq!(taken(of(200, r#"{"text":"Success","code":0,"ackId":7}"#)), Some(7));
        assert_eq!(taken(of(200, r#"{"text":"Success","code":0,"ackID":"7"}"#)), Some(7));
        assert_eq!(taken(with_code(200, 24)), None, "taken, with a warning");
    }

    #[test]
    fn every_code_of_splunk_says_whether_to_wait_to_park_or_to_correct_settings() {
        for (status, code) in
            [(403, 1), (401, 2), (401, 3), (403, 4), (400, 7), (400, 10), (400, 11), (400, 14), (400, 16)]
        {
            assert_eq!(with_code(status, code).unwrap_err(), SendErrorKind::Denied, "{code}");
        }
        for code in [5, 6, 12, 13, 15] {
            assert_eq!(with_code(400, code).unwrap_err(), SendErrorKind::Refused, "{code}");
            let body = format!(r#"{{"text":"x","code":{code},"invalid-event-number":3}}"#);
            assert!(matches!(of(400, &body), Ok(PostOutcome::InvalidEvent(3, _))), "{code}");
        }
        assert_eq!(with_code(500, 8).unwrap_err(), SendErrorKind::Broken);
        for (status, code) in [(503, 9), (503, 18), (503, 23), (429, 26), (429, 27)] {
            assert!(matches!(with_code(status, code), Err(SendErrorKind::Busy { .. })), "{code}");
        }
    }

    #[test]
    fn what_splunks_table_does_not_have_is_as_its_status_says() {
        assert_eq!(with_code(400, 99).unwrap_err(), SendErrorKind::Refused);
        assert_eq!(with_code(500, 0).unwrap_err(), SendErrorKind::Broken);
        assert_eq!(with_code(200, 99).unwrap_err(), SendErrorKind::Unreachable);
        assert_eq!(of(200, "<html>Welcome</html>").unwrap_err(), SendErrorKind::Unreachable);
        assert_eq!(of(413, "too large").unwrap_err(), SendErrorKind::Refused);
        assert_eq!(of(404, "").unwrap_err(), SendErrorKind::Denied);
    }
}
