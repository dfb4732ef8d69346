//! What Kafka's error codes mean for a batch and for whoever runs this.

use crate::forward::Failure;

/// Most of what a broker says that is shown.
const MOST_SHOWN: usize = 300;

/// What follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// These records will never be taken.
    Refused,
    /// As [`Meaning::Refused`], but fewer of them might be.
    TooLarge,
    /// Later, perhaps elsewhere: who leads must be asked anew.
    Moved,
    /// Later.
    Busy,
    /// Later, though these records may be why.
    Broken,
    /// Somebody must correct something: what.
    Denied(&'static str),
}

/// What becomes of a batch of records.
#[derive(Debug, PartialEq, Eq)]
pub enum ProduceOutcome {
    Taken,
    /// Never, for this reason; a smaller one may be.
    Refused(String),
    TooLarge(String),
    /// Not now, and whether who leads must be asked anew.
    Failed(Failure, bool),
}

const AUTHORISE: &str = "the user needs the permissions DESCRIBE and WRITE for the topic";
const LET_IN: &str = "correct sasl, username or password, or the listener that brokers names";

/// By <https://kafka.apache.org/protocol#protocol_error_codes>: what a producer can be told. The rest is taken as
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

/// What `code` means for records that were sent, and what was said beside it.
pub fn outcome(code: i16, said: Option<&str>) -> ProduceOutcome {
    if code == 0 {
        return ProduceOutcome::Taken;
    }
    let why = describe(code, said);
    match kind(code) {
        Some(Meaning::Refused) => ProduceOutcome::Refused(why),
        Some(Meaning::TooLarge) => ProduceOutcome::TooLarge(why),
        Some(Meaning::Moved) => ProduceOutcome::Failed(Failure::Busy { why, after: None }, true),
        Some(Meaning::Busy) => ProduceOutcome::Failed(Failure::Busy { why, after: None }, false),
        Some(Meaning::Denied(hint)) => {
            ProduceOutcome::Failed(Failure::Denied(format!("{why}: {hint}")), true)
        }
        Some(Meaning::Broken) | None => ProduceOutcome::Failed(Failure::Broken(why), true),
    }
}

/// What `code` means when no records were sent.
pub fn failure(code: i16, said: Option<&str>) -> Failure {
    match outcome(code, said) {
        ProduceOutcome::Failed(failure, _) => failure,
        ProduceOutcome::Taken => Failure::Broken("it says nothing".to_owned()),
        ProduceOutcome::Refused(why) | ProduceOutcome::TooLarge(why) => Failure::Broken(why),
    }
}

fn kind(code: i16) -> Option<Meaning> {
    CODES.iter().find(|(known, ..)| *known == code).map(|(.., kind)| *kind)
}

/// A code by its name, and what was said.
pub fn describe(code: i16, said: Option<&str>) -> String {
    let name = CODES.iter().find(|(known, ..)| *known == code).map_or("", |(_, name, _)| name);
    let name = if name.is_empty() { format!("error {code}") } else { format!("{name} ({code})") };
    match said.map(shown).filter(|said| !said.is_empty()) {
        Some(said) => format!("{name}: {said}"),
        None => name,
    }
}

/// What a broker says, in a line.
pub fn shown(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MOST_SHOWN)];
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
    fn what_passes_is_tried_again_and_what_does_not_is_said_with_its_hint() {
        assert_eq!(outcome(0, None), ProduceOutcome::Taken);
        assert!(matches!(outcome(19, None), ProduceOutcome::Failed(Failure::Busy { .. }, false)));
        assert!(matches!(outcome(6, None), ProduceOutcome::Failed(Failure::Busy { .. }, true)));
        assert!(matches!(outcome(-1, None), ProduceOutcome::Failed(Failure::Broken(_), _)));
        assert!(matches!(outcome(87, None), ProduceOutcome::Refused(_)));
        assert!(matches!(outcome(10, None), ProduceOutcome::TooLarge(_)));
        let ProduceOutcome::Failed(Failure::Denied(why), _) = outcome(29, None) else { panic!() };
        assert!(why.contains("WRITE"), "{why}");
    }
}
