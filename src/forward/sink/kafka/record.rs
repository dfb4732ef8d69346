//! Events as records, and records as a batch: what a partition keeps (record batches of version 2, as since Kafka
//! 0.11).

use bytes::BufMut;

use super::bytes::put_varint;
use crate::{domain::event::Event, forward::format::Format};

/// What a batch has before its records, in bytes.
const HEAD: usize = 61;
/// What a record has at most beside its texts, in bytes: numbers of up to 10 bytes.
const BESIDE: usize = 64;
/// What stands where there is none: no producer's number, epoch and sequence, no leader's epoch. By these Kafka keeps
/// out what a producer sends twice, but only while that producer lives; our cursor outlives it.
const NONE: i8 = -1;

/// One event as a record of a topic.
pub(super) struct ProducerRecord {
    /// The bytes whose hash decides the partition; `None` where there is no subject.
    pub key: Option<Vec<u8>>,
    headers: [(&'static str, Vec<u8>); 4],
    value: Vec<u8>,
    /// In milliseconds since 1970; never negative, which Kafka refuses.
    time: i64,
}

impl ProducerRecord {
    /// The record of an event, in this format and with this key.
    pub(super) fn of(event: &Event, key: Option<Vec<u8>>, format: Format) -> Self {
        let mut value = Vec::new();
        format.render(event, &mut value);
        let headers = [
            ("id", event.id.clone().into_bytes()),
            ("type", event.kind.name().into()),
            ("severity", event.severity.name().into()),
            ("content-type", format.content_type().into()),
        ];
        Self { key, headers, value, time: event.time.max(0) }
    }

    /// How many bytes it is in a batch, at most.
    pub(super) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
        BESIDE + self.key.as_ref().map_or(0, Vec::len) + headers + self.value.len()
    }

    fn put(&self, out: &mut Vec<u8>, n: usize, first: i64) {
        let mut body = Vec::with_capacity(self.size());
        body.put_u8(0);
        put_varint(&mut body, self.time - first);
        put_varint(&mut body, n as i64);
        match &self.key {
            Some(key) => put_piece(&mut body, key),
            None => put_varint(&mut body, -1),
        }
        put_piece(&mut body, &self.value);
        put_varint(&mut body, self.headers.len() as i64);
        for (name, value) in &self.headers {
            put_piece(&mut body, name.as_bytes());
            put_piece(&mut body, value);
        }
        put_piece(out, &body);
    }
}

fn put_piece(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as i64);
    out.put_slice(bytes);
}

/// Records as one batch. What a partition is sent, it takes whole or not at all.
pub(super) fn batch<'a>(records: impl ExactSizeIterator<Item = &'a ProducerRecord> + Clone) -> Vec<u8> {
    let count = records.len() as i32;
    let first = records.clone().next().map_or(0, |record| record.time);
    let last = records.clone().map(|record| record.time).max().unwrap_or(0);
    // Behind the checksum.
    let mut body = Vec::new();
    body.put_i16(0);
    body.put_i32(count - 1);
    body.put_i64(first);
    body.put_i64(last);
    body.put_i64(NONE.into());
    body.put_i16(NONE.into());
    body.put_i32(NONE.into());
    body.put_i32(count);
    records.enumerate().for_each(|(n, record)| record.put(&mut body, n, first));
    // Before it.
    let mut out = Vec::with_capacity(HEAD + body.len());
    out.put_i64(0);
    out.put_i32(body.len() as i32 + 9);
    out.put_i32(NONE.into());
    out.put_i8(2);
    out.put_u32(crc32c(&body));
    out.extend(body);
    out
}

/// CRC-32C (Castagnoli), as RFC 3720 (12.1) has it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| CRC[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

/// The remainder of each byte.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < table.len() {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, and the check value of the catalogue of parametrised CRC algorithms.
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }
}
