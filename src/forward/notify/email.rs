//! E-mail by SMTP: plain text, one mail per notice; those about one group are one thread.
//!
//! The name of the server is resolved here, and the address that was checked is the one that is connected to; the
//! certificate is still held against the name. Mail in the clear goes only to networks that are named.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::future::BoxFuture;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::AddressError,
    error::Error as MailError,
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
use zeroize::Zeroizing;

use super::{
    channel::{Channel, ChannelSettings, ChannelTraits},
    message,
    notice::{Notice, NoticeKind},
    rule::{MAX_KEY, digest},
};
use crate::{
    clock,
    domain::Millis,
    forward::{
        common::CommonSettings,
        error::{SendError, SendErrorKind},
        format::text::one_line,
        secret::Secret,
    },
    outbound::AddressGuard,
    settings::{SettingError, SettingErrors},
};

/// Most characters of a server's error that people are shown.
const MAX_SHOWN: usize = 300;
/// Most recipients of a mail.
const MAX_RECIPIENTS: usize = 50;

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encryption {
    /// After a greeting in the clear; where the server has no STARTTLS, nothing is sent.
    #[default]
    Starttls,
    /// From the first byte on.
    Tls,
    /// Nothing is encrypted: only within `allow_networks`.
    None,
}

/// The own settings of a sink with `type = "email"`.
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
    const TRAITS: ChannelTraits = ChannelTraits::READ_BY_PEOPLE;

    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        errors.check(self.guard(common).map(drop));
        if !(1..=MAX_RECIPIENTS).contains(&self.to.len()) {
            errors.check(Err(SettingError::new("to", format!("must be 1 to {MAX_RECIPIENTS} addresses"))));
        }
        self.to.iter().for_each(|to| errors.check(mailbox("to", to).map(drop)));
        errors.check(mailbox("from", &self.from).map(drop));
        errors.check(self.check_login());
        if common.outbound.client_certificate_file.is_some() {
            let hint = "is not for a sink of type email";
            errors.check(Err(SettingError::new("client_certificate_file", hint)));
        }
    }

    fn open(&self, common: &CommonSettings) -> Result<Box<dyn Channel>, SettingError> {
        let credentials = match (&self.username, &self.password) {
            (Some(name), Some(password)) => Some((name.clone(), password.read("password")?)),
            _ => None,
        };
        Ok(Box::new(EmailChannel {
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
            timeout: common.timeout(),
            turn: 0,
        }))
    }
}

impl Email {
    fn check_login(&self) -> Result<(), SettingError> {
        match (&self.username, &self.password, self.tls) {
            (Some(_), Some(_), Encryption::None) => {
                let hint = "would be sent in the clear; use tls = \"starttls\" or \"tls\"";
                Err(SettingError::new("password", hint))
            }
            (Some(_), None, _) | (None, Some(_), _) => {
                Err(SettingError::new("password", "and username must be set together"))
            }
            _ => Ok(()),
        }
    }

    fn guard(&self, common: &CommonSettings) -> Result<AddressGuard, SettingError> {
        let guard = common.outbound.guard(self.tls == Encryption::None);
        if self.host.is_empty() || self.host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SettingError::new("host", "must be the name or address of a mail server"));
        }
        if guard.plaintext && guard.networks.is_empty() {
            let hint = "must be \"starttls\" or \"tls\"; \"none\" is for networks that allow_networks names";
            return Err(SettingError::new("tls", hint));
        }
        if let Ok(address) = self.host.parse::<IpAddr>() {
            let refused = |why| SettingError::new("host", "is an address that is not allowed").because(why);
            guard.check(address).map_err(refused)?;
        }
        Ok(guard)
    }
}

fn mailbox(setting: &'static str, text: &str) -> Result<Mailbox, SettingError> {
    text.parse().map_err(|error: AddressError| {
        SettingError::new(setting, "must be an address such as Keyward <keyward@example.com>").because(error)
    })
}

fn encryption(tls: Encryption, host: &str, common: &CommonSettings) -> Result<Tls, SettingError> {
    if tls == Encryption::None {
        return Ok(Tls::None);
    }
    let wrong = |hint: String| SettingError::new("ca_file", hint);
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(path) = &common.outbound.ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| wrong(format!("cannot be read: {}", path.display())).because(error))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| wrong("must hold certificates in PEM".to_owned()).because(error))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    let parameters =
        parameters.build_rustls().map_err(|error| wrong("cannot be used".to_owned()).because(error))?;
    Ok(if tls == Encryption::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
}

struct EmailChannel {
    guard: AddressGuard,
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<(String, Zeroizing<String>)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// How long one mail may take.
    timeout: Duration,
    /// Counts the server's addresses: the next one after each that could not be reached.
    turn: usize,
}

impl Channel for EmailChannel {
    fn send<'a>(
        &'a mut self,
        notices: &'a [Notice],
        _now: Millis,
    ) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                answer = self.mail(notice).await?;
            }
            Ok(answer)
        })
    }
}

impl EmailChannel {
    async fn mail(&mut self, notice: &Notice) -> Result<String, SendError> {
        let mail = mail(notice, &self.from, &self.to)
            .map_err(|error| SendError::refused("no mail can be made of it").because(error))?;
        let turn = self.turn;
        // Before, since whoever calls may not wait for the end.
        self.turn = turn.wrapping_add(1);
        let sent = self.deliver(mail, turn).await;
        if !matches!(&sent, Err(error) if error.kind == SendErrorKind::Unreachable) {
            self.turn = turn;
        }
        sent
    }

    async fn deliver(&self, mail: Message, turn: usize) -> Result<String, SendError> {
        let sent = async {
            let transport = self.transport(self.address(turn).await?);
            let response = transport.send(mail).await.map_err(send_error)?;
            let said: Vec<&str> = response.message().collect();
            Ok(format!("answered {}: {}", response.code(), said.join(" ")))
        };
        clock::timeout(self.timeout, sent).await.unwrap_or_else(|_| Err(SendError::timed_out(self.timeout)))
    }

    /// An address of the server that may be connected to.
    async fn address(&self, turn: usize) -> Result<IpAddr, SendError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|error| SendError::unreachable("its name is not known").because(error))?;
        let allowed = self.guard.filter(found).map_err(|why| SendError::unreachable("").because(why))?;
        let address = turn.checked_rem(allowed.len()).and_then(|index| allowed.get(index));
        let none = || SendError::unreachable("its name has no address");
        address.map(SocketAddr::ip).ok_or_else(none)
    }

    fn transport(&self, address: IpAddr) -> AsyncSmtpTransport<Tokio1Executor> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.to_string())
            .port(self.port)
            .timeout(Some(self.timeout))
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
fn mail(notice: &Notice, from: &Mailbox, to: &[Mailbox]) -> Result<Message, MailError> {
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
    mail = if notice.kind == NoticeKind::Firing {
        mail.message_id(Some(root_id))
    } else {
        let kind = notice.kind.name().replace('_', "-");
        // Two about what was held back may differ in nothing but the last time.
        let own = format!("<{root}.{kind}.{}.{}@{domain}>", notice.total, notice.last);
        mail.message_id(Some(own)).in_reply_to(root_id.clone()).references(root_id)
    };
    let text = format!(
        "{}\n\n{}\n\n-- \nKeyward, {}\n",
        message::headline(notice),
        message::body(notice),
        one_line(&notice.dedup_key, MAX_KEY),
    );
    mail.body(text)
}

/// What an error means. That a server will not have us, or does not know a recipient, is for somebody to correct; that
/// it will not have this mail is the mail's own trouble, but only where it says so: what is refused is lost.
fn send_error(error: smtp::Error) -> SendError {
    // The reply of the server is the source of the error, and nowhere else.
    let reply = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let kind = match error.status().map(u16::from) {
        Some(code) if is_about_the_mail(code, &reply) => SendErrorKind::Refused,
        Some(500..) => SendErrorKind::Denied,
        Some(_) => SendErrorKind::Busy { retry_after: None },
        None => SendErrorKind::Unreachable,
    };
    let summary = one_line(&error.to_string(), MAX_SHOWN);
    SendError::new(kind, summary).detail(one_line(&reply, MAX_SHOWN))
}

/// Whether a server will never take this mail, whoever sends it: it is too long (552, unless the enhanced status says
/// that the mailbox is full: RFC 3463, 5.2.2), or 554 comes with one that blames its content (5.6.x) or its length
/// (5.3.4). A bare 554 may as well mean that we are blocked.
fn is_about_the_mail(code: u16, reply: &str) -> bool {
    let status = reply.split_whitespace().next().unwrap_or_default();
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
            let notice = Notice { kind: NoticeKind::HeldBack, last, ..Notice::alone(&event) };
            let mail = mail(&notice, &somebody, std::slice::from_ref(&somebody)).unwrap();
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
