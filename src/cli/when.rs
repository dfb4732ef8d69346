//! A moment, as it is asked for: a length before now, a length from now, or a time.

use super::duration;
use crate::domain::{
    Millis, SECOND,
    event::{format_millis, parse_millis},
};

/// A moment, as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// So many milliseconds before now.
    Ago(Millis),
    /// At this moment, in milliseconds.
    At(Millis),
}

impl When {
    /// Reads a length such as `7d`, or an RFC 3339 time.
    ///
    /// # Errors
    /// What it should look like.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if let Ok(at) = parse_millis(text) {
            return Ok(Self::At(at));
        }
        length(text).map(Self::Ago).ok_or_else(|| {
            "write a length such as 12h or 7d, or a time such as 2026-03-02T09:00:00Z".to_owned()
        })
    }

    /// The moment in milliseconds, where it is `now`.
    pub(super) fn millis(self, now: Millis) -> Millis {
        match self {
            Self::Ago(length) => now.saturating_sub(length),
            Self::At(at) => at,
        }
    }
}

/// When something ends, as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expiry {
    /// At this moment, in milliseconds.
    At(Millis),
    /// So many milliseconds from now.
    In(Millis),
}

impl Expiry {
    /// Reads a length such as `90d`, or an RFC 3339 time.
    ///
    /// # Errors
    /// What it should look like.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if let Ok(at) = parse_millis(text) {
            return Ok(Self::At(at));
        }
        let example = || format_millis(1_830_297_600_000);
        length(text)
            .map(Self::In)
            .ok_or_else(|| format!("write a time such as {}, or a length such as 90d", example()))
    }

    /// The moment in milliseconds, where it is `now`.
    pub(super) fn millis(self, now: Millis) -> Millis {
        match self {
            Self::At(at) => at,
            Self::In(length) => now.saturating_add(length),
        }
    }
}

/// A length in milliseconds.
fn length(text: &str) -> Option<Millis> {
    let seconds = duration::seconds(text).ok().and_then(|seconds| Millis::try_from(seconds).ok());
    seconds.and_then(|seconds| seconds.checked_mul(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DAY;

    #[test]
    fn a_moment_is_a_length_before_now_or_a_time() {
        let now = 1_772_442_000_000;
        assert_eq!(When::read("7d").unwrap().millis(now), now - 7 * DAY);
        assert_eq!(When::read("2026-03-02T09:00:00Z").unwrap().millis(0), now);
        let error = When::read("yesterday").unwrap_err();
        assert!(error.contains("7d") && error.contains("2026"), "{error}");
    }

    #[test]
    fn an_end_is_a_length_from_now_or_a_time() {
        let now = 1_772_442_000_000;
        assert_eq!(Expiry::read("90d").unwrap().millis(now), now + 90 * DAY);
        assert_eq!(Expiry::read("2026-03-02T09:00:00Z").unwrap().millis(0), now);
        let error = Expiry::read("tomorrow").unwrap_err();
        assert!(error.contains("90d") && error.contains("2028"), "{error}");
    }
}
