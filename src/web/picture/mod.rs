//! Drawings, as SVG: pure functions of numbers. Colours are classes of the style sheet, so that they follow light and
//! dark. Whoever cannot see them reads their description, and the table that every view has behind them.

mod bars;
mod heat;
mod line;
mod map;
mod meter;
mod scale;
#[cfg(test)]
mod tests;
mod text;

pub(super) use bars::{Bar, Bars, Mark};
pub(super) use heat::week;
pub(super) use line::{Band, Line};
pub(super) use map::{Dot, map};
pub(super) use meter::meter;
