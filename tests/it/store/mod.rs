//! Tests of the stores through their trait.

mod backend;
mod cases;
mod conformance;
mod durability;

mod support;
