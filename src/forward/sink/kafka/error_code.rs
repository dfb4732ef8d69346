//! What Kafka's error codes mean for a batch and for whoever runs this.

use crate::forward::error::{SendError, SendErrorKind};

/// Most bytes of what a broker says that people are shown.
const MAX_SHOWN: usize = 300;

/// What follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// These records will never be taken.
    Refused,
    /// As [`Meaning::Refused`], but fewer of them might be.
    TooLarge,
    /// The same again later, perhaps elsewhere: the metadata is out of date.
    Moved,
    /// The same again later.
    Busy,
    /// The same again later, although these records may be why.
    Broken,
    /// Somebody must correct something: what.
    Denied(&'static str),
}

/// What becomes of a batch of records.
#[derive(Debug)]
pub(super) enum ProduceOutcome {
    Taken,
    /// The records will never be taken, for this reason; a smaller batch may be.
    Refused(String),
    /// As [`ProduceOutcome::Refused`], because of the size of the batch.
    TooLarge(String),
    /// The records are not taken now.
    Failed {
        error: SendError,
        /// Whether the metadata may be out of date.
        refresh_metadata: bool,
    },
}

const AUTHORISE: &str = "the user needs the permissions DESCRIBE and WRITE for the topic";
const LET_IN: &str = "correct sasl, username or password, or the listener that brokers names";

/// By <https://kafka.apache.org/protocol#protocol_error_codes>: what a producer can be answered. The rest is taken as
/// [`Meaning::Broken`].
const CODES: &[(i16, &str, Meaning)] = &[
    (2, "CORRUPT_MESSAGE", Meaning::Broken),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", Meaning::Moved),
    (5, "LEADER_NOT_AVAILABLE", Meaning::Moved),
    (6, "NOT_LEADER_OR_FOLLOWER", Meaning::Moved),
    (7, "REQUEST_TIMED_OUT", Meaning::Busy),
    (8, "BROKER_NOT_AVAILABLE", Meaning::Moved),
    (9, "REPLICA_NOT_AVAILABLE", Meaning::Moved),
    (10, "MESSAGE_TOO_LARGE", Meaning::TooLarge),
    (13, "NETWORK_EXCEPTION", Meaning::Moved),
    (17, "INVALID_TOPIC_EXCEPTION", Meaning::Denied("correct topic")),
    (18, "RECORD_LIST_TOO_LARGE", Meaning::TooLarge),
    (19, "NOT_ENOUGH_REPLICAS", Meaning::Busy),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Meaning::Busy),
    (29, "TOPIC_AUTHORIZATION_FAILED", Meaning::Denied(AUTHORISE)),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Meaning::Denied(AUTHORISE)),
    (32, "INVALID_TIMESTAMP", Meaning::Refused),
    (33, "UNSUPPORTED_SASL_MECHANISM", Meaning::Denied(LET_IN)),
    (34, "ILLEGAL_SASL_STATE", Meaning::Denied(LET_IN)),
    (35, "UNSUPPORTED_VERSION", Meaning::Denied("it is not a Kafka from 0.11 to 4.x")),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Meaning::Denied("the topic must keep messages in format 2")),
    (54, "SECURITY_DISABLED", Meaning::Denied(LET_IN)),
    (56, "KAFKA_STORAGE_ERROR", Meaning::Moved),
    (58, "SASL_AUTHENTICATION_FAILED", Meaning::Denied(LET_IN)),
    (72, "LISTENER_NOT_FOUND", Meaning::Moved),
    (74, "FENCED_LEADER_EPOCH", Meaning::Moved),
    (75, "UNKNOWN_LEADER_EPOCH", Meaning::Moved),
    (87, "INVALID_RECORD", Meaning::Refused),
    (89, "THROTTLING_QUOTA_EXCEEDED", Meaning::Busy),
];

/// What `code` means for records that were sent, with what the broker said beside it.
pub(super) fn outcome_of(code: i16, message: Option<&str>) -> ProduceOutcome {
    if code == 0 {
        return ProduceOutcome::Taken;
    }
    let failed = |kind, hint: &str, refresh_metadata| ProduceOutcome::Failed {
        error: SendError::new(kind, name_of(code))
            .detail(message.map(shown).unwrap_or_default())
            .detail(hint),
        refresh_metadata,
    };
    let busy = SendErrorKind::Busy { retry_after: None };
    match meaning(code) {
        Some(Meaning::Refused) => ProduceOutcome::Refused(describe(code, message)),
        Some(Meaning::TooLarge) => ProduceOutcome::TooLarge(describe(code, message)),
        Some(Meaning::Moved) => failed(busy, "", true),
        Some(Meaning::Busy) => failed(busy, "", false),
        Some(Meaning::Denied(hint)) => failed(SendErrorKind::Denied, hint, true),
        Some(Meaning::Broken) | None => failed(SendErrorKind::Broken, "", true),
    }
}

/// What `code`, which is not 0, means when no records were sent.
pub(super) fn error_of(code: i16, message: Option<&str>) -> SendError {
    match outcome_of(code, message) {
        ProduceOutcome::Failed { error, .. } => error,
        ProduceOutcome::Taken => SendError::broken("it says nothing"),
        ProduceOutcome::Refused(why) | ProduceOutcome::TooLarge(why) => SendError::broken(why),
    }
}

fn meaning(code: i16) -> Option<Meaning> {
    CODES.iter().find(|(known, ..)| *known == code).map(|(.., meaning)| *meaning)
}

/// A code by its name and its number, for people.
fn name_of(code: i16) -> String {
    match CODES.iter().find(|(known, ..)| *known == code) {
        Some((_, name, _)) => format!("{name} ({code})"),
        None => format!("error {code}"),
    }
}

/// A code by its name, and what the broker said.
fn describe(code: i16, message: Option<&str>) -> String {
    let name = name_of(code);
    match message.map(shown).filter(|message| !message.is_empty()) {
        Some(message) => format!("{name}: {message}"),
        None => name,
    }
}

/// What a broker says, on one line of at most 300 bytes.
pub(super) fn shown(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_SHOWN)];
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_and_are_named_where_they_are_shown() {
        assert!(CODES.is_sorted_by_key(|(code, ..)| code));
        assert_eq!(describe(6, None), "NOT_LEADER_OR_FOLLOWER (6)");
        assert_eq!(describe(999, Some("a\nb")), "error 999: a b");
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_said_with_a_hint() {
        let failed = |code| match outcome_of(code, None) {
            ProduceOutcome::Failed { error, refresh_metadata } => (error, refresh_metadata),
            other => panic!("{other:?}"),
        };
        assert!(matches!(outcome_of(0, None), ProduceOutcome::Taken));
        let (error, refresh_metadata) = failed(19);
        assert!(matches!(error.kind, SendErrorKind::Busy { .. }) && !refresh_metadata);
        let (error, refresh_metadata) = failed(6);
        assert!(matches!(error.kind, SendErrorKind::Busy { .. }) && refresh_metadata);
        assert_eq!(failed(-1).0.kind, SendErrorKind::Broken);
        assert!(matches!(outcome_of(87, None), ProduceOutcome::Refused(_)));
        assert!(matches!(outcome_of(10, None), ProduceOutcome::TooLarge(_)));
        let (error, _) = failed(29);
        assert!(error.kind == SendErrorKind::Denied && error.to_string().contains("WRITE"), "{error}");
    }
}
