//! What models cost: the price list, how a name finds its price in it, and how a changed list comes into force.
//!
//! `file` reads the list strictly, `list` answers which prices a name has, `live` keeps the list current and remembers
//! names. What a number of tokens costs at a price is arithmetic, and is in `domain/price`.

mod error;
mod file;
mod import;
mod list;
mod live;
#[cfg(test)]
mod tests;

pub use error::PriceError;
pub use import::{ImportError, Imported, Outcome, Selection, import};
pub use list::{Because, Chosen, PriceList, PricedModel};
pub use live::{PriceSource, PriceStatus, Prices};

/// The price list that is in force where no other is configured.
pub const BUILT_IN: &str = include_str!("../../config/prices.toml");

/// The example of a short list, for tests: a few models at a flat price.
#[cfg(test)]
pub const FLAT_EXAMPLE: &str = include_str!("../../config/prices-flat.example.toml");

/// Prices by the example of a short list, for tests.
#[cfg(test)]
pub fn flat_example() -> std::sync::Arc<Prices> {
    std::sync::Arc::new(Prices::of(FLAT_EXAMPLE).expect("config/prices-flat.example.toml is valid"))
}

/// The built-in prices, for tests.
#[cfg(test)]
pub fn built_in() -> std::sync::Arc<Prices> {
    std::sync::Arc::new(Prices::open(None).expect("config/prices.toml is valid"))
}
