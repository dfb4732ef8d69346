//! The address of the client, as the proxies between us and it name it.
//!
//! Each proxy adds whom it heard from. Read from the right, an address is true for as long as the one that named it is
//! a proxy of ours; the first that is none is the client. What stands further left is the client's own invention.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::HeaderMap;

use crate::{
    config::{AddressHeader, TrustedNetwork},
    domain::address,
};

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";
const REAL_IP: &str = "x-real-ip";

/// Who asks: the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A program on another end of the network, or on this machine.
    Address(IpAddr),
    /// A program on this machine, over a socket in the file system.
    Socket,
}

impl Peer {
    fn address(self) -> IpAddr {
        match self {
            Self::Address(address) => address::unfold(address),
            Self::Socket => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Whether it is a proxy of ours.
    pub(super) fn is_trusted(self, trusted: &[TrustedNetwork]) -> bool {
        self == Self::Socket || is_trusted(self.address(), trusted)
    }
}

fn is_trusted(address: IpAddr, trusted: &[TrustedNetwork]) -> bool {
    trusted.iter().any(|network| network.0.contains(&address))
}

/// The address of the client.
pub(super) fn address_of(
    peer: Peer,
    headers: &HeaderMap,
    trusted: &[TrustedNetwork],
    named_by: AddressHeader,
) -> IpAddr {
    let is_trusted = |address: IpAddr| is_trusted(address, trusted);
    if peer == Peer::Socket {
        return named(peer.address(), headers, named_by, is_trusted);
    }
    behind_by(peer.address(), headers, named_by, is_trusted)
}

/// The address of the client behind another end of the network, by the first of the headers that there is. Only what
/// `is_trusted` calls a proxy of ours is believed.
pub(crate) fn behind(peer: IpAddr, headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    behind_by(address::unfold(peer), headers, AddressHeader::First, is_trusted)
}

fn behind_by(
    peer: IpAddr,
    headers: &HeaderMap,
    named_by: AddressHeader,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    if is_trusted(peer) { named(peer, headers, named_by, is_trusted) } else { peer }
}

/// The client, as a proxy of ours names it.
fn named(
    proxy: IpAddr,
    headers: &HeaderMap,
    named_by: AddressHeader,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = proxy;
    for named in reported(headers, named_by).iter().rev() {
        // What is no address (`unknown`, a name) hides what is further away.
        let Ok(address) = address::parse(named) else { break };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// The addresses that a header names, the nearest last.
fn reported(headers: &HeaderMap, named_by: AddressHeader) -> Vec<&str> {
    let name = match named_by {
        AddressHeader::First => {
            let mut all =
                [FORWARDED_FOR, FORWARDED, REAL_IP].into_iter().map(|name| addresses(headers, name));
            return all.find(|named| !named.is_empty()).unwrap_or_default();
        }
        AddressHeader::ForwardedFor => FORWARDED_FOR,
        AddressHeader::Forwarded => FORWARDED,
        AddressHeader::RealIp => REAL_IP,
    };
    addresses(headers, name)
}

/// The addresses in all headers of a name. An empty element of a list is none (RFC 9110, section 5.6.1).
fn addresses<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("unknown"));
    let is_there = |element: &&str| !element.trim().is_empty();
    if name == FORWARDED {
        values.flat_map(|value| outside_quotes(value, b',')).filter(is_there).map(forwarded_for).collect()
    } else {
        values.flat_map(|value| value.split(',')).filter(is_there).map(address::bare).collect()
    }
}

/// The address in one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> &str {
    let named = |pair: &&str| pair.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("for="));
    let mut pairs = outside_quotes(element, b';').into_iter().map(str::trim);
    pairs.find(named).map_or("unknown", |pair| address::bare(&pair[4..]))
}

/// The parts of a text between separators that stand in no quoted string. They are looked for from the right: what a
/// client sent stands left, and may end within quotes.
fn outside_quotes(text: &str, separator: u8) -> Vec<&str> {
    let bytes = text.as_bytes();
    let is_escaped = |at: usize| bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let (mut parts, mut end, mut is_quoted) = (Vec::new(), text.len(), false);
    for at in (0..bytes.len()).rev() {
        if bytes[at] == b'"' && !is_escaped(at) {
            is_quoted = !is_quoted;
        } else if bytes[at] == separator && !is_quoted {
            parts.push(&text[at + 1..end]);
            end = at;
        }
    }
    parts.push(&text[..end]);
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)], named_by: AddressHeader) -> String {
        let trusted =
            ["127.0.0.0/8", "::1", "10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        address_of(Peer::Address(address::parse(peer).unwrap()), &map, &trusted, named_by).to_string()
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_of_ours_is_the_client() {
        for (sent, wanted) in [
            ("203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
            ("10.9.9.9, 10.1.1.1", "10.9.9.9"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::7]:443, 2001:db8:1::2", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("64:ff9b::cb00:7107", "203.0.113.7"),
            ("fe80::7%eth0", "fe80::7"),
            ("203.0.113.7, unknown, 10.1.1.1", "10.1.1.1"),
            ("203.0.113.7,", "203.0.113.7"),
            ("203.0.113.7, ,10.1.1.1,,", "203.0.113.7"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(
                client("127.0.0.1", &[("x-forwarded-for", sent)], AddressHeader::First),
                wanted,
                "{sent}"
            );
        }
        let twice = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client("127.0.0.1", &twice, AddressHeader::First), "203.0.113.7");
    }

    #[test]
    fn what_stands_in_quotes_separates_nothing_and_what_a_client_left_open_hides_nobody() {
        for (sent, wanted) in [
            (r#"for=203.0.113.7;ext="a, for=198.51.100.1""#, "203.0.113.7"),
            (r#"ext="a;for=198.51.100.1";for=203.0.113.7"#, "203.0.113.7"),
            (r#"ext="a\", for=198.51.100.1";for=203.0.113.7, for=10.1.1.1"#, "203.0.113.7"),
            (r#"for=", for=203.0.113.7"#, "203.0.113.7"),
            (r#"for="198.51.100.1, for="[2001:db8::7]:443";proto=https"#, "2001:db8::7"),
            (", for=203.0.113.7,", "203.0.113.7"),
            (r#"proto="a,b""#, "127.0.0.1"),
        ] {
            assert_eq!(client("127.0.0.1", &[("forwarded", sent)], AddressHeader::First), wanted, "{sent}");
        }
    }

    #[test]
    fn a_header_that_names_nobody_leaves_it_to_the_next() {
        for empty in ["", " ", ","] {
            let headers = [("x-forwarded-for", empty), ("x-real-ip", "203.0.113.7")];
            assert_eq!(client("127.0.0.1", &headers, AddressHeader::First), "203.0.113.7", "{empty:?}");
            assert_eq!(client("127.0.0.1", &headers, AddressHeader::ForwardedFor), "127.0.0.1");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let spoofed = [("x-forwarded-for", "203.0.113.7"), ("x-real-ip", "203.0.113.7")];
        for peer in ["198.51.100.1", "192.168.0.1", "2001:db8:2::1"] {
            assert_eq!(client(peer, &spoofed, AddressHeader::First), peer);
        }
    }

    #[test]
    fn behind_trusted_proxies_a_client_is_read_from_every_header_with_its_port_or_without() {
        let of = |peer: &str, header: &'static str, text: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header, text.parse().unwrap());
            let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
            behind(address::parse(peer).unwrap(), &headers, is_trusted).to_string()
        };
        assert_eq!(of("203.0.113.9", "x-forwarded-for", "198.51.100.1"), "203.0.113.9");
        assert_eq!(
            of("10.0.0.1", "x-forwarded-for", "192.0.2.1, 198.51.100.1:4711, 10.0.0.2"),
            "198.51.100.1"
        );
        assert_eq!(of("10.0.0.1", "forwarded", "for=198.51.100.1;proto=https"), "198.51.100.1");
        assert_eq!(of("10.0.0.1", "x-real-ip", "198.51.100.1"), "198.51.100.1");
        assert_eq!(of("10.0.0.1", "x-forwarded-for", "nobody"), "10.0.0.1");
    }

    #[test]
    fn other_headers_are_read_where_the_first_is_not_there_or_another_is_named() {
        let forwarded = ("forwarded", r#"for=198.51.100.1;proto=https, For="[2001:db8::7]:443";by=10.0.0.1"#);
        let real = ("x-real-ip", "203.0.113.7");
        assert_eq!(client("127.0.0.1", &[forwarded], AddressHeader::First), "2001:db8::7");
        assert_eq!(client("127.0.0.1", &[real], AddressHeader::First), "203.0.113.7");
        let all = [("x-forwarded-for", "198.51.100.9"), forwarded, real];
        for (named_by, wanted) in [
            (AddressHeader::First, "198.51.100.9"),
            (AddressHeader::ForwardedFor, "198.51.100.9"),
            (AddressHeader::Forwarded, "2001:db8::7"),
            (AddressHeader::RealIp, "203.0.113.7"),
        ] {
            assert_eq!(client("10.0.0.1", &all, named_by), wanted, "{named_by:?}");
        }
    }
}
