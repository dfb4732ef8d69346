//! Which addresses may be connected to. The address that is really used is checked, so that a name cannot lead
//! elsewhere later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::domain::address;

/// Says where connections may go.
#[derive(Debug, Clone, Default)]
pub struct AddressGuard {
    /// Networks that may be connected to although they are not public.
    pub networks: Vec<IpNet>,
    /// Whether what is sent can be read on the way. Then only those networks may be connected to.
    pub plaintext: bool,
}

/// An address may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressNotAllowed {
    /// It is not public.
    #[error("{address} is {range}; if it is meant, name its network in allow_networks")]
    NotPublic {
        /// The address that was checked.
        address: IpAddr,
        /// The range of special addresses that it belongs to, for people.
        range: &'static str,
    },
    /// It is public, and nothing is encrypted.
    #[error(
        "{address} would be sent to in the clear; use TLS (https), or if it is meant, name its network in \
         allow_networks"
    )]
    Plaintext {
        /// The address that was checked.
        address: IpAddr,
    },
}

impl AddressGuard {
    /// Checks an address that is about to be connected to.
    ///
    /// # Errors
    /// Why it may not be connected to, and which setting allows it.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressNotAllowed> {
        // A connection to an address that stands for an IPv4 address ends at that one.
        let inner = address::unfold(address);
        if [address, inner].iter().any(|a| self.networks.iter().any(|network| network.contains(a))) {
            return Ok(());
        }
        match (not_public(inner), self.plaintext) {
            (Some(range), _) => Err(AddressNotAllowed::NotPublic { address, range }),
            (None, true) => Err(AddressNotAllowed::Plaintext { address }),
            (None, false) => Ok(()),
        }
    }

    /// Those of the addresses that may be connected to, in their order; at least one, unless there is none at all.
    ///
    /// # Errors
    /// Why the last one may not be connected to, if none may.
    pub fn filter(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, AddressNotAllowed> {
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in addresses {
            match self.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if allowed.is_empty() => Err(why),
            _ => Ok(allowed),
        }
    }
}

fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => not_public_v4(v4),
        IpAddr::V6(v6) => not_public_v6(v6),
    }
}

/// The range of a special address, by the registry of special-purpose addresses (RFC 6890).
fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    let what = match (a, b, c) {
        (0, ..) => "an address of this network",
        (127, ..) => "a loopback address",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "a private address",
        (169, 254, _) => "a link-local address (cloud metadata is there)",
        (100, 64..=127, _) => "a shared address (carrier-grade NAT)",
        (192, 0, 0) | (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) | (198, 18..=19, _) => {
            "a reserved address"
        }
        (224.., ..) => "a multicast or reserved address",
        _ => return None,
    };
    Some(what)
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let what = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfc00..=0xfdff, ..] => "a private address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => "a reserved address",
        // Global unicast is 2000::/3; the first 512 addresses of 2001::/23 are special.
        [0x2001, 0..=0x01ff, ..] => "a reserved address",
        [0x2000..=0x3fff, ..] => return None,
        _ => "a reserved address",
    };
    Some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(guard: &AddressGuard, address: &str) -> bool {
        guard.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn only_public_addresses_and_those_that_are_named_are_connected_to() {
        let guard = AddressGuard::default();
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(allowed(&guard, public), "{public}");
        }
        for special in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
        ] {
            assert!(!allowed(&guard, special), "{special}");
        }
        let guard = AddressGuard { networks: vec!["10.0.0.0/8".parse().unwrap()], plaintext: false };
        assert!(allowed(&guard, "10.9.9.9") && allowed(&guard, "::ffff:10.0.0.1"));
        assert!(!allowed(&guard, "192.168.0.1"));
    }

    #[test]
    fn what_is_not_encrypted_stays_in_the_named_networks() {
        let guard = AddressGuard { networks: vec!["127.0.0.1/32".parse().unwrap()], plaintext: true };
        assert!(allowed(&guard, "127.0.0.1"));
        assert!(guard.check("8.8.8.8".parse().unwrap()).unwrap_err().to_string().contains("in the clear"));
    }
}
