//! A line over time, with what is expected after it and how sure that is.

use std::fmt::Write;

use super::{
    scale::{round_up, short},
    text::{at, escaped},
};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 54.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 8.0;
const LINES: u32 = 3;

/// What is expected at the end of the line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    /// What is expected at the last step.
    pub expected: f64,
    /// Between what it is in eight of ten cases; `None` where too little is known.
    pub interval: Option<(f64, f64)>,
}

/// A line of amounts at even steps, of which the first are known.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// What the drawing shows, in a sentence.
    pub description: String,
    /// Known amounts, from the left, the first at the begin.
    pub known: Vec<f64>,
    /// How many steps there are in all.
    pub steps: usize,
    /// What is expected at the last step.
    pub end: Option<Band>,
    /// A line across, such as a budget, with its name.
    pub limit: Option<(f64, String)>,
    /// Labels below, by their step.
    pub labels: Vec<(usize, String)>,
}

impl Line {
    /// The drawing as an SVG element.
    pub(crate) fn svg(&self) -> String {
        let high = self.end.map_or(0.0, |end| end.interval.map_or(end.expected, |(_, high)| high));
        let limit = self.limit.as_ref().map_or(0.0, |(limit, _)| *limit);
        let most = self.known.iter().copied().fold(high.max(limit), f64::max);
        let scale = Scale { top: round_up(most), steps: self.steps.max(2) };
        let mut svg = format!(
            "<svg class=\"picture line\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.description)
        );
        scale.lines(&mut svg);
        for (step, label) in &self.labels {
            let (x, y) = (at(scale.x(*step)), at(HEIGHT - 5.0));
            let _ = write!(svg, "<text class=\"foot\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(label));
        }
        self.ahead(&mut svg, &scale);
        let points = self.known.iter().enumerate().map(|(step, amount)| scale.point(step, *amount));
        let _ =
            write!(svg, "<polyline class=\"known\" points=\"{}\"/>", points.collect::<Vec<_>>().join(" "));
        if let Some((limit, name)) = &self.limit {
            // Below the line where there is no room above it.
            let (y, dy) = (at(scale.y(*limit)), if scale.y(*limit) < 24.0 { 16 } else { -4 });
            let _ = write!(svg, "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>");
            let _ = write!(
                svg,
                "<text class=\"limit\" x=\"{WIDTH}\" y=\"{y}\" dy=\"{dy}\">{}</text>",
                escaped(name)
            );
        }
        svg.push_str("</svg>");
        svg
    }

    fn ahead(&self, svg: &mut String, scale: &Scale) {
        let (Some(end), Some(last)) = (self.end, self.known.last()) else { return };
        let (from, to) = (self.known.len() - 1, scale.steps - 1);
        if let Some((low, high)) = end.interval {
            let [a, b, c] = [scale.point(from, *last), scale.point(to, high), scale.point(to, low)];
            let _ = write!(svg, "<polygon class=\"band\" points=\"{a} {b} {c}\"/>");
        }
        let (a, b) = (scale.point(from, *last), scale.point(to, end.expected));
        let _ = write!(svg, "<polyline class=\"expected\" points=\"{a} {b}\"/>");
    }
}

struct Scale {
    top: f64,
    steps: usize,
}

impl Scale {
    fn x(&self, step: usize) -> f64 {
        LEFT + (WIDTH - LEFT) * step as f64 / (self.steps - 1) as f64
    }

    fn y(&self, amount: f64) -> f64 {
        HEIGHT - BOTTOM - (amount / self.top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
    }

    fn point(&self, step: usize, amount: f64) -> String {
        format!("{},{}", at(self.x(step)), at(self.y(amount)))
    }

    fn lines(&self, svg: &mut String) {
        for n in 0..=LINES {
            let value = self.top * f64::from(n) / f64::from(LINES);
            let (y, class) = (at(self.y(value)), if n == 0 { "base" } else { "grid" });
            let _ =
                write!(svg, "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>");
            let side = LEFT - 6.0;
            let _ =
                write!(svg, "<text class=\"side\" x=\"{side}\" y=\"{y}\" dy=\"4\">{}</text>", short(value));
        }
    }
}
