//! What Kafka's error codes mean for a batch and for whoever runs this.

use crate::forward::Failure;

/// Most of what a broker says that is shown.
const MOST_SHOWN: usize = 300;

/// What follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// These records will never be taken.
    Refused,
    /// As [`Kind::Refused`], but fewer of them might be.
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
pub enum Verdict {
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
/// [`Kind::Broken`].
const CODES: &[(i16, &str, Kind)] = &[
    (2, "CORRUPT_MESSAGE", Kind::Broken),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", Kind::Moved),
    (5, "LEADER_NOT_AVAILABLE", Kind::Moved),
    (6, "NOT_LEADER_OR_FOLLOWER", Kind::Moved),
    (7, "REQUEST_TIMED_OUT", Kind::Busy),
    (8, "BROKER_NOT_AVAILABLE", Kind::Moved),
    (9, "REPLICA_NOT_AVAILABLE", Kind::Moved),
    (10, "MESSAGE_TOO_LARGE", Kind::TooLarge),
    (13, "NETWORK_EXCEPTION", Kind::Moved),
    (17, "INVALID_TOPIC_EXCEPTION", Kind::Denied("correct topic")),
    (18, "RECORD_LIST_TOO_LARGE", Kind::TooLarge),
    (19, "NOT_ENOUGH_REPLICAS", Kind::Busy),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Kind::Busy),
    (29, "TOPIC_AUTHORIZATION_FAILED", Kind::Denied(AUTHORISE)),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Kind::Denied(AUTHORISE)),
    (32, "INVALID_TIMESTAMP", Kind::Refused),
    (33, "UNSUPPORTED_SASL_MECHANISM", Kind::Denied(LET_IN)),
    (34, "ILLEGAL_SASL_STATE", Kind::Denied(LET_IN)),
    (35, "UNSUPPORTED_VERSION", Kind::Denied("it is not a Kafka from 0.11 to 4.x")),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Kind::Denied("the topic must keep messages in format 2")),
    (54, "SECURITY_DISABLED", Kind::Denied(LET_IN)),
    (56, "KAFKA_STORAGE_ERROR", Kind::Moved),
    (58, "SASL_AUTHENTICATION_FAILED", Kind::Denied(LET_IN)),
    (72, "LISTENER_NOT_FOUND", Kind::Moved),
    (74, "FENCED_LEADER_EPOCH", Kind::Moved),
    (75, "UNKNOWN_LEADER_EPOCH", Kind::Moved),
    (87, "INVALID_RECORD", Kind::Refused),
    (89, "THROTTLING_QUOTA_EXCEEDED", Kind::Busy),
];

/// What `code` means for records that were sent, and what was said beside it.
pub fn verdict(code: i16, said: Option<&str>) -> Verdict {
    if code == 0 {
        return Verdict::Taken;
    }
    let why = describe(code, said);
    match kind(code) {
        Some(Kind::Refused) => Verdict::Refused(why),
        Some(Kind::TooLarge) => Verdict::TooLarge(why),
        Some(Kind::Moved) => Verdict::Failed(Failure::Busy { why, after: None }, true),
        Some(Kind::Busy) => Verdict::Failed(Failure::Busy { why, after: None }, false),
        Some(Kind::Denied(hint)) => Verdict::Failed(Failure::Denied(format!("{why}: {hint}")), true),
        Some(Kind::Broken) | None => Verdict::Failed(Failure::Broken(why), true),
    }
}

/// What `code` means when no records were sent.
pub fn failure(code: i16, said: Option<&str>) -> Failure {
    match verdict(code, said) {
        Verdict::Failed(failure, _) => failure,
        Verdict::Taken => Failure::Broken("it says nothing".to_owned()),
        Verdict::Refused(why) | Verdict::TooLarge(why) => Failure::Broken(why),
    }
}

fn kind(code: i16) -> Option<Kind> {
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
        assert_eq!(verdict(0, None), Verdict::Taken);
        assert!(matches!(verdict(19, None), Verdict::Failed(Failure::Busy { .. }, false)));
        assert!(matches!(verdict(6, None), Verdict::Failed(Failure::Busy { .. }, true)));
        assert!(matches!(verdict(-1, None), Verdict::Failed(Failure::Broken(_), _)));
        assert!(matches!(verdict(87, None), Verdict::Refused(_)));
        assert!(matches!(verdict(10, None), Verdict::TooLarge(_)));
        let Verdict::Failed(Failure::Denied(why), _) = verdict(29, None) else { panic!() };
        assert!(why.contains("WRITE"), "{why}");
    }
}
