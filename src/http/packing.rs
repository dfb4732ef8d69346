//! Bodies that were packed on their way (`Content-Encoding`): what is in them, up to a bound.

use std::io::{self, Read};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use flate2::bufread::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::error::ApiError;

/// The widest window of zstd, in bytes, which takes memory: what RFC 9659 has for bodies.
const WIDEST_WINDOW: u64 = 8 * 1024 * 1024;
/// The most packed pieces that stand one behind the other: each takes time, however little is in it.
const MOST_PIECES: usize = 100;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// `gzip` and `x-gzip`, of RFC 1952.
    Gzip,
    /// `zstd`, of RFC 8878.
    Zstd,
}

impl Packing {
    /// How the headers say that a body is packed; `None`: it is not.
    ///
    /// # Errors
    /// [`ApiError::MediaType`]: in another way, or in several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, None) = (named.next(), named.next()) else { return Err(ApiError::MediaType("the body")) };
        match first.map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
            None | Some(b"identity") => Ok(None),
            Some(b"gzip" | b"x-gzip") => Ok(Some(Self::Gzip)),
            Some(b"zstd") => Ok(Some(Self::Zstd)),
            Some(_) => Err(ApiError::MediaType("the body")),
        }
    }

    /// What is in a body, at most `limit` bytes.
    ///
    /// # Errors
    /// More is in it, or it is not packed like that.
    pub(super) fn unpack(self, body: &[u8], limit: usize) -> Result<Bytes, ApiError> {
        let (mut rest, mut out) = (body, Vec::new());
        for _ in 0..MOST_PIECES {
            let most = limit.saturating_add(1).saturating_sub(out.len());
            let read = match self {
                Self::Gzip => gzip(&mut rest, most as u64, &mut out),
                Self::Zstd => zstd(&mut rest, most as u64, &mut out),
            };
            read.map_err(|_| self.unreadable())?;
            if out.len() > limit {
                return Err(ApiError::TooLarge(limit));
            }
            if rest.is_empty() {
                return Ok(out.into());
            }
        }
        Err(self.unreadable())
    }

    fn unreadable(self) -> ApiError {
        let name = match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        };
        ApiError::Syntax(format!("the body is not what {name} has packed"))
    }
}

/// Reads a member of a body, and leaves what is behind it.
fn gzip(body: &mut &[u8], most: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut member = GzDecoder::new(*body);
    member.by_ref().take(most).read_to_end(out)?;
    *body = member.into_inner();
    Ok(())
}

/// Reads a frame of a body, and leaves what is behind it.
fn zstd(body: &mut &[u8], most: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut frame =
        StreamingDecoder::new_with_max_window_size(body, WIDEST_WINDOW).map_err(io::Error::other)?;
    let read = frame.by_ref().take(most).read_to_end(out)? as u64;
    let decoder = frame.into_frame_decoder();
    let sum = decoder.get_checksum_from_data();
    if read < most && sum.is_some() && sum != decoder.get_calculated_checksum() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn packed(packing: Packing, body: &[u8]) -> Vec<u8> {
        match packing {
            Packing::Zstd => compress_to_vec(body, CompressionLevel::Fastest),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const BOTH: [Packing; 2] = [Packing::Gzip, Packing::Zstd];

    #[test]
    fn what_was_packed_is_unpacked_up_to_its_bound_and_not_beyond() {
        for packing in BOTH {
            let body = "a record ".repeat(1_000);
            let one = packed(packing, body.as_bytes());
            assert!(one.len() < 1_000, "{packing:?}");
            assert_eq!(packing.unpack(&one, 9_000).unwrap(), body.as_bytes(), "{packing:?}");
            assert!(matches!(packing.unpack(&one, 8_999), Err(ApiError::TooLarge(8_999))), "{packing:?}");
            let two = [one.clone(), packed(packing, b"and another")].concat();
            assert_eq!(packing.unpack(&two, 10_000).unwrap(), format!("{body}and another"), "{packing:?}");
            assert!(matches!(packing.unpack(&two, 9_005), Err(ApiError::TooLarge(_))), "{packing:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_changed_or_in_too_many_pieces_is_refused() {
        for packing in BOTH {
            let good = packed(packing, b"a record of a request");
            let refused = |body: &[u8]| matches!(packing.unpack(body, 1_000), Err(ApiError::Syntax(_)));
            for end in 0..good.len() {
                assert!(refused(&good[..end]), "{packing:?} cut off at {end}");
            }
            let mut changed = good.clone();
            let of_content = good.len() - 12;
            changed[of_content] ^= 1;
            assert!(refused(&changed), "{packing:?} changed");
            assert!(refused(&[good.as_slice(), b"secret"].concat()), "{packing:?} and something else");
            assert!(!refused(&packed(packing, b"a").repeat(MOST_PIECES)), "{packing:?}");
            assert!(refused(&packed(packing, b"a").repeat(MOST_PIECES + 1)), "{packing:?}");
        }
    }

    /// Written by the program `zstd` from a pipe, with its checksum.
    #[test]
    fn what_other_programs_pack_is_unpacked() {
        let body = hex::decode("28b52ffd04584100007b2261223a317d0ae2efece0").unwrap();
        assert_eq!(Packing::Zstd.unpack(&body, 100).unwrap(), "{\"a\":1}\n".as_bytes());
    }

    #[test]
    fn the_way_of_packing_is_named_once() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            Packing::of(&headers).map_err(|error| error.to_string())
        };
        assert_eq!((of(&[]), of(&["Identity"])), (Ok(None), Ok(None)));
        assert_eq!((of(&["GZIP"]), of(&["zstd"])), (Ok(Some(Packing::Gzip)), Ok(Some(Packing::Zstd))));
        for bad in [&["br"][..], &["gzip, zstd"], &["gzip", "gzip"], &[""]] {
            assert!(of(bad).unwrap_err().contains("gzip, zstd or not at all"), "{bad:?}");
        }
    }
}
