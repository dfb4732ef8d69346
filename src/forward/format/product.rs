//! Who made an event, in every format that has a place for it.

pub(super) const VENDOR: &str = "Keyward";
pub(super) const PRODUCT: &str = "Keyward";
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
