//! How addresses and networks are read: one form for each, however it is spelled. `tests/tidy.rs` sees that nobody else
//! parses one.
//!
//! IPv6 has four ranges whose addresses stand for IPv4 addresses. Such an address is read as the IPv4 address: else a
//! ban of the one spelling would not hold for the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// Bits of an IPv6 address.
const V6_BITS: u8 = 128;
/// Bits of an IPv4 address.
const V4_BITS: u8 = 32;

/// A range of IPv6 whose addresses stand for IPv4 addresses.
struct Embedding {
    /// The first address of the range, as a number.
    first: u128,
    /// Bits of its prefix; the IPv4 address is in the 32 bits that follow.
    length: u8,
}

/// IPv4-compatible addresses, long deprecated (RFC 4291, 2.5.5.1). `::` and `::1` are none of them.
const COMPATIBLE: Embedding = Embedding { first: 0, length: 96 };

const EMBEDDINGS: [Embedding; 4] = [
    // IPv4-mapped (RFC 4291, 2.5.5.2).
    Embedding { first: 0xffff << 32, length: 96 },
    // NAT64 under the well-known prefix 64:ff9b::/96 (RFC 6052, 2.1).
    Embedding { first: 0x0064_ff9b << 96, length: 96 },
    // 6to4, 2002::/16 (RFC 3056, 2).
    Embedding { first: 0x2002 << 112, length: 16 },
    COMPATIBLE,
];

/// Why a text is no address or no network. Reads after the name of the field, and never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is nothing like an address.
    #[error("must be an IPv4 or IPv6 address such as 203.0.113.7 or 2001:db8::1")]
    NoAddress,
    /// It is nothing like an address or a network.
    #[error("must be an address or a prefix such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48")]
    NoNetwork,
    /// A network, where one address is wanted.
    #[error("must be one address, not a network: leave out the / and what follows")]
    Network,
    /// What follows the slash is no length.
    #[error("must have a whole number after the /, from 0 to 32 for IPv4 and from 0 to 128 for IPv6")]
    Length,
    /// It has a zone: `fe80::1%eth0`.
    #[error("must be an address without a zone: leave out the % and what follows")]
    Zone,
    /// It is in brackets: `[2001:db8::1]`.
    #[error("must be an address without brackets")]
    Brackets,
    /// It has a port: `203.0.113.7:443`.
    #[error("must be an address without a port")]
    Port,
    /// A part begins with a nought, which some read as octal: `010.0.0.1`.
    #[error("must be an address without leading zeros, which some read as octal numbers")]
    LeadingZero,
}

/// Reads an address. One that stands for an IPv4 address is that IPv4 address.
///
/// # Errors
/// [`AddressError`] says what is wrong with the spelling.
pub fn parse(text: &str) -> Result<IpAddr, AddressError> {
    as_written(text).map(unfold)
}

/// Reads a network, `address/length` or an address alone. Bits beyond the length are dropped. One whose addresses all
/// stand for IPv4 addresses is a network of IPv4.
///
/// # Errors
/// [`AddressError`] says what is wrong with the spelling.
pub fn parse_network(text: &str) -> Result<IpNet, AddressError> {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, length)| (a, Some(length)));
    let address = as_written(address).map_err(|error| match error {
        AddressError::NoAddress => AddressError::NoNetwork,
        other => other,
    })?;
    let length = length.map_or(Some(bits(address)), whole_number).ok_or(AddressError::Length)?;
    let network = IpNet::new(address, length).map_err(|_| AddressError::Length)?;
    Ok(unfold_network(network))
}

/// An address without what headers and logs put around it: quotes, brackets, a port, a zone.
pub fn bare(text: &str) -> &str {
    let text = text.trim().trim_matches('"');
    let text = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None if text.matches(':').count() == 1 => text.split(':').next().unwrap_or(text),
        None => text,
    };
    text.split('%').next().unwrap_or(text)
}

/// The address by which a request is judged: the IPv4 address that this one stands for, else this one.
pub fn unfold(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded(v6, V6_BITS).map_or(address, |network| network.addr().into()),
    }
}

/// The same of a network, its spare bits dropped. One that reaches beyond the range of an embedding (such as `::/0`)
/// stays as it is. Each address of a 6to4 site stands for the site's IPv4 address, so any part of the site does, too.
pub fn unfold_network(network: IpNet) -> IpNet {
    let network = network.trunc();
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(v6) => embedded(v6.addr(), v6.prefix_len()).map_or(network, IpNet::V4),
    }
}

/// The IPv4 network that an IPv6 network stands for, given by its first address and its length in bits.
fn embedded(first: Ipv6Addr, length: u8) -> Option<Ipv4Net> {
    let bits = u128::from(first);
    let range = EMBEDDINGS.iter().find(|range| range.holds(bits, length))?;
    let address = (bits >> (V6_BITS - V4_BITS - range.length)) as u32;
    Ipv4Net::new(Ipv4Addr::from(address), (length - range.length).min(V4_BITS)).ok()
}

impl Embedding {
    /// Whether all of a network is in the range.
    fn holds(&self, bits: u128, length: u8) -> bool {
        let shift = V6_BITS - self.length;
        // Of the compatible ones, a network that begins with `::` holds more than IPv4 addresses, and so does `::1`.
        let is_special = self.first == COMPATIBLE.first && bits <= 1;
        length >= self.length && bits >> shift == self.first >> shift && !is_special
    }
}

fn as_written(text: &str) -> Result<IpAddr, AddressError> {
    text.parse::<IpAddr>().map_err(|_| diagnose(text))
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { V4_BITS } else { V6_BITS }
}

/// A number in its one spelling: no sign, no leading zero.
fn whole_number(text: &str) -> Option<u8> {
    text.parse::<u8>().ok().filter(|number| number.to_string() == text)
}

fn diagnose(text: &str) -> AddressError {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let before = |mark: char| text.split_once(mark).is_some_and(|(address, _)| is_address(address));
    if text.starts_with('[') && text.contains(']') {
        AddressError::Brackets
    } else if before('%') {
        AddressError::Zone
    } else if before('/') {
        AddressError::Network
    } else if text.rsplit_once(':').is_some_and(|(address, _)| address.parse::<Ipv4Addr>().is_ok()) {
        AddressError::Port
    } else if has_leading_zero(text) {
        AddressError::LeadingZero
    } else {
        AddressError::NoAddress
    }
}

/// Whether it would be an address (or end in one) without zeros before its numbers.
fn has_leading_zero(text: &str) -> bool {
    let dotted = text.rsplit(':').next().unwrap_or(text);
    let bare = |number: &str| match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let numbers: Vec<String> = dotted.split('.').map(bare).collect();
    numbers.join(".").parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::subject::Subject;

    /// Every spelling of an IPv4 address, with the bits that come before it.
    fn spellings(v4: Ipv4Addr) -> Vec<(String, u8)> {
        let [a, b, c, d] = v4.octets();
        let v6 = |text: String| text.parse::<Ipv6Addr>().unwrap().to_string();
        let hex = format!("{:x}:{:x}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let mut all = vec![
            (v4.to_string(), 0),
            (format!("::ffff:{v4}"), 96),
            (format!("::ffff:{hex}"), 96),
            (format!("0:0:0:0:0:FFFF:{v4}"), 96),
            (format!("64:ff9b::{v4}"), 96),
            (v6(format!("64:ff9b::{hex}")), 96),
            (format!("0064:FF9B::{v4}"), 96),
        ];
        if u32::from(v4) > 1 {
            all.push((format!("::{v4}"), 96));
        }
        all
    }

    /// The spelling in 6to4, with what a site may put behind it.
    fn six_to_four(v4: Ipv4Addr, rest: u128) -> String {
        let first = (0x2002_u128 << 112) | (u128::from(u32::from(v4)) << 80);
        Ipv6Addr::from(first | (rest & ((1 << 80) - 1))).to_string()
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_ipv4_address_is_that_address(bits: u32, rest: u128) {
            let v4 = Ipv4Addr::from(bits);
            let texts = spellings(v4).into_iter().map(|(text, _)| text);
            for text in texts.chain([six_to_four(v4, rest)]) {
                prop_assert_eq!(parse(&text), Ok(IpAddr::V4(v4)), "{}", &text);
                let subject = Subject::parse(&format!("ip:{text}")).unwrap();
                prop_assert_eq!(subject.as_str(), format!("ip:{v4}"), "{}", &text);
            }
        }

        #[test]
        fn every_spelling_of_an_ipv4_network_is_that_network(bits: u32, length in 0_u8..=32, rest: u128) {
            let v4 = Ipv4Addr::from(bits);
            let wanted = IpNet::V4(Ipv4Net::new(v4, length).unwrap().trunc());
            for (text, before) in spellings(wanted.network().to_string().parse().unwrap()) {
                let network = format!("{text}/{}", before + length);
                prop_assert_eq!(parse_network(&network), Ok(wanted), "{}", &network);
            }
            let site = six_to_four(v4, rest);
            prop_assert_eq!(parse_network(&format!("{site}/{}", 16 + length)), Ok(wanted), "{}", &site);
        }

        #[test]
        fn other_ipv6_addresses_stay_as_they_are(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let outside = !matches!(v6.segments(), [0x2002, ..] | [0x64, 0xff9b, ..] | [0, 0, 0, 0, 0, ..]);
            prop_assume!(outside);
            prop_assert_eq!(parse(&v6.to_string()), Ok(IpAddr::V6(v6)));
        }
    }

    #[test]
    fn networks_are_unfolded_as_a_whole_or_not_at_all() {
        for (text, network) in [
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:203.0.113.9/120", "203.0.113.0/24"),
            ("::203.0.113.0/120", "203.0.113.0/24"),
            ("64:ff9b::/96", "0.0.0.0/0"),
            ("2002:cb00:7107::/48", "203.0.113.7/32"),
            ("2002:cb00:7107:1::/64", "203.0.113.7/32"),
            ("2002:cb00:7107::1", "203.0.113.7/32"),
            ("2002:cb00::/24", "203.0.0.0/8"),
            ("203.0.113.9/24", "203.0.113.0/24"),
            // What reaches beyond a range.
            ("::/0", "::/0"),
            ("2000::/3", "2000::/3"),
            ("2002::/15", "2002::/15"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
            ("64:ff9b::/64", "64:ff9b::/64"),
            // These hold :: and ::1, which are no IPv4 addresses.
            ("::/96", "::/96"),
            ("::/127", "::/127"),
            ("::/128", "::/128"),
            ("::1", "::1/128"),
            // NAT64 of a network's own prefix (RFC 8215) can only be known from its configuration.
            ("64:ff9b:1::1", "64:ff9b:1::1/128"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), network, "{text}");
        }
    }

    #[test]
    fn what_headers_and_logs_put_around_an_address_is_taken_off() {
        for (text, address) in [
            (" 203.0.113.7 ", "203.0.113.7"),
            ("203.0.113.7:443", "203.0.113.7"),
            ("\"[2001:db8::7]:443\"", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("fe80::7%eth0", "fe80::7"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(bare(text), address, "{text}");
        }
    }

    #[test]
    fn an_odd_spelling_is_refused_with_what_is_odd_about_it() {
        use AddressError::*;
        for (text, error) in [
            ("", NoAddress),
            ("localhost", NoAddress),
            (" 203.0.113.7", NoAddress),
            ("203.0.113", NoAddress),
            ("3405803783", NoAddress),
            ("0xcb.0.113.7", NoAddress),
            ("203.0.113.7, 10.0.0.1", NoAddress),
            ("fe80::1%eth0", Zone),
            ("[2001:db8::1]", Brackets),
            ("[2001:db8::1]:443", Brackets),
            ("203.0.113.7:443", Port),
            ("203.0.113.0/24", Network),
            ("010.0.0.1", LeadingZero),
            ("203.0.113.07", LeadingZero),
            ("::ffff:010.0.0.1", LeadingZero),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        for (text, error) in [
            ("x", NoNetwork),
            ("203.0.113.0/", Length),
            ("203.0.113.0/33", Length),
            ("203.0.113.0/+8", Length),
            ("203.0.113.0/024", Length),
            ("2001:db8::/129", Length),
            ("203.0.113.0/24/8", Length),
            ("010.0.0.0/8", LeadingZero),
            ("fe80::%eth0/64", Zone),
            ("[2001:db8::]/48", Brackets),
        ] {
            assert_eq!(parse_network(text), Err(error), "{text}");
        }
    }
}
