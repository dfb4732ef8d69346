//! Tests of the stores through their trait.

mod backend;
pub mod cases;
mod conformance;
mod durability;
mod model;
mod oracle;
pub mod support;
