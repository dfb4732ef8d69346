//! Reading one table of settings strictly, and saying what is wrong with it: the setting, its line, a hint, and what
//! was probably meant.
//!
//! This room knows no setting of the service. What a setting means is said where it is used; how layers are laid over
//! each other is in `config`.

mod error;
mod place;
mod read;
mod secret;
mod suggest;
mod value;

pub use error::{SettingError, SettingErrors};
pub use place::line_of;
pub use read::{field_names, read_table, read_value};
pub use secret::{SECRET_FORM, Secret};
pub use suggest::nearest;
