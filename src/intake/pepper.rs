//! The pepper: the server's secret under which API keys are hashed at the door.
//!
//! A key's public id is `<pepper name>:<first 16 hex digits of HMAC-SHA256(pepper, key)>`. The name in front tells
//! which pepper made it, so that a new pepper can come in while bans made under an old one still hold.

use std::{fmt, io::Write, path::Path};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Fewest bytes of a pepper.
pub(super) const MIN_PEPPER_BYTES: usize = 16;

/// Why there is no usable pepper. Never shows any of it.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The file cannot be read or made.
    #[error(
        "pepper file {path}: {error}; make it readable for this user, or name another with --pepper-file"
    )]
    File {
        /// Path of the file, as it was given.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The pepper has fewer than `MIN_PEPPER_BYTES`, 16.
    #[error("a pepper must be at least {MIN_PEPPER_BYTES} bytes; make one with `openssl rand -hex 32`")]
    TooShort,
    /// The text has no pepper in it.
    #[error("the pepper is empty; make one with `openssl rand -hex 32`")]
    Empty,
    /// Two peppers with one name.
    #[error("two peppers are named {0}; each needs a name of its own, such as k1, k2")]
    SameName(String),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// One secret with its name.
#[derive(Clone)]
struct Pepper {
    name: String,
    mac: Hmac<Sha256>,
}

impl Pepper {
    fn new(name: &str, secret: &str) -> Result<Self, PepperError> {
        if secret.len() < MIN_PEPPER_BYTES {
            return Err(PepperError::TooShort);
        }
        let mac = Hmac::new_from_slice(secret.as_bytes()).map_err(|_| PepperError::TooShort)?;
        Ok(Self { name: name.to_owned(), mac })
    }

    /// All 256 bits over lines of text, as hex digits. No key has a line break, so what is signed is never a key's id.
    fn sign(&self, lines: &[&str]) -> String {
        let mut mac = self.mac.clone();
        for line in lines {
            mac.update(line.as_bytes());
            mac.update(b"\n");
        }
        hex::encode(mac.finalize().into_bytes())
    }

    fn digest(&self, bytes: &[u8]) -> String {
        let mut mac = self.mac.clone();
        mac.update(bytes);
        hex::encode(&mac.finalize().into_bytes()[..8])
    }
}

/// The pepper in use and the former ones.
#[derive(Clone)]
pub struct Peppers {
    current: Pepper,
    former: Vec<Pepper>,
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peppers({}, {} former)", self.current.name, self.former.len())
    }
}

impl Peppers {
    /// Reads peppers from text: one per line (or comma), newest first, each `name:secret`, or one bare secret that is
    /// named `k1`. A name is `k` and digits. Blank lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// When there is none, one is too short, or two have the same name.
    pub fn parse(text: &str) -> Result<Self, PepperError> {
        let mut peppers: Vec<Pepper> = Vec::new();
        for line in text.split(['\n', ',']).map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (name, secret) =
                line.split_once(':').filter(|(name, _)| is_name(name)).unwrap_or(("k1", line));
            if peppers.iter().any(|p| p.name == name) {
                return Err(PepperError::SameName(name.to_owned()));
            }
            peppers.push(Pepper::new(name, secret.trim())?);
        }
        let mut peppers = peppers.into_iter();
        let current = peppers.next().ok_or(PepperError::Empty)?;
        Ok(Self { current, former: peppers.collect() })
    }

    /// Reads peppers from a file.
    ///
    /// # Errors
    /// As [`Peppers::parse`], and when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, PepperError> {
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| PepperError::File { path: path.display().to_string(), error })?;
        Self::parse(&text)
    }

    /// Reads the file, or makes it with a fresh pepper (mode 0600) when it is not there.
    ///
    /// # Errors
    /// As [`Peppers::read`], and when the file cannot be made.
    pub fn read_or_make(path: &Path) -> Result<Self, PepperError> {
        let fail = |error| PepperError::File { path: path.display().to_string(), error };
        if !path.exists() {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(fail)?;
            }
            let mut bytes = Zeroizing::new([0_u8; 32]);
            getrandom::fill(bytes.as_mut()).map_err(|e| PepperError::Random(e.to_string()))?;
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path).map_err(fail)?;
            file.write_all(Zeroizing::new(format!("k1:{}\n", hex::encode(bytes.as_ref()))).as_bytes())
                .map_err(fail)?;
            file.sync_all().map_err(fail)?;
        }
        Self::read(path)
    }

    /// The public id of an API key.
    pub fn key_id(&self, api_key: &str) -> String {
        id(&self.current, api_key)
    }

    /// A signature of lines of text under the pepper in use, which nobody can make without it: 64 hex digits.
    pub fn sign(&self, lines: &[&str]) -> String {
        self.current.sign(lines)
    }

    /// The ids that the same key had under former peppers.
    pub fn former_key_ids(&self, api_key: &str) -> Vec<String> {
        self.former.iter().map(|p| id(p, api_key)).collect()
    }

    /// Name and fingerprint of every pepper: what the store keeps, so that another pepper under the same name
    /// is noticed.
    pub fn fingerprints(&self) -> impl Iterator<Item = (&str, String)> {
        std::iter::once(&self.current)
            .chain(&self.former)
            .map(|p| (p.name.as_str(), p.digest(b"keyward pepper fingerprint")))
    }
}

fn id(pepper: &Pepper, api_key: &str) -> String {
    format!("{}:{}", pepper.name, pepper.digest(api_key.as_bytes()))
}

fn is_name(name: &str) -> bool {
    name.len() > 1 && name.starts_with('k') && name[1..].bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123";

    #[test]
    fn an_id_names_its_pepper_and_not_the_key() {
        let peppers = Peppers::parse(SECRET).unwrap();
        let id = peppers.key_id("sk-live-secret");
        assert!(id.starts_with("k1:") && id.len() == 19, "{id}");
        assert_ne!(id, peppers.key_id("sk-live-secreu"));
    }

    #[test]
    fn a_rotated_pepper_still_knows_the_former_id() {
        let old = Peppers::parse(SECRET).unwrap();
        let new =
            Peppers::parse(&format!("# rotated\nk2:another-secret-long-enough\nk1:{SECRET}\n")).unwrap();
        assert!(new.key_id("key").starts_with("k2:"));
        assert_eq!(new.former_key_ids("key"), vec![old.key_id("key")]);
        assert_eq!(new.fingerprints().nth(1), old.fingerprints().next());
    }

    #[test]
    fn bad_peppers_are_refused_without_being_shown() {
        for (text, word) in
            [("", "empty"), ("short", "16 bytes"), ("k1:0123456789abcdef,k1:0123456789abcdefg", "k1")]
        {
            let error = Peppers::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert!(!error.contains("0123456789"), "{error}");
        }
    }

    #[test]
    fn the_first_start_makes_a_pepper_that_the_second_finds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/pepper");
        let made = Peppers::read_or_make(&path).unwrap().key_id("key");
        assert_eq!(Peppers::read_or_make(&path).unwrap().key_id("key"), made);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
