//! What went wrong, and the exit code that says so to scripts (sysexits.h).

use std::io::{self, ErrorKind};

use crate::{
    app::AppError,
    config::ConfigError,
    demo::PastError,
    geo::GeoError,
    http::AuthError,
    intake::PepperError,
    pricing::PriceError,
    replay::{ReplayError, VerdictError},
    store::StoreError,
    telemetry::TelemetryError,
};

/// Exit codes, as sysexits.h has them.
pub mod code {
    /// The command did what it was asked to.
    pub const GOOD: u8 = 0;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// `EX_DATAERR`: the input was refused.
    pub const DATA: u8 = 65;
    /// `EX_NOINPUT`: a file, or what was asked for, is not there.
    pub const NO_INPUT: u8 = 66;
    /// `EX_UNAVAILABLE`: the store or the service does not answer.
    pub const UNAVAILABLE: u8 = 69;
    /// `EX_SOFTWARE`: something in the process itself.
    pub const SOFTWARE: u8 = 70;
    /// `EX_IOERR`: reading or writing failed.
    pub const IO: u8 = 74;
    /// `EX_TEMPFAIL`: it stopped, and could not write all that was in memory.
    pub const TEMPORARY: u8 = 75;
    /// `EX_NOPERM`: the service did not allow it.
    pub const NO_PERMISSION: u8 = 77;
    /// `EX_CONFIG`: the configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// A failure in words.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, error: anyhow::Error::msg(message.into()) }
    }

    /// Several failures as one, a line each, with the exit code of the first; good where there are none.
    pub fn all(failures: Vec<Self>) -> Result<(), Self> {
        let Some(first) = failures.first() else { return Ok(()) };
        let lines: Vec<String> = failures.iter().filter_map(Self::message).collect();
        Err(Self::new(first.code, lines.join("\n")))
    }

    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What to tell a person, unless there is nobody left to tell.
    pub fn message(&self) -> Option<String> {
        // Each message holds its cause, so the chain of causes would say it twice.
        (self.code != code::GOOD).then(|| self.error.to_string())
    }
}

impl Failure {
    /// A file that cannot be read or written.
    pub fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Self::io(&path.display().to_string(), error)
    }

    /// Something that cannot be read or written.
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self { code: of_io(error), error: anyhow::Error::msg(format!("{what}: {error}")) }
    }

    /// A file that holds no verdicts.
    pub fn verdicts(path: &std::path::Path, error: &VerdictError) -> Self {
        let code = match error {
            VerdictError::Io(error) => of_io(error),
            VerdictError::Line { .. } => code::DATA,
        };
        Self::new(code, format!("{}: {error}", path.display()))
    }
}

fn of_replay(error: &ReplayError) -> u8 {
    match error {
        ReplayError::Io(error) | ReplayError::Write(error) => of_io(error),
        ReplayError::Store(error) => of_store(error),
        ReplayError::Prices(error) => of_prices(error),
    }
}

fn of_past(error: &PastError) -> u8 {
    match error {
        PastError::Store(error) => of_store(error),
        PastError::Prices(error) => of_prices(error),
        PastError::Record(_) | PastError::Json(_) | PastError::Pepper(_) => code::SOFTWARE,
    }
}

fn of_io(error: &io::Error) -> u8 {
    match error.kind() {
        // Whoever read our output has seen enough: `keyward events | head`.
        ErrorKind::BrokenPipe => code::GOOD,
        ErrorKind::NotFound => code::NO_INPUT,
        ErrorKind::PermissionDenied => code::NO_PERMISSION,
        _ => code::IO,
    }
}

fn of_config(error: &ConfigError) -> u8 {
    match error {
        ConfigError::Unreadable { source, .. } => of_io(source),
        _ => code::CONFIG,
    }
}

fn of_auth(error: &AuthError) -> u8 {
    match error {
        AuthError::Id => code::USAGE,
        AuthError::Random(_) => code::SOFTWARE,
    }
}

fn of_pepper(error: &PepperError) -> u8 {
    match error {
        PepperError::File { error, .. } => of_io(error),
        PepperError::Random(_) => code::SOFTWARE,
        PepperError::TooShort | PepperError::Empty | PepperError::SameName(_) => code::CONFIG,
    }
}

fn of_geo(error: &GeoError) -> u8 {
    match error {
        GeoError::Unreadable { source, .. } => of_io(source),
        GeoError::NotADatabase { .. } | GeoError::Damaged { .. } => code::DATA,
    }
}

fn of_prices(error: &PriceError) -> u8 {
    match error {
        PriceError::Unreadable { source, .. } => of_io(source),
        PriceError::Wrong { .. } => code::CONFIG,
    }
}

fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::Unavailable(_) | StoreError::Deadline(_) | StoreError::Refused(_) => code::UNAVAILABLE,
        StoreError::Incompatible(_) | StoreError::BadCursor => code::DATA,
    }
}

fn of_app(error: &AppError) -> u8 {
    match error {
        AppError::Config(error) => of_config(error),
        AppError::Pepper(error) => of_pepper(error),
        AppError::Geo(error) => of_geo(error),
        AppError::Prices(error) => of_prices(error),
        AppError::Store { error, .. } => of_store(error),
        AppError::Internal(_) => code::SOFTWARE,
        AppError::NotStored(_) => code::TEMPORARY,
        AppError::Settings(_)
        | AppError::OtherPepper { .. }
        | AppError::Telemetry(TelemetryError::Filter(_)) => code::CONFIG,
        AppError::Telemetry(TelemetryError::Metrics(_)) => code::SOFTWARE,
        AppError::Listen { source, .. } | AppError::DoorListen { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied => code::NO_PERMISSION,
            _ => code::UNAVAILABLE,
        },
    }
}

macro_rules! failures {
    ($($error:ty => $code:expr),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self { code: $code(&error), error: error.into() }
            }
        })+
    };
}

failures! {
    io::Error => of_io,
    ConfigError => of_config,
    AppError => of_app,
    TelemetryError => |_: &TelemetryError| code::CONFIG,
    AuthError => of_auth,
    GeoError => of_geo,
    PriceError => of_prices,
    PepperError => of_pepper,
    ReplayError => of_replay,
    PastError => of_past,
    serde_json::Error => |_: &serde_json::Error| code::SOFTWARE,
    toml::ser::Error => |_: &toml::ser::Error| code::SOFTWARE,
}
