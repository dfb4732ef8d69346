//! TLS, certificates, and logging in: the fake's side of it, and what comes of it.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use kafka_protocol::{
    messages::{
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::StrBytes,
};
use keyward::forward::{SendError, SendErrorKind, SendReport};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use sha2::{Digest, Sha256, Sha512};
use tempfile::{NamedTempFile, TempDir};
use tokio_rustls::TlsAcceptor;

use super::{
    fake::{Fake, Nature},
    *,
};
use crate::syslog_receiver::certificates;

const PASSWORD: &str = "T0p-s3cr3t, = never shown";

/// Whom the fake lets in: the user `keyward, inc=` with the password.
pub(super) struct Door {
    mechanism: &'static str,
    /// How long one may stay, in milliseconds.
    lifetime: i64,
    /// Whether it cannot prove that it knows the password.
    is_impostor: bool,
}

/// Somebody before the door.
pub(super) struct Visit {
    mechanism: &'static str,
    lifetime: i64,
    is_impostor: bool,
    is_in: bool,
    /// What both said so far (SCRAM).
    said: String,
}

impl Door {
    fn of(mechanism: &'static str) -> Self {
        Self { mechanism, lifetime: 0, is_impostor: false }
    }

    pub(super) fn visit(&self) -> Visit {
        let (mechanism, lifetime, is_impostor) = (self.mechanism, self.lifetime, self.is_impostor);
        Visit { mechanism, lifetime, is_impostor, is_in: false, said: String::new() }
    }
}

impl Visit {
    pub(super) fn is_in(&self) -> bool {
        self.is_in
    }

    pub(super) fn greet(&self, asked: &SaslHandshakeRequest) -> SaslHandshakeResponse {
        let error = if asked.mechanism.as_str() == self.mechanism { 0 } else { 33 };
        let known = vec![StrBytes::from_static_str(self.mechanism)];
        SaslHandshakeResponse::default().with_error_code(error).with_mechanisms(known)
    }

    pub(super) fn hear(&mut self, asked: &SaslAuthenticateRequest) -> SaslAuthenticateResponse {
        let text = std::str::from_utf8(&asked.auth_bytes).unwrap();
        let said = match self.mechanism {
            "PLAIN" => (text == format!("\0keyward, inc=\0{PASSWORD}")).then(String::new),
            "SCRAM-SHA-256" => self.scram(text, sign::<Hmac<Sha256>>, |b| Sha256::digest(b).to_vec()),
            _ => self.scram(text, sign::<Hmac<Sha512>>, |b| Sha512::digest(b).to_vec()),
        };
        let answer = SaslAuthenticateResponse::default();
        match said {
            Some(said) => {
                self.is_in = self.mechanism == "PLAIN" || said.starts_with("v=");
                let lifetime = if self.is_in { self.lifetime } else { 0 };
                answer.with_auth_bytes(Bytes::from(said)).with_session_lifetime_ms(lifetime)
            }
            // It should not, but might repeat what it heard.
            None => answer
                .with_error_code(58)
                .with_error_message(Some(StrBytes::from_string(format!("not you:\n{text}")))),
        }
    }

    /// The other side of RFC 5802, word by word.
    fn scram(
        &mut self,
        text: &str,
        sign: impl Fn(&[u8], &[u8]) -> Vec<u8>,
        digest: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Option<String> {
        if self.said.is_empty() {
            let bare = text.strip_prefix("n,,")?;
            let nonce = bare.strip_prefix("n=keyward=2C inc=3D,r=")?;
            let answer = format!("r={nonce}+ours,s={},i=4096", STANDARD.encode("salt"));
            self.said = format!("{bare},{answer}");
            return Some(answer);
        }
        let (without, proof) = text.split_once(",p=")?;
        let all = format!("{},{without}", self.said);
        let mut last = sign(PASSWORD.as_bytes(), b"salt\0\0\0\x01");
        let mut salted = last.clone();
        for _ in 1..4_096 {
            last = sign(PASSWORD.as_bytes(), &last);
            salted.iter_mut().zip(&last).for_each(|(all, one)| *all ^= one);
        }
        let stored = digest(&sign(&salted, b"Client Key"));
        let mask = sign(&stored, all.as_bytes());
        let key: Vec<u8> = STANDARD.decode(proof).ok()?.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        let ours = if self.is_impostor { b"Another Key" } else { b"Server Key " };
        let server = sign(&salted, ours.trim_ascii());
        (digest(&key) == stored).then(|| format!("v={}", STANDARD.encode(sign(&server, all.as_bytes()))))
    }
}

fn sign<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// A file with a password, and the settings that go with it.
fn with_login(mechanism: &str, password: &str) -> (NamedTempFile, String) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{password}\n")).unwrap();
    let own = format!(
        "sasl = \"{mechanism}\"\nusername = \"keyward, inc=\"\npassword = \"file:{}\"\n",
        file.path().display()
    );
    (file, own)
}

/// The broker's side of TLS.
fn acceptor(directory: &Path, asks_for_certificate: bool) -> TlsAcceptor {
    let read = |name: &str| CertificateDer::from_pem_file(directory.join(name)).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = if asks_for_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(read("ca.pem")).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    Arc::new(config.with_single_cert(vec![read("server.pem")], key).unwrap()).into()
}

fn encrypted(brokers: &str, directory: &TempDir) -> String {
    format!(
        "brokers = [\"{brokers}\"]\nallow_networks = [\"127.0.0.1/32\"]\nca_file = \"{}/ca.pem\"\n",
        directory.path().display()
    )
}

const NAME: &str = "server_name = \"logs.example\"\n";

/// One event through a sink of its own; says what came back.
async fn send_test(own: &str) -> Result<SendReport, SendError> {
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let mut sink = sink(own).open(&sink_context(store)).unwrap();
    let mut event = event(1);
    event.id = "test-1".to_owned();
    sink.test(&event).await
}

async fn denied(own: &str) -> String {
    match send_test(own).await {
        Err(error) if error.kind == SendErrorKind::Denied => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_event_is_sent_to_try_a_sink() {
    let fake = Fake::start(Nature::default()).await;
    let sent = send_test(&plain(&fake.brokers)).await.unwrap();
    let partition = fake.read()[0].partition;
    let said =
        format!("{TOPIC} has it on all replicas in sync, the last in partition {partition} at offset 0");
    assert_eq!(sent.answer, said);
}

#[tokio::test]
async fn each_way_to_log_in_leads_in_and_a_wrong_password_does_not() {
    for (mechanism, name) in
        [("plain", "PLAIN"), ("scram-sha-256", "SCRAM-SHA-256"), ("scram-sha-512", "SCRAM-SHA-512")]
    {
        let fake = Fake::start(Nature { door: Some(Door::of(name)), ..Nature::default() }).await;
        let (_file, own) = with_login(mechanism, PASSWORD);
        send_test(&(plain(&fake.brokers) + &own)).await.unwrap();
        assert_eq!(fake.read().len(), 1, "{mechanism}");
        let (_file, own) = with_login(mechanism, "another password");
        let why = denied(&(plain(&fake.brokers) + &own)).await;
        assert!(
            why.contains("SASL_AUTHENTICATION_FAILED (58): not you: ") && why.contains("correct sasl"),
            "{why}"
        );
        assert!(!why.contains("another password"), "{why}");
    }
}

#[tokio::test]
async fn a_way_in_that_there_is_not_is_said_with_those_that_there_are() {
    let fake = Fake::start(Nature { door: Some(Door::of("SCRAM-SHA-512")), ..Nature::default() }).await;
    let (_file, own) = with_login("plain", PASSWORD);
    let why = denied(&(plain(&fake.brokers) + &own)).await;
    assert!(why.contains("UNSUPPORTED_SASL_MECHANISM (33): it has SCRAM-SHA-512"), "{why}");
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_not_believed() {
    let door = Door { is_impostor: true, ..Door::of("SCRAM-SHA-256") };
    let fake = Fake::start(Nature { door: Some(door), ..Nature::default() }).await;
    let (_file, own) = with_login("scram-sha-256", PASSWORD);
    let why = denied(&(plain(&fake.brokers) + &own)).await;
    assert!(why.contains("could not prove that it knows the password"), "{why}");
    assert!(fake.read().is_empty());
}

#[tokio::test]
async fn who_may_stay_for_a_while_only_logs_in_again_in_time() {
    let door = Door { lifetime: 200, ..Door::of("PLAIN") };
    let fake = Fake::start(Nature { door: Some(door), ..Nature::default() }).await;
    let (_file, own) = with_login("plain", PASSWORD);
    let run = tokio::sync::Mutex::new(start(&(plain(&fake.brokers) + &own)));
    within(LONG, "it logs in again", async || {
        run.lock().await.append(1).await;
        fake.state.lock().unwrap().greeted >= 3
    })
    .await;
    let run = run.into_inner();
    run.all_sent().await;
    let (sent, _) = run.finish().await;
    let outcome = compare(&fake.read(), &sent);
    assert_eq!((outcome.missing, outcome.twice), (0, 0));
}

#[tokio::test]
async fn tls_is_spoken_with_whom_we_trust_and_by_name() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let tls = acceptor(directory.path(), false);
    let fake = Fake::start(Nature { tls: Some(tls), ..Nature::default() }).await;
    let own = encrypted(&fake.brokers, &directory);
    let (_file, login) = with_login("plain", PASSWORD);
    // The fake lets in everybody who comes here.
    send_test(&format!("{own}{NAME}{login}")).await.unwrap();
    assert!(denied(&own).await.contains("invalid peer certificate"));
    let strange = own.replace("ca.pem", "stranger.pem");
    assert!(denied(&format!("{strange}{NAME}")).await.contains("invalid peer certificate"));
    assert_eq!(fake.read().len(), 1);
    // Without TLS to where TLS is spoken.
    let why = send_test(&plain(&fake.brokers)).await.unwrap_err();
    assert!(why.kind == SendErrorKind::Unreachable, "{why}");
}

#[tokio::test]
async fn a_broker_that_asks_for_a_certificate_gets_ours() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let tls = acceptor(directory.path(), true);
    let fake = Fake::start(Nature { tls: Some(tls), ..Nature::default() }).await;
    let own = encrypted(&fake.brokers, &directory) + NAME;
    let here = directory.path().display();
    let who = |name: &str| {
        format!("client_certificate_file = \"{here}/{name}.pem\"\nclient_key_file = \"{here}/{name}.key\"\n")
    };
    send_test(&(own.clone() + &who("client"))).await.unwrap();
    for nobody in ["", &who("stranger")] {
        let why = send_test(&(own.clone() + nobody)).await.unwrap_err();
        println!("{why}");
    }
    assert_eq!(fake.read().len(), 1);
}
