//! The five kinds of requests that are made, and their answers, each in the versions that are supported here: those
//! before the "flexible" ones, which every Kafka from 0.11 to 4.x has. What is not used is passed over, but must be
//! well-formed.

use bytes::BufMut;

use super::bytes::{MalformedResponse, Reader, put_bytes, put_text};

/// A kind of request, and the versions of it that Keyward can make.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestKind {
    /// The number of the kind: Kafka's API key.
    pub key: i16,
    pub name: &'static str,
    pub oldest: i16,
    pub newest: i16,
}

pub(super) const PRODUCE: &RequestKind = &RequestKind { key: 0, name: "Produce", oldest: 3, newest: 8 };
pub(super) const METADATA: &RequestKind = &RequestKind { key: 3, name: "Metadata", oldest: 1, newest: 8 };
pub(super) const HANDSHAKE: &RequestKind =
    &RequestKind { key: 17, name: "SaslHandshake", oldest: 1, newest: 1 };
pub(super) const VERSIONS: &RequestKind = &RequestKind { key: 18, name: "ApiVersions", oldest: 0, newest: 0 };
pub(super) const AUTHENTICATE: &RequestKind =
    &RequestKind { key: 36, name: "SaslAuthenticate", oldest: 0, newest: 1 };

/// A frame: its length, what is asked and by whom, and the body.
pub(super) fn frame(api: &RequestKind, version: i16, correlation: i32, client: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + client.len() + body.len());
    out.put_i32(0);
    out.put_i16(api.key);
    out.put_i16(version);
    out.put_i32(correlation);
    put_text(&mut out, client);
    out.put_slice(body);
    let length = out.len() as i32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// The versions of each kind of request that a broker supports.
#[derive(Debug, Default)]
pub(super) struct SupportedVersions(Vec<[i16; 3]>);

impl SupportedVersions {
    /// Reads the answer to `VERSIONS`: an error, or the versions.
    pub(super) fn read(bytes: &[u8]) -> Result<Result<Self, i16>, MalformedResponse> {
        let mut reader = Reader::new(bytes);
        let error = reader.i16()?;
        let supported = reader.list(|r| Ok([r.i16()?, r.i16()?, r.i16()?]))?;
        reader.end()?;
        Ok(if error == 0 { Ok(Self(supported)) } else { Err(error) })
    }

    /// The newest version that both sides speak; else the broker's range, if it knows the kind at all.
    pub(super) fn newest(&self, api: &RequestKind) -> Result<i16, Option<(i16, i16)>> {
        let [_, oldest, newest] = *self.0.iter().find(|[key, ..]| *key == api.key).ok_or(None)?;
        let version = newest.min(api.newest);
        if version >= oldest.max(api.oldest) { Ok(version) } else { Err(Some((oldest, newest))) }
    }
}

/// Asks who leads the partitions of a topic, which is not to be made. (Before version 4 that cannot be said.)
pub(super) fn metadata_request(version: i16, topic: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i32(1);
    put_text(&mut out, topic);
    if version >= 4 {
        out.put_u8(0);
    }
    if version >= 8 {
        out.put_slice(&[0, 0]);
    }
    out
}

/// The brokers of a cluster, and a topic.
#[derive(Debug)]
pub(super) struct Metadata {
    pub throttle: i32,
    /// The id, the host and the port of each broker.
    pub brokers: Vec<(i32, String, i32)>,
    pub topics: Vec<Topic>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub error: i16,
    pub name: String,
    /// The error code, the index and the leader of each partition; -1: no leader.
    pub partitions: Vec<(i16, i32, i32)>,
}

impl Metadata {
    pub(super) fn read(bytes: &[u8], version: i16) -> Result<Self, MalformedResponse> {
        let mut reader = Reader::new(bytes);
        let throttle = if version >= 3 { reader.i32()? } else { 0 };
        let brokers = reader.list(|r| {
            let broker = (r.i32()?, text(r)?, r.i32()?);
            r.text()?;
            Ok(broker)
        })?;
        // The cluster's id, and its controller.
        if version >= 2 {
            reader.text()?;
        }
        reader.i32()?;
        let topics = reader.list(|r| Topic::read(r, version))?;
        if version >= 8 {
            reader.i32()?;
        }
        reader.end()?;
        Ok(Self { throttle, brokers, topics })
    }
}

impl Topic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, MalformedResponse> {
        let (error, name) = (reader.i16()?, text(reader)?);
        reader.flag()?;
        let partitions = reader.list(|r| {
            let partition = (r.i16()?, r.i32()?, r.i32()?);
            if version >= 7 {
                r.i32()?;
            }
            // Replicas, those in sync, those that are down.
            for _ in 0..if version >= 5 { 3 } else { 2 } {
                r.list(Reader::i32)?;
            }
            Ok(partition)
        })?;
        if version >= 8 {
            reader.i32()?;
        }
        Ok(Self { error, name, partitions })
    }
}

/// Asks to keep batches, each for a partition of one topic. It is to be answered when every replica in sync has them,
/// or after so many milliseconds.
pub(super) fn produce_request(topic: &str, timeout_ms: i32, batches: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let records: usize = batches.iter().map(|(_, records)| records.len() + 8).sum();
    let mut out = Vec::with_capacity(32 + topic.len() + records);
    // No transaction; all replicas.
    out.put_i16(-1);
    out.put_i16(-1);
    out.put_i32(timeout_ms);
    out.put_i32(1);
    put_text(&mut out, topic);
    out.put_i32(batches.len() as i32);
    for (partition, records) in batches {
        out.put_i32(*partition);
        put_bytes(&mut out, records);
    }
    out
}

/// What became of batches.
#[derive(Debug)]
pub(super) struct ProduceResponse {
    pub throttle: i32,
    /// The name of each topic, and what became of its batches.
    pub topics: Vec<(String, Vec<PartitionResponse>)>,
}

#[derive(Debug)]
pub(super) struct PartitionResponse {
    pub index: i32,
    pub error: i16,
    pub offset: i64,
    /// The indexes in the batch of records that are why it was not taken, and what is wrong with each.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// What is wrong with the batch, in the broker's words.
    pub message: Option<String>,
}

impl ProduceResponse {
    pub(super) fn read(bytes: &[u8], version: i16) -> Result<Self, MalformedResponse> {
        let mut reader = Reader::new(bytes);
        let topics = reader.list(|r| Ok((text(r)?, r.list(|r| PartitionResponse::read(r, version))?)))?;
        let throttle = reader.i32()?;
        reader.end()?;
        Ok(Self { throttle, topics })
    }
}

impl PartitionResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, MalformedResponse> {
        let (index, error, offset) = (reader.i32()?, reader.i16()?, reader.i64()?);
        reader.i64()?;
        if version >= 5 {
            reader.i64()?;
        }
        let (mut record_errors, mut message) = (Vec::new(), None);
        if version >= 8 {
            record_errors = reader.list(|r| Ok((r.i32()?, r.text()?.map(str::to_owned))))?;
            message = reader.text()?.map(str::to_owned);
        }
        Ok(Self { index, error, offset, record_errors, message })
    }
}

/// Asks to log in by this SASL mechanism.
pub(super) fn handshake_request(mechanism: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, mechanism);
    out
}

/// The error code, and the mechanisms that the broker has.
pub(super) fn read_handshake_response(bytes: &[u8]) -> Result<(i16, Vec<String>), MalformedResponse> {
    let mut reader = Reader::new(bytes);
    let answer = (reader.i16()?, reader.list(text)?);
    reader.end()?;
    Ok(answer)
}

/// One step of the mechanism.
pub(super) fn authenticate_request(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, data);
    out
}

/// The answer to one step of the mechanism.
#[derive(Debug)]
pub(super) struct AuthenticateResponse {
    pub error: i16,
    pub message: Option<String>,
    /// The next step of the mechanism.
    pub data: Vec<u8>,
    /// How long the session lasts, in milliseconds; 0: for ever.
    pub lifetime: i64,
}

impl AuthenticateResponse {
    pub(super) fn read(bytes: &[u8], version: i16) -> Result<Self, MalformedResponse> {
        let mut reader = Reader::new(bytes);
        let (error, message) = (reader.i16()?, reader.text()?.map(str::to_owned));
        let data = reader.bytes()?.unwrap_or_default().to_vec();
        let lifetime = if version >= 1 { reader.i64()? } else { 0 };
        reader.end()?;
        Ok(Self { error, message, data, lifetime })
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, MalformedResponse> {
    reader.text()?.map(str::to_owned).ok_or(MalformedResponse)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_answered_is_read_or_cannot_be(bytes: Vec<u8>, version in 0..9_i16) {
            let _ = SupportedVersions::read(&bytes);
            let _ = Metadata::read(&bytes, version);
            let _ = ProduceResponse::read(&bytes, version);
            let _ = read_handshake_response(&bytes);
            let _ = AuthenticateResponse::read(&bytes, version);
        }
    }

    #[test]
    fn the_newest_version_is_supported_that_both_sides_know() {
        let supported = SupportedVersions(vec![[0, 0, 13], [3, 0, 5], [36, 2, 2]]);
        assert_eq!(supported.newest(PRODUCE), Ok(8));
        assert_eq!(supported.newest(METADATA), Ok(5));
        assert_eq!(supported.newest(AUTHENTICATE), Err(Some((2, 2))));
        assert_eq!(supported.newest(HANDSHAKE), Err(None));
        assert_eq!(SupportedVersions(vec![[0, 0, 2]]).newest(PRODUCE), Err(Some((0, 2))));
    }

    #[test]
    fn half_an_answer_and_too_much_of_one_cannot_be_read() {
        let mut whole = vec![0, 0];
        whole.extend([0, 0, 0, 1, 0, 18, 0, 0, 0, 3]);
        assert!(SupportedVersions::read(&whole).unwrap().is_ok());
        for length in 0..whole.len() {
            assert!(SupportedVersions::read(&whole[..length]).is_err());
        }
        whole.push(0);
        assert!(SupportedVersions::read(&whole).is_err());
    }
}
