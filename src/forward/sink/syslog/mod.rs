//! Syslog messages (RFC 5424) over TLS (RFC 5425), TCP (RFC 6587) or UDP (RFC 5426).
//!
//! Syslog has no acknowledgements. That a write succeeded says that this machine has taken the bytes; that TCP's own
//! acknowledgement came says that the other machine has; nothing says that the program there has read them, let alone
//! kept them. So "sent" can only be a guess, and a sender that forgets what it has written loses what the other side
//! had not read when it ended. What is done about it, over TCP and TLS:
//!
//! - What was written is remembered (`unconfirmed`) until the other side has confirmed it, and at most 8 MiB of it:
//!   more than the buffers of both machines hold by default. When a connection breaks, what it may have lost is sent
//!   again over the next one, before anything new: events come twice rather than not at all. Their `id` tells.
//! - The one confirmation that there is: when we end our side of a connection and the other side then ends its own in
//!   order, it has read everything. A connection without news for 30 s is ended so, also when this instance stops to
//!   send.
//! - Before and after each batch it is looked whether the other side has ended the connection. The first batch over a
//!   new one counts only when the connection lives on for a moment: a receiver that accepts and hangs up takes
//!   nothing.
//!
//! What can be lost all the same: what the receiver has read and not kept when it is killed, if that was more than
//! two seconds ago; what an instance of ours has written in the moments before it is killed, if the receiver is killed
//! too; and over UDP anything at any time. A message that is too long is never cut: it loses evidence, and is refused,
//! so that it becomes a dead letter, if that does not suffice.
//!
//! Here are the settings. `encoder` makes messages, `stream` sends them over TCP and TLS (`connection` is one
//! connection), `datagram` over UDP.

mod connection;
mod datagram;
mod encoder;
mod facility;
mod stream;
#[cfg(test)]
mod tests;
mod unconfirmed;

use serde::Deserialize;

use self::{
    connection::StreamConnector,
    datagram::DatagramSink,
    encoder::{Framing, MessageEncoder},
    facility::Facility,
    stream::StreamSink,
};
use crate::{
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, Sink},
        format::{
            Format,
            syslog::{DEFAULT_SD_ID, SyslogHeader},
        },
    },
    outbound::{Endpoint, TlsContext, server_name},
    settings::{SettingError, SettingErrors},
};

/// The longest message, in bytes, that fits into a datagram over IPv4 (RFC 5426, 3.2).
const MAX_UDP: usize = 65_507;
/// The longest frame, in bytes, that rsyslog takes unless it is told otherwise.
const MAX_STREAM: usize = 200_000;
/// How many bytes every receiver must take (RFC 5424, 6.1).
const MIN_MESSAGE: usize = 480;

/// The protocol that carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Udp,
    Tcp,
    #[default]
    Tls,
}

/// The own settings of a sink with `type = "syslog"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Syslog {
    /// The receiver: `host`, `host:port`, `[IPv6]:port`.
    address: String,
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    facility: Facility,
    /// The name of this machine unless it is set.
    hostname: Option<String>,
    app_name: Option<String>,
    /// The name of the structured data: `name@<private enterprise number>`.
    sd_id: Option<String>,
    framing: Option<Framing>,
    /// The name that must be in the receiver's certificate, if it is not the host of `address`.
    server_name: Option<String>,
    /// The longest message, in bytes.
    max_message_bytes: Option<usize>,
    /// Only over UDP: datagrams get lost in bursts.
    max_messages_per_second: Option<u32>,
}

impl KindSettings for Syslog {
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        errors.check(self.endpoint(common).and_then(|endpoint| endpoint.check("address")));
        if self.transport != Transport::Tls && common.outbound.allow_networks.is_empty() {
            let hint = "must be \"tls\": udp and tcp are for networks that allow_networks names";
            errors.check(Err(SettingError::new("transport", hint)));
        }
        errors.check(self.check_tls(common));
        errors.check(self.check_framing());
        errors.check(self.check_rate(common));
        errors.check(self.check_header());
        let most = if self.transport == Transport::Udp { MAX_UDP } else { MAX_STREAM };
        if !(MIN_MESSAGE..=most).contains(&self.max_message_bytes()) {
            let hint = format!("must be from {MIN_MESSAGE} to {most} over this transport");
            errors.check(Err(SettingError::new("max_message_bytes", hint)));
        }
    }

    fn open(&self, common: &CommonSettings, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let endpoint = self.endpoint(common)?;
        let encoder = self.encoder(common, context);
        let over = |endpoint, tls, encoder| -> Box<dyn Sink> {
            Box::new(StreamSink::new(StreamConnector::new(endpoint, tls), encoder, common.timeout()))
        };
        Ok(match self.transport {
            Transport::Udp => Box::new(DatagramSink::new(endpoint, encoder, self.per_second())),
            Transport::Tcp => over(endpoint, None, encoder),
            Transport::Tls => {
                let name = self.server_name.clone().unwrap_or_else(|| endpoint.host.clone());
                let tls = TlsContext::new("transport", &common.outbound)?.client_for(&name)?;
                over(endpoint, Some(tls), encoder)
            }
        })
    }
}

impl Syslog {
    fn endpoint(&self, common: &CommonSettings) -> Result<Endpoint, SettingError> {
        let (port, plaintext) = match self.transport {
            Transport::Udp | Transport::Tcp => (514, true),
            Transport::Tls => (6514, false),
        };
        Endpoint::parse("address", &self.address, port, common.outbound.guard(plaintext))
    }

    fn encoder(&self, common: &CommonSettings, context: &SinkContext) -> MessageEncoder {
        MessageEncoder {
            format: common.format.unwrap_or(Format::Json),
            header: SyslogHeader {
                facility: self.facility.0,
                hostname: self.hostname.clone().unwrap_or_else(machine),
                app_name: self.app_name.clone().unwrap_or_else(|| "keyward".to_owned()),
                proc_id: context.instance.clone(),
                sd_id: self.sd_id().to_owned(),
            },
            framing: self.framing.unwrap_or_default(),
            max_bytes: self.max_message_bytes(),
        }
    }

    fn sd_id(&self) -> &str {
        self.sd_id.as_deref().unwrap_or(DEFAULT_SD_ID)
    }

    /// What receivers should take: 2048 bytes over UDP (RFC 5426, 3.2), 8192 over TLS (RFC 5425, 4.3.1).
    fn max_message_bytes(&self) -> usize {
        self.max_message_bytes.unwrap_or(if self.transport == Transport::Udp { 2_048 } else { 8_192 })
    }

    fn per_second(&self) -> u32 {
        self.max_messages_per_second.unwrap_or(2_000)
    }

    /// Settings that another transport has are mistakes.
    fn check_tls(&self, common: &CommonSettings) -> Result<(), SettingError> {
        if self.transport == Transport::Tls {
            // An address that cannot be read is reported as one.
            let Ok(endpoint) = self.endpoint(common) else { return Ok(()) };
            return server_name(self.server_name.as_deref().unwrap_or(&endpoint.host)).map(drop);
        }
        let tls_only = [
            ("server_name", self.server_name.is_some()),
            ("ca_file", common.outbound.ca_file.is_some()),
            ("client_certificate_file", common.outbound.client_certificate_file.is_some()),
        ];
        match tls_only.into_iter().find(|(_, is_set)| *is_set) {
            Some((setting, _)) => Err(only_for(setting, "\"tls\"")),
            None => Ok(()),
        }
    }

    fn check_framing(&self) -> Result<(), SettingError> {
        match (self.transport, self.framing) {
            (Transport::Tls, Some(Framing::Lf)) => {
                Err(SettingError::new("framing", "= \"lf\" is for transport = \"tcp\""))
            }
            (Transport::Udp, Some(_)) => Err(only_for("framing", "\"tcp\"")),
            _ => Ok(()),
        }
    }

    fn check_rate(&self, common: &CommonSettings) -> Result<(), SettingError> {
        if self.transport != Transport::Udp {
            let is_set = self.max_messages_per_second.is_some();
            return if is_set { Err(only_for("max_messages_per_second", "\"udp\"")) } else { Ok(()) };
        }
        let longest = common.batch as f64 / f64::from(self.per_second());
        if longest > common.timeout().as_secs_f64() / 2.0 {
            let hint = "must let a batch pass in half of timeout_seconds: raise it, or lower batch";
            return Err(SettingError::new("max_messages_per_second", hint));
        }
        Ok(())
    }

    fn check_header(&self) -> Result<(), SettingError> {
        let graphic = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let texts = [("hostname", &self.hostname, 255), ("app_name", &self.app_name, 48)];
        for (setting, text, most) in texts {
            if text.as_ref().is_some_and(|text| !graphic(text, most)) {
                let hint = format!("must be 1 to {most} printable ASCII characters, no blanks");
                return Err(SettingError::new(setting, hint));
            }
        }
        let (name, number) = self.sd_id().split_once('@').unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if graphic(self.sd_id(), 32) && graphic(name, 32) && !name.contains(['=', ']', '"']) && is_number {
            Ok(())
        } else {
            let hint =
                "must be name@number, the number being your private enterprise number; at most 32 characters";
            Err(SettingError::new("sd_id", hint))
        }
    }
}

/// The error about a setting that another transport has.
fn only_for(setting: &str, transport: &str) -> SettingError {
    SettingError::new(setting, format!("is for transport = {transport}"))
}

/// The name of this machine.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
