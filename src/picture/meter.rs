//! How much of a limit is used, as a bar.

use super::text::at;

/// A bar of 100 units, filled to a share of 0 to 1; its class says whether little, much or all is used.
pub(crate) fn meter(share: f64) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let class = match share {
        s if s >= 1.0 => "full",
        s if s >= 0.8 => "much",
        _ => "some",
    };
    let filled = at(share * 100.0);
    format!(
        "<svg class=\"meter {class}\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect \
         class=\"room\" width=\"100\" height=\"6\"/><rect class=\"used\" width=\"{filled}\" height=\"6\"/></svg>"
    )
}
