//! Bars side by side, each of parts that stand on one another, with marks above them.

use std::fmt::Write;

use super::{
    scale::{round_up, short},
    text::{at, escaped},
};

/// The size of the drawing, in its own units; the style sheet makes it as wide as there is room.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
/// Room for the numbers at the left, the times at the bottom, and marks at the top.
const LEFT: f64 = 50.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 12.0;
/// Lines across, the base line not counted.
const LINES: u32 = 2;

/// A bar: what it stands for, and its parts from the bottom up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bar {
    /// What is said when one points at it.
    pub title: String,
    /// Its label below the base line; empty: none.
    pub label: String,
    /// A class of the style sheet and an amount, for each part.
    pub parts: Vec<(&'static str, f64)>,
}

/// Something that happened at a bar.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// The number of the bar, from 0.
    pub bar: usize,
    /// A class of the style sheet.
    pub class: &'static str,
    /// What is said when one points at it.
    pub title: String,
}

/// Bars side by side.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    /// What the drawing shows, in a sentence.
    pub description: String,
    /// The bars, from left to right.
    pub bars: Vec<Bar>,
    /// What happened, above the bars.
    pub marks: Vec<Mark>,
}

impl Bars {
    /// The drawing as an SVG element.
    pub(crate) fn svg(&self) -> String {
        let sums = self.bars.iter().map(|bar| bar.parts.iter().map(|(_, amount)| amount).sum::<f64>());
        let top = round_up(sums.fold(0.0, f64::max));
        let mut svg = format!(
            "<svg class=\"picture bars\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.description)
        );
        lines(&mut svg, top);
        let slot = (WIDTH - LEFT) / self.bars.len().max(1) as f64;
        for (index, bar) in self.bars.iter().enumerate() {
            one(&mut svg, bar, LEFT + slot * index as f64, slot, top);
        }
        for mark in &self.marks {
            let x = LEFT + slot * (mark.bar as f64 + 0.5);
            let _ = write!(
                svg,
                "<circle class=\"{}\" cx=\"{}\" cy=\"6\" r=\"4\"><title>{}</title></circle>",
                mark.class,
                at(x),
                escaped(&mark.title)
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

/// The height of an amount above the base line.
fn height(amount: f64, top: f64) -> f64 {
    (amount / top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
}

fn lines(svg: &mut String, top: f64) {
    for n in 0..=LINES {
        let value = top * f64::from(n) / f64::from(LINES);
        let y = at(HEIGHT - BOTTOM - height(value, top));
        let class = if n == 0 { "base" } else { "grid" };
        let _ = write!(svg, "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>");
        let _ = write!(
            svg,
            "<text class=\"side\" x=\"{}\" y=\"{y}\" dy=\"4\">{}</text>",
            LEFT - 6.0,
            short(value)
        );
    }
}

fn one(svg: &mut String, bar: &Bar, x: f64, slot: f64, top: f64) {
    let gap = (slot * 0.15).min(3.0);
    let _ = write!(svg, "<g><title>{}</title>", escaped(&bar.title));
    // Where nothing is, one can still point.
    let _ = write!(
        svg,
        "<rect class=\"slot\" x=\"{}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>",
        at(x),
        at(slot),
        at(HEIGHT - BOTTOM - TOP)
    );
    let mut y = HEIGHT - BOTTOM;
    for (class, amount) in bar.parts.iter().filter(|(_, amount)| *amount > 0.0) {
        // A hair that can be seen, however small the part is.
        let tall = height(*amount, top).max(1.0);
        y -= tall;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            at(x + gap / 2.0),
            at(y),
            at(slot - gap),
            at(tall)
        );
    }
    svg.push_str("</g>");
    if !bar.label.is_empty() {
        let (middle, base) = (at(x + slot / 2.0), at(HEIGHT - 5.0));
        let _ =
            write!(svg, "<text class=\"foot\" x=\"{middle}\" y=\"{base}\">{}</text>", escaped(&bar.label));
    }
}
