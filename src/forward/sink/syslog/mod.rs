//! Syslog messages (RFC 5424) over TLS (RFC 5425), TCP (RFC 6587) or UDP (RFC 5426).
//!
//! Syslog has no acknowledgements. That a write succeeded says that this machine has taken the bytes; that TCP's own
//! acknowledgement came says that the other machine has; nothing says that the program there has read them, let alone
//! kept them. So "sent" can only be a guess, and a sender that forgets what it has written loses what the other side had
//! not read when it ended. What is done about it, over TCP and TLS:
//!
//! - What was written is remembered ([`tail`]) until the other side has confirmed it, and at most 8 MiB of it: more than
//!   the buffers of both machines hold by default. When a connection breaks, what it may have lost is sent again over
//!   the next one, before anything new: events come twice rather than not at all. Their `id` tells.
//! - The one confirmation that there is: when we end our side of a connection and the other side then ends its own in
//!   order, it has read everything. A connection without news for 30 s is ended so, also when this instance stops to send.
//! - Before and after each batch it is looked whether the other side has ended the connection. The first batch over a new
//!   one counts only when the connection lives on for a moment: a receiver that accepts and hangs up takes nothing.
//!
//! What can be lost all the same: what the receiver has read and not kept when it is killed, if that was more than
//! two seconds ago; what an instance of ours has written in the moments before it is killed, if the receiver is killed
//! too; and over UDP anything at any time. A message that is too long is never cut: it loses evidence, and is refused,
//! so that it becomes a dead letter, if that does not suffice.
//!
//! Here are the settings; `shape` makes messages, `stream` sends them over TCP and TLS, `datagram` over UDP.

mod datagram;
mod facility;
mod link;
mod shape;
mod stream;
mod tail;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use self::{
    datagram::Datagrams,
    facility::Facility,
    link::Connector,
    shape::{Framing, Shape},
    stream::Stream,
};
use super::{KindSettings, Sink};
use crate::forward::{
    Common, Guard, SinkContext,
    format::{
        Format,
        syslog::{DEFAULT_SD_ID, SyslogHeader},
    },
    reach::{Route, Trust, server_name},
};

/// The longest message that fits into a datagram over IPv4 (RFC 5426, 3.2).
const MOST_UDP: usize = 65_507;
/// The longest frame that rsyslog takes unless it is told otherwise.
const MOST_STREAM: usize = 200_000;
/// Every receiver must take this much (RFC 5424, 6.1).
const LEAST: usize = 480;

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Udp,
    Tcp,
    #[default]
    Tls,
}

/// `type = "syslog"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// `host`, `host:port`, `[IPv6]:port`
    address: String,
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    facility: Facility,
    /// The machine's unless it is set.
    hostname: Option<String>,
    app_name: Option<String>,
    /// Of the structured data: `name@<private enterprise number>`.
    sd_id: Option<String>,
    framing: Option<Framing>,
    /// The name that must be in the receiver's certificate, if it is not the host of `address`.
    server_name: Option<String>,
    /// The longest message, in bytes.
    max_message_bytes: Option<usize>,
    /// UDP alone: datagrams get lost in bursts.
    max_messages_per_second: Option<u32>,
}

type Wrong = (&'static str, String);

impl KindSettings for Syslog {
    fn check(&self, common: &Common) -> Result<(), Wrong> {
        let route = self.route(common)?;
        route.check().map_err(|why| ("address", why))?;
        if self.transport != Transport::Tls && common.allow_networks.is_empty() {
            let hint = "must be \"tls\": udp and tcp are for networks that allow_networks names";
            return Err(("transport", hint.to_owned()));
        }
        self.check_transport(common)?;
        self.check_header()?;
        let most = if self.transport == Transport::Udp { MOST_UDP } else { MOST_STREAM };
        if !(LEAST..=most).contains(&self.max_message_bytes()) {
            return Err(("max_message_bytes", format!("must be from {LEAST} to {most} over this transport")));
        }
        Ok(())
    }

    fn open(&self, common: &Common, context: &SinkContext) -> Result<Box<dyn Sink>, Wrong> {
        let route = self.route(common)?;
        let shape = Shape {
            format: common.format.unwrap_or(Format::Json),
            header: SyslogHeader {
                facility: self.facility.0,
                hostname: self.hostname.clone().unwrap_or_else(machine),
                app_name: self.app_name.clone().unwrap_or_else(|| "keyward".to_owned()),
                proc_id: context.instance.clone(),
                sd_id: self.sd_id().to_owned(),
            },
            framing: self.framing.unwrap_or_default(),
            most: self.max_message_bytes(),
        };
        Ok(match self.transport {
            Transport::Udp => Box::new(Datagrams::new(route, shape, self.per_second())),
            Transport::Tcp => Box::new(Stream::new(Connector::new(route, None), shape, common.timeout)),
            Transport::Tls => {
                let name = self.server_name.clone().unwrap_or_else(|| route.host.clone());
                let tls = Trust::open("transport", common)?.towards(&name)?;
                Box::new(Stream::new(Connector::new(route, Some(tls)), shape, common.timeout))
            }
        })
    }
}

impl Syslog {
    fn route(&self, common: &Common) -> Result<Route, Wrong> {
        let (port, plaintext) = match self.transport {
            Transport::Udp | Transport::Tcp => (514, true),
            Transport::Tls => (6514, false),
        };
        let guard = Guard { networks: common.allow_networks.clone(), plaintext };
        Route::parse("address", &self.address, port, guard)
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
    fn check_transport(&self, common: &Common) -> Result<(), Wrong> {
        let only = |setting, of: &str| Err((setting, format!("is for transport = {of}")));
        if self.transport == Transport::Tls {
            server_name(self.server_name.as_deref().unwrap_or(&self.route(common)?.host))?;
        } else {
            for (setting, is_set) in [
                ("server_name", self.server_name.is_some()),
                ("ca_file", common.ca_file.is_some()),
                ("client_certificate_file", common.client_certificate_file.is_some()),
            ] {
                if is_set {
                    return only(setting, "\"tls\"");
                }
            }
        }
        match (self.transport, self.framing) {
            (Transport::Tls, Some(Framing::Lf)) => return only("framing = \"lf\"", "\"tcp\""),
            (Transport::Udp, Some(_)) => return only("framing", "\"tcp\""),
            _ => {}
        }
        match (self.transport, self.max_messages_per_second) {
            (Transport::Udp, _) => {
                let longest = common.batch as f64 / f64::from(self.per_second());
                if longest > common.timeout.as_secs_f64() / 2.0 {
                    let hint = "must let a batch pass in half of timeout_seconds: raise it, or lower batch";
                    return Err(("max_messages_per_second", hint.to_owned()));
                }
                Ok(())
            }
            (_, Some(_)) => only("max_messages_per_second", "\"udp\""),
            _ => Ok(()),
        }
    }

    fn check_header(&self) -> Result<(), Wrong> {
        let graphic = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let texts = [("hostname", &self.hostname, 255), ("app_name", &self.app_name, 48)];
        for (setting, text, most) in texts {
            if text.as_ref().is_some_and(|text| !graphic(text, most)) {
                return Err((setting, format!("must be 1 to {most} printable ASCII characters, no blanks")));
            }
        }
        let (name, number) = self.sd_id().split_once('@').unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if graphic(self.sd_id(), 32) && graphic(name, 32) && !name.contains(['=', ']', '"']) && is_number {
            Ok(())
        } else {
            let hint =
                "must be name@number, the number being your private enterprise number; at most 32 characters";
            Err(("sd_id", hint.to_owned()))
        }
    }
}

/// The name of this machine.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
