//! A map of the world with dots on it. The land is Natural Earth's 1:110m (public domain), on a plain grid of degrees,
//! without Antarctica: two units a degree, from 84 degrees north to 56 south.

use std::fmt::Write;

use super::text::{at, escaped};

const LAND: &str = include_str!("land.path");
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
/// Units of a degree.
const SCALE: f64 = 2.0;
const NORTH: f64 = 84.0;

/// A place on the map.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    /// Degrees north of the equator.
    pub latitude: f64,
    /// Degrees east of Greenwich.
    pub longitude: f64,
    /// A class of the style sheet.
    pub class: &'static str,
    /// What is said when one points at it.
    pub title: String,
    /// How much it weighs, 0 to 1: its size.
    pub weight: f64,
}

/// The map with its dots, of which the last are on top.
pub(crate) fn map(description: &str, dots: &[Dot]) -> String {
    let (label, land) = (escaped(description), LAND.trim_end());
    let mut svg = format!(
        "<svg class=\"picture map\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">\
         <path class=\"land\" d=\"{land}\"/>"
    );
    for dot in dots {
        let x = at((dot.longitude.clamp(-180.0, 180.0) + 180.0) * SCALE);
        let y = at(((NORTH - dot.latitude) * SCALE).clamp(0.0, HEIGHT));
        let radius = at(3.5 + 5.5 * dot.weight.clamp(0.0, 1.0).sqrt());
        let (class, title) = (dot.class, escaped(&dot.title));
        let _ = write!(
            svg,
            "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"><title>{title}</title></circle>"
        );
    }
    svg.push_str("</svg>");
    svg
}
