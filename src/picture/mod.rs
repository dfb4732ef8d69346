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

pub(crate) use bars::{Bar, Bars, Mark};
pub(crate) use heat::week;
pub(crate) use line::{Band, Line};
pub(crate) use map::{Dot, map};
pub(crate) use meter::meter;
