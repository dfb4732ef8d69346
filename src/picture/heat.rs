//! A week of hours, seven rows of 24, darker where there is more; today's hours are framed where something came.

use std::fmt::Write;

use super::text::{at, escaped};
use crate::domain::wording::number;

const CELL: f64 = 20.0;
const LEFT: f64 = 34.0;
const TOP: f64 = 16.0;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Shades from the faintest to the fullest; nothing at all has none of them.
const SHADES: usize = 5;

/// Requests per hour of the week: `usual[day][hour]`, from Monday, UTC; `today` has its number in the week and what its
/// hours had so far.
pub(crate) fn week(usual: &[Vec<f64>], today: Option<(usize, &[f64])>) -> String {
    let (width, height) = (LEFT + 24.0 * CELL, TOP + 7.0 * CELL);
    let mut svg = format!(
        "<svg class=\"picture heat\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Usual requests per \
         hour of the week, UTC, with the hours of today framed\">"
    );
    for hour in [0_u8, 6, 12, 18] {
        let x = at(LEFT + f64::from(hour) * CELL + CELL / 2.0);
        let _ = write!(svg, "<text class=\"foot\" x=\"{x}\" y=\"11\">{hour:02}</text>");
    }
    let busiest = usual.iter().flatten().copied().fold(0.0, f64::max);
    for (day, name) in DAYS.iter().enumerate() {
        let y = TOP + day as f64 * CELL;
        let side = LEFT - 6.0;
        let _ = write!(
            svg,
            "<text class=\"side\" x=\"{side}\" y=\"{}\" dy=\"4\">{name}</text>",
            at(y + CELL / 2.0)
        );
        for hour in 0..24 {
            let mean = usual.get(day).and_then(|hours| hours.get(hour)).copied().unwrap_or(0.0);
            let now = today.filter(|(of, _)| *of == day).and_then(|(_, hours)| hours.get(hour).copied());
            cell(&mut svg, (day, hour), shade(mean, busiest), &said(name, hour, mean, now), now);
        }
    }
    svg.push_str("</svg>");
    svg
}

fn cell(svg: &mut String, (day, hour): (usize, usize), shade: usize, title: &str, now: Option<f64>) {
    let (x, y) = (LEFT + hour as f64 * CELL, TOP + day as f64 * CELL);
    let framed = if now.is_some_and(|requests| requests > 0.0) { " today" } else { "" };
    let (x, y, size) = (at(x + 1.0), at(y + 1.0), CELL - 2.0);
    let _ = write!(
        svg,
        "<rect class=\"h{shade}{framed}\" x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" rx=\"2\"><title>{}\
         </title></rect>",
        escaped(title)
    );
}

fn said(day: &str, hour: usize, mean: f64, now: Option<f64>) -> String {
    let usual = format!("{day} {hour:02}:00 UTC: usually {}", number(mean));
    now.map_or_else(|| usual.clone(), |now| format!("{usual}, today {}", number(now)))
}

/// 0 for nothing, else 1 to 5 by the share of the busiest hour.
fn shade(mean: f64, busiest: f64) -> usize {
    if mean <= 0.0 || busiest <= 0.0 {
        return 0;
    }
    ((mean / busiest * SHADES as f64).ceil() as usize).clamp(1, SHADES)
}
