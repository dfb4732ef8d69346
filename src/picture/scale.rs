//! The height of a drawing: a round number above the largest, and lines at even steps below it.

use crate::domain::wording::number;

/// The least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `most`, at least 1 where nothing is larger.
pub(super) fn round_up(most: f64) -> f64 {
    if !(most.is_finite() && most > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    // A hair of room: a sum that should be 10 may be 10.000000000000002.
    steps.into_iter().find(|step| *step >= most * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// A number on the side of a drawing: `1.2k`, `3M`, `0.5`.
pub(super) fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{}{unit}", number(scaled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number() {
        for (most, top) in [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (7.0, 10.0), (23.0, 25.0), (101.0, 200.0)] {
            assert!((round_up(most) - top).abs() < 1e-9, "{most}: {}", round_up(most));
        }
        assert_eq!(round_up(f64::NAN), 1.0);
    }

    #[test]
    fn large_numbers_are_short() {
        assert_eq!([0.5, 12.0, 1200.0, 3e6, 2.5e9].map(short), ["0.5", "12", "1.2k", "3M", "2.5G"]);
    }
}
