//! How a receiver is reached that speaks no HTTP: the addresses behind its name that may be connected to, the socket, and
//! TLS. For HTTP all of this is in `client`.

mod route;
mod socket;
mod tls;

pub use route::Route;
pub use socket::{Io, connect};
pub use tls::{Tls, Trust, failure, server_name};
