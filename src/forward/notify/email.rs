//! E-mail by SMTP: plain text, one mail per notice; those about one group are one thread.
//!
//! The name of the server is resolved here, and the address that was checked is the one that is connected to; the
//! certificate is still held against the name. Mail in the clear goes only to networks that are named.

use std::net::IpAddr;

use futures::future::BoxFuture;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use serde::Deserialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    Channel, ChannelSettings, Nature, Notice, Told, message,
    rule::{LONGEST_KEY, digest},
};
use crate::{
    domain::Millis,
    forward::{Common, Failure, Guard, Secret, format::text::one_line},
};

type Wrong = (&'static str, String);

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encryption {
    /// After a greeting in the clear; without it nothing is sent.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all.
    None,
}

/// `type = "email"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: Encryption,
    username: Option<String>,
    password: Option<Secret>,
    from: String,
    to: Vec<String>,
}

impl ChannelSettings for Email {
    const NATURE: Nature = Nature::READ;

    fn check(&self, common: &Common) -> Result<(), Wrong> {
        self.guard(common).map(drop)?;
        if self.to.is_empty() || self.to.len() > 50 {
            return Err(("to", "must be 1 to 50 addresses".to_owned()));
        }
        self.to.iter().try_for_each(|to| mailbox("to", to).map(drop))?;
        mailbox("from", &self.from)?;
        match (&self.username, &self.password, self.tls) {
            (Some(_), Some(_), Encryption::None) => {
                Err(("password", "would be sent in the clear; use tls = \"starttls\" or \"tls\"".to_owned()))
            }
            (Some(_), None, _) | (None, Some(_), _) => {
                Err(("password", "and username must be set together".to_owned()))
            }
            _ if common.client_certificate_file.is_some() => {
                Err(("client_certificate_file", "is not for a sink of type email".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn open(&self, common: &Common) -> Result<Box<dyn Channel>, Wrong> {
        let credentials = match (&self.username, &self.password) {
            (Some(name), Some(password)) => {
                let password = password.read().map_err(|hint| ("password", hint))?;
                Some((name.clone(), password))
            }
            _ => None,
        };
        Ok(Box::new(Mailer {
            guard: self.guard(common)?,
            host: self.host.clone(),
            port: self.port.unwrap_or(match self.tls {
                Encryption::Starttls => 587,
                Encryption::Tls => 465,
                Encryption::None => 25,
            }),
            tls: encryption(self.tls, &self.host, common)?,
            credentials,
            from: mailbox("from", &self.from)?,
            to: self.to.iter().map(|to| mailbox("to", to)).collect::<Result<_, _>>()?,
            common: common.clone(),
            turn: 0,
        }))
    }
}

impl Email {
    fn guard(&self, common: &Common) -> Result<Guard, Wrong> {
        let plaintext = self.tls == Encryption::None;
        let guard = Guard { networks: common.allow_networks.clone(), plaintext };
        if self.host.is_empty() || self.host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(("host", "must be the name or address of a mail server".to_owned()));
        }
        if plaintext && guard.networks.is_empty() {
            let hint = "must be \"starttls\" or \"tls\"; \"none\" is for networks that allow_networks names";
            return Err(("tls", hint.to_owned()));
        }
        if let Ok(address) = self.host.parse::<IpAddr>() {
            guard
                .check(address)
                .map_err(|why| ("host", format!("is an address that is not allowed: {why}")))?;
        }
        Ok(guard)
    }
}

fn mailbox(setting: &'static str, text: &str) -> Result<Mailbox, Wrong> {
    text.parse().map_err(|_| (setting, "must be an address such as Keyward <keyward@example.com>".to_owned()))
}

fn encryption(tls: Encryption, host: &str, common: &Common) -> Result<Tls, Wrong> {
    if tls == Encryption::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(path) = &common.ca_file {
        let wrong = |why: String| ("ca_file", why);
        let pem = std::fs::read(path)
            .map_err(|error| wrong(format!("cannot be read: {}: {}", path.display(), error.kind())))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|_| wrong("must hold certificates in PEM".to_owned()))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    let parameters =
        parameters.build_rustls().map_err(|error| ("ca_file", format!("cannot be used: {error}")))?;
    Ok(if tls == Encryption::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
}

struct Mailer {
    guard: Guard,
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<(String, Zeroizing<String>)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    common: Common,
    /// Which of the server's addresses is next: another one after each that could not be reached.
    turn: usize,
}

impl Channel for Mailer {
    fn tell<'a>(&'a mut self, notices: &'a [Notice], _now: Millis) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                answer = self.mail(notice).await?;
            }
            Ok(answer)
        })
    }
}

impl Mailer {
    async fn mail(&mut self, notice: &Notice) -> Result<String, Failure> {
        let mail = letter(notice, &self.from, &self.to).map_err(Failure::Refused)?;
        let turn = self.turn;
        // Before, since whoever calls may not wait for the end.
        self.turn = turn.wrapping_add(1);
        let sent = self.deliver(mail, turn).await;
        if !matches!(sent, Err(Failure::Unreachable(_))) {
            self.turn = turn;
        }
        sent
    }

    async fn deliver(&self, mail: Message, turn: usize) -> Result<String, Failure> {
        let sent = async {
            let transport = self.transport(self.address(turn).await?);
            let response = transport.send(mail).await.map_err(|error| judge(&error))?;
            let said: Vec<&str> = response.message().collect();
            Ok(format!("answered {}: {}", response.code(), said.join(" ")))
        };
        let limit = self.common.timeout;
        let late = || Failure::Unreachable(format!("no answer within {} s", limit.as_secs()));
        timeout(limit, sent).await.unwrap_or_else(|_| Err(late()))
    }

    /// An address of the server that may be connected to.
    async fn address(&self, turn: usize) -> Result<IpAddr, Failure> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|error| Failure::Unreachable(format!("its name is not known: {error}")))?;
        let mut refused = "its name has no address".to_owned();
        let mut allowed = Vec::new();
        for address in found {
            match self.guard.check(address.ip()) {
                Ok(()) => allowed.push(address.ip()),
                Err(why) => refused = why,
            }
        }
        let place = turn.checked_rem(allowed.len());
        place.and_then(|place| allowed.get(place).copied()).ok_or(Failure::Unreachable(refused))
    }

    fn transport(&self, address: IpAddr) -> AsyncSmtpTransport<Tokio1Executor> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.to_string())
            .port(self.port)
            .timeout(Some(self.common.timeout))
            .tls(self.tls.clone());
        match &self.credentials {
            Some((name, password)) => {
                builder.credentials(Credentials::new(name.clone(), password.to_string())).build()
            }
            None => builder.build(),
        }
    }
}

/// The mail. Its id is the same when it is sent again; the first about a group is the root of a thread.
fn letter(notice: &Notice, from: &Mailbox, to: &[Mailbox]) -> Result<Message, String> {
    let root = digest(&format!("{} {}", notice.dedup_key, notice.first), 16);
    let domain = from.email.domain();
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let mut mail = Message::builder()
        .from(from.clone())
        .subject(message::headline(notice))
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN);
    for to in to {
        mail = mail.to(to.clone());
    }
    let root_id = format!("<{root}@{domain}>");
    mail = if notice.told == Told::Firing {
        mail.message_id(Some(root_id))
    } else {
        let told = notice.told.name().replace('_', "-");
        // Two about what was held back may differ in nothing but the last time.
        let own = format!("<{root}.{told}.{}.{}@{domain}>", notice.total, notice.last);
        mail.message_id(Some(own)).in_reply_to(root_id.clone()).references(root_id)
    };
    let text = format!(
        "{}\n\n{}\n\n-- \nKeyward, {}\n",
        message::headline(notice),
        message::body(notice),
        one_line(&notice.dedup_key, LONGEST_KEY),
    );
    mail.body(text).map_err(|error| format!("no mail can be made of it: {error}"))
}

/// What an error means. That a server will not have us, or does not know a recipient, is for somebody to correct; that it
/// will not have this mail is the mail's own trouble, but only where it says so: what is refused is lost.
fn judge(error: &smtp::Error) -> Failure {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    let said = source.map(ToString::to_string).unwrap_or_default();
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    let why = one_line(&why, 300);
    match error.status().map(u16::from) {
        Some(code) if is_about_the_mail(code, &said) => Failure::Refused(why),
        Some(500..) => Failure::Denied(why),
        Some(_) => Failure::Busy { why, after: None },
        None => Failure::Unreachable(why),
    }
}

/// Whether a server will never take this mail, whoever sends it: it is too long (552, unless the enhanced status says that
/// the mailbox is full: RFC 3463, 5.2.2), or 554 comes with one that blames its content (5.6.x) or its length (5.3.4). A bare
/// 554 may as well mean that we are blocked.
fn is_about_the_mail(code: u16, said: &str) -> bool {
    let status = said.split_whitespace().next().unwrap_or_default();
    code == 552 && status != "5.2.2" || code == 554 && (status == "5.3.4" || status.starts_with("5.6."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::{Event, EventType},
        finding::Severity,
    };

    #[test]
    fn two_mails_of_what_was_held_back_have_two_ids() {
        let event = Event::new(0, EventType::TemporaryBan, Severity::High, None);
        let somebody = mailbox("to", "oncall@example.com").unwrap();
        let id = |last| {
            let notice = Notice { told: Told::HeldBack, last, ..Notice::alone(&event) };
            let mail = letter(&notice, &somebody, std::slice::from_ref(&somebody)).unwrap();
            mail.headers().get_raw("Message-ID").unwrap().to_owned()
        };
        assert_ne!(id(1), id(2));
        assert_eq!(id(1), id(1));
    }

    #[test]
    fn a_mail_is_refused_only_when_the_server_blames_the_mail() {
        for (code, said) in [(552, "too long"), (554, "5.6.0 bad content"), (554, "5.3.4 too big")] {
            assert!(is_about_the_mail(code, said), "{code} {said}");
        }
        for (code, said) in [
            (552, "5.2.2 mailbox full"),
            (554, "Service unavailable"),
            (554, "5.7.1 client host blocked"),
            (554, "5.3.2 system not accepting messages, see 5.6.0"),
            (550, "5.6.0 bad content"),
            (535, ""),
            (451, "5.6.0"),
        ] {
            assert!(!is_about_the_mail(code, said), "{code} {said}");
        }
    }
}
