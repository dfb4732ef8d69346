//! Tests of the stores through their trait.

mod backend;
pub(crate) mod cases;
mod conformance;
mod durability;
mod model;
mod oracle;
pub(crate) mod support;
