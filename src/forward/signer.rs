//! Signs messages as Standard Webhooks 1.0.0 says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::secret::Secret;
use crate::{domain::Millis, settings::SettingError};

/// How many bytes a key has (Standard Webhooks, "Signature scheme").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs messages with every key that it has; with none it signs nothing.
pub(super) struct WebhookSigner {
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl WebhookSigner {
    /// Reads the keys of the setting `secret`, if it is set: `whsec_` and base64, several separated by blanks or lines.
    ///
    /// # Errors
    /// The setting, if its secret cannot be read or holds what is no key.
    pub(super) fn open(secret: Option<&Secret>) -> Result<Self, SettingError> {
        let Some(secret) = secret else { return Ok(Self { keys: Vec::new() }) };
        let text = secret.read("secret")?;
        let wrong = || {
            let (least, most) = (KEY_BYTES.start(), KEY_BYTES.end());
            SettingError::new(
                "secret",
                format!("must be whsec_ and {least} to {most} random bytes in base64"),
            )
        };
        // The decoder's error would show a byte of the key: it is left out.
        let key = |text: &str| {
            let key = STANDARD.decode(text.strip_prefix("whsec_").ok_or_else(wrong)?).map_err(|_| wrong())?;
            if KEY_BYTES.contains(&key.len()) { Ok(Zeroizing::new(key)) } else { Err(wrong()) }
        };
        Ok(Self { keys: text.split_whitespace().map(key).collect::<Result<_, _>>()? })
    }

    /// Adds the headers `webhook-id`, `webhook-timestamp` and, if there is a key, `webhook-signature`.
    pub(super) fn sign(&self, headers: &mut HeaderMap, id: &str, now: Millis, body: &[u8]) {
        let timestamp = now.div_euclid(1000).to_string();
        let mut signatures = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            // A key of any length is one.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { continue };
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            signatures.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
        }
        let mut put = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("webhook-id", id);
        put("webhook-timestamp", &timestamp);
        if !signatures.is_empty() {
            put("webhook-signature", &signatures.join(" "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(text: &str) -> Result<WebhookSigner, SettingError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        WebhookSigner::open(Some(&Secret::File(file.path().display().to_string())))
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn a_message_is_signed_as_standard_webhooks_says() {
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut headers = HeaderMap::new();
        let body = br#"{"test": 2432232314}"#;
        signer.sign(&mut headers, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000, body);
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }

    #[test]
    fn two_secrets_sign_both_and_a_short_one_is_refused() {
        let two = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
        let mut headers = HeaderMap::new();
        signer(two).unwrap().sign(&mut headers, "a", 0, b"");
        assert_eq!(headers["webhook-signature"].to_str().unwrap().split(' ').count(), 2);
        for bad in ["whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%"] {
            let error = signer(bad).err().unwrap();
            assert_eq!(error.setting, "secret");
            assert!(!error.to_string().contains(bad), "{error}");
        }
    }
}
