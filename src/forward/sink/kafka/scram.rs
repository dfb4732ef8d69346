//! SCRAM (RFC 5802, and RFC 7677 for SHA-256): proves to the broker that we know the password, without telling it, and
//! has the broker prove that it knew it, too. Without channel binding, as Kafka has it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Fewer are not secure (RFC 7677, 4), and Kafka has no fewer either.
const LEAST_ITERATIONS: u32 = 4_096;
/// Kafka has at most 16,384; more than this would keep us busy for nothing.
const MOST_ITERATIONS: u32 = 65_536;

/// The hash function that SCRAM uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScramHash {
    Sha256,
    Sha512,
}

/// The client's side of one SCRAM exchange.
pub(super) struct Scram<'a> {
    hash: ScramHash,
    password: &'a str,
    nonce: String,
    /// The first message without its header.
    bare: String,
}

/// What is to be said last, and what the broker must then answer.
#[derive(Debug)]
pub(super) struct ClientProof {
    pub message: String,
    signature: Vec<u8>,
}

impl<'a> Scram<'a> {
    /// Begins one. `nonce` is random, of printable characters without a comma, and used only once.
    pub(super) fn new(hash: ScramHash, username: &str, password: &'a str, nonce: &str) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password, nonce: nonce.to_owned(), bare: format!("n={name},r={nonce}") }
    }

    /// What is said first.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers what the broker says to it.
    ///
    /// # Errors
    /// What is wrong with that.
    pub(super) fn prove(&self, message: &str) -> Result<ClientProof, &'static str> {
        let mut parts = message.split(',');
        let mut next = |name| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = next("r=").ok_or("it sent no nonce")?;
        let salt = next("s=").ok_or("it sent no salt")?;
        let iterations = next("i=").and_then(|i| i.parse().ok()).ok_or("it sent no number of iterations")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce is not an answer to ours");
        }
        let salt = STANDARD.decode(salt).map_err(|_| "its salt is not base64")?;
        if !(LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            return Err("it asks for fewer than 4,096 iterations or more than 65,536");
        }
        let without_proof = format!("c=biws,r={nonce}");
        let all = format!("{},{message},{without_proof}", self.bare);
        let salted = self.hash.salted(self.password, &salt, iterations);
        let key = Zeroizing::new(self.hash.sign(&salted, &[b"Client Key"]));
        let mask = self.hash.sign(&self.hash.digest(&key), &[all.as_bytes()]);
        let proof: Vec<u8> = key.iter().zip(mask).map(|(key, mask)| key ^ mask).collect();
        let signature = self.hash.sign(&self.hash.sign(&salted, &[b"Server Key"]), &[all.as_bytes()]);
        Ok(ClientProof { message: format!("{without_proof},p={}", STANDARD.encode(proof)), signature })
    }
}

impl ClientProof {
    /// Checks what the broker says last.
    ///
    /// # Errors
    /// When it has not proven that it knows the password.
    pub(super) fn check(&self, message: &str) -> Result<(), &'static str> {
        let signature = message.split(',').next().and_then(|part| part.strip_prefix("v="));
        let signature = signature.and_then(|text| STANDARD.decode(text).ok());
        match signature {
            Some(signature) if bool::from(signature.ct_eq(&self.signature)) => Ok(()),
            _ => Err("it could not prove that it knows the password"),
        }
    }
}

impl ScramHash {
    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn sign(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => keyed::<Hmac<Sha256>>(key).map(|mac| sign(&mac, parts)),
            Self::Sha512 => keyed::<Hmac<Sha512>>(key).map(|mac| sign(&mac, parts)),
        }
        .unwrap_or_default()
    }

    /// PBKDF2 with one block, which is all that is needed: `Hi` in RFC 5802, 2.2.
    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        let salted = match self {
            Self::Sha256 => {
                keyed::<Hmac<Sha256>>(password.as_bytes()).map(|mac| stretch(&mac, salt, iterations))
            }
            Self::Sha512 => {
                keyed::<Hmac<Sha512>>(password.as_bytes()).map(|mac| stretch(&mac, salt, iterations))
            }
        };
        Zeroizing::new(salted.unwrap_or_default())
    }
}

/// A key of any length is one, so there is always something.
fn keyed<M: KeyInit>(key: &[u8]) -> Option<M> {
    M::new_from_slice(key).ok()
}

fn sign<M: Mac + Clone>(mac: &M, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = mac.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn stretch<M: Mac + Clone>(mac: &M, salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut last = sign(mac, &[salt, &[0, 0, 0, 1]]);
    let mut sum = last.clone();
    for _ in 1..iterations {
        last = sign(mac, &[&last]);
        sum.iter_mut().zip(&last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn scram() -> Scram<'static> {
        Scram::new(ScramHash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    }

    /// The example in RFC 7677, 3.
    #[test]
    fn the_example_of_the_rfc_is_spoken() {
        assert_eq!(scram().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = scram().prove(SAID).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proof.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        proof.check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap_err();
        proof.check("e=invalid-proof").unwrap_err();
    }

    /// Python: `base64.b64encode(hashlib.pbkdf2_hmac("sha512", b"pencil", b"salt", 4096))`
    #[test]
    fn a_password_is_stretched_with_sha_512() {
        let salted = ScramHash::Sha512.salted("pencil", b"salt", 4_096);
        assert_eq!(STANDARD.encode(&*salted), PENCIL_512);
    }

    const PENCIL_512: &str =
        "LP46HBUWYrHqSdE/WVZ0ocZmrdcN8V09AiVOmQWZOHgmHadAf9EcL+5LCjDfUVSxp1L4ahM4Dd1L3Zp8lY7HaQ==";

    #[test]
    fn what_is_no_answer_to_us_is_not_believed() {
        for said in [
            "",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            &SAID.replace("i=4096", "i=4095"),
            &SAID.replace("i=4096", "i=4000000000"),
            &SAID.replace("i=4096", "i=-1"),
            &SAID.replace("s=W22", "s=%%%"),
        ] {
            assert!(scram().prove(said).is_err(), "{said}");
        }
    }

    #[test]
    fn a_name_may_hold_anything() {
        let scram = Scram::new(ScramHash::Sha512, "a=b,c", "", "N");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=N");
    }
}
