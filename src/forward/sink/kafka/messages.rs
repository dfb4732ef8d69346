//! The five kinds of requests that are made, and their answers, each in the versions that are spoken here: those before
//! the "flexible" ones, which every Kafka from 0.11 to 4.x has. What is not used is passed over, but must be well-formed.

use bytes::BufMut;

use super::bytes::{Garbled, Reader, put_bytes, put_text};

/// A kind of request.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// Its number.
    pub key: i16,
    pub name: &'static str,
    pub oldest: i16,
    pub newest: i16,
}

pub const PRODUCE: &Api = &Api { key: 0, name: "Produce", oldest: 3, newest: 8 };
pub const METADATA: &Api = &Api { key: 3, name: "Metadata", oldest: 1, newest: 8 };
pub const HANDSHAKE: &Api = &Api { key: 17, name: "SaslHandshake", oldest: 1, newest: 1 };
pub const VERSIONS: &Api = &Api { key: 18, name: "ApiVersions", oldest: 0, newest: 0 };
pub const AUTHENTICATE: &Api = &Api { key: 36, name: "SaslAuthenticate", oldest: 0, newest: 1 };

/// A frame: its length, what is asked and by whom, and the body.
pub fn frame(api: &Api, version: i16, correlation: i32, client: &str, body: &[u8]) -> Vec<u8> {
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

/// What a broker speaks.
#[derive(Debug, Default)]
pub struct Spoken(Vec<[i16; 3]>);

impl Spoken {
    /// Reads the answer to `VERSIONS`: an error, or the versions.
    pub fn read(bytes: &[u8]) -> Result<Result<Self, i16>, Garbled> {
        let mut reader = Reader::new(bytes);
        let error = reader.i16()?;
        let spoken = reader.list(|r| Ok([r.i16()?, r.i16()?, r.i16()?]))?;
        reader.end()?;
        Ok(if error == 0 { Ok(Self(spoken)) } else { Err(error) })
    }

    /// The newest version that both sides speak; else the broker's range, if it knows the kind at all.
    pub fn newest(&self, api: &Api) -> Result<i16, Option<(i16, i16)>> {
        let [_, oldest, newest] = *self.0.iter().find(|[key, ..]| *key == api.key).ok_or(None)?;
        let version = newest.min(api.newest);
        if version >= oldest.max(api.oldest) { Ok(version) } else { Err(Some((oldest, newest))) }
    }
}

/// Asks who leads the partitions of a topic, which is not to be made. (Before version 4 that cannot be said.)
pub fn ask_metadata(version: i16, topic: &str) -> Vec<u8> {
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
pub struct Metadata {
    pub throttle: i32,
    /// Number, host, port.
    pub brokers: Vec<(i32, String, i32)>,
    pub topics: Vec<Topic>,
}

#[derive(Debug)]
pub struct Topic {
    pub error: i16,
    pub name: String,
    /// Error, index, leader.
    pub partitions: Vec<(i16, i32, i32)>,
}

impl Metadata {
    pub fn read(bytes: &[u8], version: i16) -> Result<Self, Garbled> {
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
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, Garbled> {
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

/// Asks to keep batches, each for a partition of one topic. It is to be answered when every replica in sync has them, or
/// after so many milliseconds.
pub fn ask_produce(topic: &str, patience: i32, batches: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let records: usize = batches.iter().map(|(_, records)| records.len() + 8).sum();
    let mut out = Vec::with_capacity(32 + topic.len() + records);
    // No transaction; all replicas.
    out.put_i16(-1);
    out.put_i16(-1);
    out.put_i32(patience);
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
pub struct ProduceResponse {
    pub throttle: i32,
    /// By topic.
    pub topics: Vec<(String, Vec<PartitionResponse>)>,
}

#[derive(Debug)]
pub struct PartitionResponse {
    pub index: i32,
    pub error: i16,
    pub offset: i64,
    /// The places in the batch of records that are why it was not taken, and what is wrong with each.
    pub culprits: Vec<(i32, Option<String>)>,
    pub said: Option<String>,
}

impl ProduceResponse {
    pub fn read(bytes: &[u8], version: i16) -> Result<Self, Garbled> {
        let mut reader = Reader::new(bytes);
        let topics = reader.list(|r| Ok((text(r)?, r.list(|r| PartitionResponse::read(r, version))?)))?;
        let throttle = reader.i32()?;
        reader.end()?;
        Ok(Self { throttle, topics })
    }
}

impl PartitionResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, Garbled> {
        let (index, error, offset) = (reader.i32()?, reader.i16()?, reader.i64()?);
        reader.i64()?;
        if version >= 5 {
            reader.i64()?;
        }
        let (mut culprits, mut said) = (Vec::new(), None);
        if version >= 8 {
            culprits = reader.list(|r| Ok((r.i32()?, r.text()?.map(str::to_owned))))?;
            said = reader.text()?.map(str::to_owned);
        }
        Ok(Self { index, error, offset, culprits, said })
    }
}

/// Asks to be let in in this way.
pub fn ask_handshake(mechanism: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, mechanism);
    out
}

/// The error, and the ways that there are.
pub fn read_handshake(bytes: &[u8]) -> Result<(i16, Vec<String>), Garbled> {
    let mut reader = Reader::new(bytes);
    let answer = (reader.i16()?, reader.list(text)?);
    reader.end()?;
    Ok(answer)
}

/// Says what the way in wants to hear.
pub fn ask_authenticate(said: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, said);
    out
}

/// What was said back.
#[derive(Debug)]
pub struct Authenticated {
    pub error: i16,
    pub message: Option<String>,
    pub said: Vec<u8>,
    /// In milliseconds; 0 for ever.
    pub lifetime: i64,
}

impl Authenticated {
    pub fn read(bytes: &[u8], version: i16) -> Result<Self, Garbled> {
        let mut reader = Reader::new(bytes);
        let (error, message) = (reader.i16()?, reader.text()?.map(str::to_owned));
        let said = reader.bytes()?.unwrap_or_default().to_vec();
        let lifetime = if version >= 1 { reader.i64()? } else { 0 };
        reader.end()?;
        Ok(Self { error, message, said, lifetime })
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Garbled> {
    reader.text()?.map(str::to_owned).ok_or(Garbled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_answered_is_read_or_cannot_be(bytes: Vec<u8>, version in 0..9_i16) {
            let _ = Spoken::read(&bytes);
            let _ = Metadata::read(&bytes, version);
            let _ = ProduceResponse::read(&bytes, version);
            let _ = read_handshake(&bytes);
            let _ = Authenticated::read(&bytes, version);
        }
    }

    #[test]
    fn the_newest_version_is_spoken_that_both_sides_know() {
        let spoken = Spoken(vec![[0, 0, 13], [3, 0, 5], [36, 2, 2]]);
        assert_eq!(spoken.newest(PRODUCE), Ok(8));
        assert_eq!(spoken.newest(METADATA), Ok(5));
        assert_eq!(spoken.newest(AUTHENTICATE), Err(Some((2, 2))));
        assert_eq!(spoken.newest(HANDSHAKE), Err(None));
        assert_eq!(Spoken(vec![[0, 0, 2]]).newest(PRODUCE), Err(Some((0, 2))));
    }

    #[test]
    fn half_an_answer_and_too_much_of_one_cannot_be_read() {
        let mut whole = vec![0, 0];
        whole.extend([0, 0, 0, 1, 0, 18, 0, 0, 0, 3]);
        assert!(Spoken::read(&whole).unwrap().is_ok());
        for length in 0..whole.len() {
            assert!(Spoken::read(&whole[..length]).is_err());
        }
        whole.push(0);
        assert!(Spoken::read(&whole).is_err());
    }
}
