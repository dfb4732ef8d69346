//! A cluster that does as it is told, and finds fault with whatever is not right. Requests are read and answers written
//! by `kafka-protocol`, which shares no line with what is tested.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
        RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
        api_versions_response::ApiVersion,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::{Decodable, Encodable, StrBytes},
    records::{Record, RecordBatchDecoder},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{Message, TOPIC, login::Door};

use keyward::clock::{self, Instant};

/// What happens to one Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// These partitions answer with this error, and keep nothing.
    Error(&'static [i32], i16),
    /// It hangs up, and keeps nothing.
    HangUp,
    /// It keeps everything, and hangs up.
    HangUpAfter,
    /// It keeps everything, and hangs up in the middle of its answer.
    Half,
    /// An answer of another kind.
    Garbage,
    /// An answer that announces a list of two thousand million items.
    Bomb,
    /// An answer that announces two thousand million bytes.
    Oversized,
    /// An answer to another question.
    Another,
    /// An answer that says nothing of what was asked for.
    Nothing,
    /// No answer.
    Silence,
    /// It keeps everything, and wants to be left alone for so many milliseconds.
    Throttle(i32),
}

/// What a cluster is like.
pub(super) struct Nature {
    /// Kinds of requests and the versions of each.
    pub versions: Vec<[i16; 3]>,
    pub partitions: i32,
    /// The most bytes of a batch.
    pub most: usize,
    /// The host that is named, and the port if it is not the real one.
    pub host: &'static str,
    /// An error of the topic.
    pub topic_error: i16,
    pub door: Option<Door>,
    pub tls: Option<TlsAcceptor>,
}

impl Default for Nature {
    /// Like Kafka 4.0.
    fn default() -> Self {
        let versions = vec![[0, 0, 12], [3, 0, 13], [17, 0, 1], [18, 0, 4], [36, 0, 2]];
        Self {
            versions,
            partitions: 4,
            most: 1 << 20,
            host: "127.0.0.1",
            topic_error: 0,
            door: None,
            tls: None,
        }
    }
}

/// What a cluster knows.
#[derive(Default)]
pub(super) struct State {
    /// Of each partition.
    pub leaders: Vec<i32>,
    pub kept: Vec<Vec<Record>>,
    /// What happens to the next requests.
    pub script: VecDeque<Trouble>,
    /// When requests to keep something came.
    pub asked: Vec<Instant>,
    pub greeted: usize,
    /// Of the topic; changed while it runs.
    pub topic_error: i16,
    /// What was not right.
    pub wrong: Vec<String>,
}

/// A cluster.
pub(super) struct Fake {
    pub state: Arc<Mutex<State>>,
    pub brokers: String,
}

struct Broker {
    id: i32,
    ports: Vec<u16>,
    nature: Arc<Nature>,
    state: Arc<Mutex<State>>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The other side has ended it, or we have as we were told.
    Meant,
    /// Something was not right.
    Wrong(String),
}

impl<E: std::fmt::Display> From<E> for End {
    fn from(error: E) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl Fake {
    /// Of two brokers; the first leads all partitions.
    pub(super) async fn start(nature: Nature) -> Self {
        let state = State {
            leaders: vec![1; nature.partitions as usize],
            kept: vec![Vec::new(); nature.partitions as usize],
            topic_error: nature.topic_error,
            ..State::default()
        };
        let (state, nature) = (Arc::new(Mutex::new(state)), Arc::new(nature));
        let mut listeners = Vec::new();
        for _ in 0..2 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        for (listener, id) in listeners.into_iter().zip(1..) {
            let broker =
                Arc::new(Broker { id, ports: ports.clone(), nature: nature.clone(), state: state.clone() });
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let broker = broker.clone();
                    tokio::spawn(async move {
                        match &broker.nature.tls {
                            // Whom it does not let in is not at fault.
                            Some(tls) => {
                                let Ok(stream) = tls.accept(stream).await else { return };
                                broker.clone().serve(stream).await;
                            }
                            None => broker.clone().serve(stream).await,
                        }
                    });
                }
            });
        }
        Self { state, brokers: format!("127.0.0.1:{}", ports[0]) }
    }

    /// Has the next requests go wrong.
    pub(super) fn script(&self, troubles: &[Trouble]) {
        self.state.lock().unwrap().script.extend(troubles);
    }

    /// Whether everything of the script has happened.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().unwrap().script.is_empty()
    }

    /// Everything that was kept; nothing may have been wrong.
    pub(super) fn read(&self) -> Vec<Message> {
        let state = self.state.lock().unwrap();
        assert!(state.wrong.is_empty(), "{:#?}", state.wrong);
        let kept = state.kept.iter().zip(0..);
        kept.flat_map(|(records, partition)| records.iter().map(move |record| message(partition, record)))
            .collect()
    }
}

fn message(partition: i32, record: &Record) -> Message {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let headers =
        record.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_ref().unwrap())));
    Message {
        partition,
        time: record.timestamp,
        key: record.key.as_ref().map(text),
        headers: headers.collect(),
        body: serde_json::from_slice(record.value.as_ref().unwrap()).unwrap(),
    }
}

fn must(holds: bool, what: &str) -> Result<(), End> {
    if holds { Ok(()) } else { Err(End::Wrong(what.to_owned())) }
}

fn encoded(answer: &impl Encodable, version: i16) -> Result<Bytes, End> {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version)?;
    Ok(bytes.freeze())
}

fn decoded<T: Decodable>(mut bytes: Bytes, version: i16) -> Result<T, End> {
    let read = T::decode(&mut bytes, version)?;
    must(!bytes.has_remaining(), "a request ends where its frame does")?;
    Ok(read)
}

impl Broker {
    async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        // Whether who is there has logged in, and what was said for that.
        let mut visit = self.nature.door.as_ref().map(Door::visit);
        loop {
            match self.exchange(&mut stream, &mut visit).await {
                Ok(()) => {}
                Err(End::Meant) => return,
                Err(End::Wrong(what)) => return self.state.lock().unwrap().wrong.push(what),
            }
        }
    }

    async fn exchange(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        visit: &mut Option<super::login::Visit>,
    ) -> Result<(), End> {
        let Ok(length) = stream.read_i32().await else { return Err(End::Meant) };
        let mut frame = vec![0; length as usize];
        if stream.read_exact(&mut frame).await.is_err() {
            return Err(End::Meant);
        }
        let mut frame = Bytes::from(frame);
        // Header version 1: none of the versions that are spoken is a flexible one.
        let header = RequestHeader::decode(&mut frame, 1)?;
        must(header.client_id.as_deref() == Some("keyward"), "the client says who it is")?;
        let (key, version) = (header.request_api_key, header.request_api_version);
        let known = self.nature.versions.iter().find(|[k, ..]| *k == key);
        let [_, oldest, newest] = *known.ok_or_else(|| End::Wrong(format!("{key} is not known")))?;
        must((oldest..=newest).contains(&version), "a version is asked for that there is")?;
        if let Some(visit) = visit {
            must(visit.is_in() || [17, 18, 36].contains(&key), "who is not let in asks for nothing else")?;
        }
        let correlation = header.correlation_id;
        let body = match key {
            0 => return self.produce(stream, correlation, version, decoded(frame, version)?).await,
            3 => encoded(&self.metadata(version, &decoded(frame, version)?)?, version)?,
            17 => {
                let asked: SaslHandshakeRequest = decoded(frame, version)?;
                encoded(
                    &visit.as_mut().map_or_else(SaslHandshakeResponse::default, |v| v.greet(&asked)),
                    version,
                )?
            }
            18 => {
                self.state.lock().unwrap().greeted += 1;
                let kinds = self.nature.versions.iter().map(|[key, from, to]| {
                    ApiVersion::default().with_api_key(*key).with_min_version(*from).with_max_version(*to)
                });
                encoded(&ApiVersionsResponse::default().with_api_keys(kinds.collect()), version)?
            }
            36 => {
                let asked: SaslAuthenticateRequest = decoded(frame, version)?;
                let answer =
                    visit.as_mut().map_or_else(SaslAuthenticateResponse::default, |v| v.hear(&asked));
                encoded(&answer, version)?
            }
            _ => return Err(End::Wrong(format!("{key} is not known"))),
        };
        self.answer(stream, correlation, &body).await
    }

    async fn answer(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        correlation: i32,
        body: &[u8],
    ) -> Result<(), End> {
        let header = encoded(&ResponseHeader::default().with_correlation_id(correlation), 0)?;
        let mut frame = BytesMut::new();
        frame.put_i32((header.len() + body.len()) as i32);
        frame.put(header);
        frame.put(body);
        stream.write_all(&frame).await.map_err(|_| End::Meant)?;
        stream.flush().await.map_err(|_| End::Meant)
    }

    fn metadata(&self, version: i16, asked: &MetadataRequest) -> Result<MetadataResponse, End> {
        let names: Vec<_> = asked.topics.iter().flatten().filter_map(|topic| topic.name.as_deref()).collect();
        must(names == [TOPIC], "only our topic is asked for")?;
        must(version < 4 || !asked.allow_auto_topic_creation, "no topic is to be made")?;
        let state = self.state.lock().unwrap();
        let brokers = self.ports.iter().zip(1..).map(|(port, id)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str(self.nature.host))
                .with_port((*port).into())
        });
        let partitions = state.leaders.iter().zip(0..).map(|(leader, index)| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(if *leader < 0 { 5 } else { 0 })
                .with_leader_id(BrokerId(*leader))
                .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
                .with_isr_nodes(vec![BrokerId(1)])
        });
        let topic = MetadataResponseTopic::default()
            .with_error_code(state.topic_error)
            .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
            .with_partitions(if state.topic_error == 0 { partitions.collect() } else { Vec::new() });
        Ok(MetadataResponse::default().with_brokers(brokers.collect()).with_topics(vec![topic]))
    }

    async fn produce(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        correlation: i32,
        version: i16,
        asked: ProduceRequest,
    ) -> Result<(), End> {
        let (answer, trouble) = self.keep(version, &asked)?;
        let body = encoded(&answer, version)?;
        match trouble {
            Some(Trouble::HangUp | Trouble::HangUpAfter) => return Err(End::Meant),
            Some(Trouble::Half) => {
                stream.write_i32(body.len() as i32 + 4).await.map_err(|_| End::Meant)?;
                stream.write_i32(correlation).await.map_err(|_| End::Meant)?;
                let _ = stream.write_all(&body[..body.len() / 2]).await;
                return Err(End::Meant);
            }
            Some(Trouble::Garbage) => return self.answer(stream, correlation, &[0xff; 40]).await,
            Some(Trouble::Bomb) => return self.answer(stream, correlation, &[0x7f, 0xff, 0xff, 0xff]).await,
            Some(Trouble::Oversized) => {
                let _ = stream.write_i32(2_000_000_000).await;
                let _ = stream.flush().await;
                return Ok(());
            }
            Some(Trouble::Another) => return self.answer(stream, correlation + 1, &body).await,
            Some(Trouble::Nothing) => {
                let body = encoded(&ProduceResponse::default(), version)?;
                return self.answer(stream, correlation, &body).await;
            }
            Some(Trouble::Silence) => return std::future::pending().await,
            Some(Trouble::Error(..) | Trouble::Throttle(_)) | None => {}
        }
        self.answer(stream, correlation, &body).await
    }

    /// Keeps what is to be kept.
    fn keep(&self, version: i16, asked: &ProduceRequest) -> Result<(ProduceResponse, Option<Trouble>), End> {
        must(asked.acks == -1, "all replicas in sync must have it")?;
        must(
            asked.timeout_ms > 0 && asked.transactional_id.is_none(),
            "it may take a while, in no transaction",
        )?;
        let [topic] = asked.topic_data.as_slice() else { return Err(End::Wrong("one topic".to_owned())) };
        must(&**topic.name == TOPIC, "our topic")?;
        let mut state = self.state.lock().unwrap();
        state.asked.push(clock::instant());
        let trouble = state.script.pop_front();
        let is_kept = !matches!(
            trouble,
            Some(
                Trouble::HangUp
                    | Trouble::Garbage
                    | Trouble::Bomb
                    | Trouble::Oversized
                    | Trouble::Another
                    | Trouble::Nothing
                    | Trouble::Silence
            )
        );
        let mut answers: HashMap<i32, PartitionProduceResponse> = HashMap::new();
        for partition in &topic.partition_data {
            let mut bytes = partition.records.clone().unwrap_or_default();
            let length = bytes.len();
            let records = RecordBatchDecoder::decode(&mut bytes)?.records;
            must(!bytes.has_remaining() && !records.is_empty(), "a batch of records")?;
            let is_plain = |(n, record): (usize, &Record)| {
                record.offset == n as i64 && record.producer_id == -1 && record.producer_epoch == -1
            };
            must(records.iter().enumerate().all(is_plain), "records by number, of no certain producer")?;
            let index = partition.index;
            let leader = state.leaders.get(index as usize).copied();
            let mut answer = PartitionProduceResponse::default().with_index(index);
            let told = match trouble {
                Some(Trouble::Error(partitions, code)) if partitions.contains(&index) => code,
                _ => 0,
            };
            let poisoned: Vec<i32> = (0..)
                .zip(&records)
                .filter(|(_, record)| record.key.as_deref() == Some(b"key:poison"))
                .map(|(n, _)| n)
                .collect();
            answer.error_code = if leader != Some(self.id) {
                6
            } else if told != 0 {
                told
            } else if length > self.nature.most {
                10
            } else if !poisoned.is_empty() {
                87
            } else {
                0
            };
            if answer.error_code == 87 && version >= 8 {
                let culprit = |n| {
                    let why = StrBytes::from_static_str("it is poisoned");
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(n)
                        .with_batch_index_error_message(Some(why))
                };
                answer.record_errors = poisoned.into_iter().map(culprit).collect();
            }
            if answer.error_code == 0 && is_kept {
                answer.base_offset = state.kept[index as usize].len() as i64;
                state.kept[index as usize].extend(records);
            }
            must(answers.insert(index, answer).is_none(), "a partition comes once")?;
        }
        let throttle = if let Some(Trouble::Throttle(time)) = trouble { time } else { 0 };
        let topic = TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_partition_responses(answers.into_values().collect());
        Ok((ProduceResponse::default().with_responses(vec![topic]).with_throttle_time_ms(throttle), trouble))
    }
}

/// How far apart requests to keep something came.
pub(super) fn gaps(asked: &[Instant]) -> Vec<Duration> {
    asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
}
