//! Sends batches: asks who leads the partitions, gives each leader the first batch of each of its queues, and reads
//! what became of them, until nothing is left or something fails.
//!
//! What fails fails for all events, which the sender then sends again. So what was taken until then is remembered, by
//! id, and left out: nothing comes twice but what was on its way when a connection broke. And of a partition where
//! something failed, nothing that is behind it was sent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};

use super::{
    cluster_metadata::ClusterMetadata,
    connect::BrokerConnector,
    connection::BrokerConnection,
    error_code::{ProduceOutcome, outcome_of},
    messages::{METADATA, Metadata, PartitionResponse, metadata_request},
    partition::{PartitionKey, partition_of},
    partition_queues::PartitionQueues,
    produce_request::ProduceRequest,
    progress::Progress,
    record::{ProducerRecord, batch},
};
use crate::{
    clock::{self, Instant},
    domain::event::Event,
    forward::{
        contract::{SendReport, Sink},
        error::{SendError, SendErrorKind},
        format::Format,
    },
};

/// How old the metadata may be, as with other clients: partitions may have been added.
const MAX_METADATA_AGE: Duration = Duration::from_secs(300);
/// The largest batch at first, in bytes: below what brokers take unless they are told otherwise (1 MiB).
const MAX_BATCH: usize = 512 * 1024;
/// The smallest bound of a batch, in bytes: no topic is held to be stricter.
const MIN_BATCH: usize = 4 * 1024;

/// What is the same for all events.
pub(super) struct ProducerConfig {
    pub topic: String,
    pub key: PartitionKey,
    pub format: Format,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// Sends to a topic.
pub(super) struct Producer {
    connector: BrokerConnector,
    /// Where the cluster is asked for first: host and port.
    bootstrap: Vec<(String, u16)>,
    /// The index of the address that is asked next.
    next: usize,
    config: ProducerConfig,
    metadata: Option<ClusterMetadata>,
    /// Whether the metadata may be out of date.
    stale: bool,
    connections: HashMap<i32, BrokerConnection>,
    /// The ids of events that were taken, of an attempt that failed.
    taken: HashSet<String>,
    /// The largest batch that is made, in bytes.
    max_batch: usize,
}

impl Producer {
    /// A producer that has no connection yet.
    pub(super) fn new(
        connector: BrokerConnector,
        bootstrap: Vec<(String, u16)>,
        config: ProducerConfig,
    ) -> Self {
        Self {
            connector,
            bootstrap,
            next: 0,
            config,
            metadata: None,
            stale: false,
            connections: HashMap::new(),
            taken: HashSet::new(),
            max_batch: MAX_BATCH,
        }
    }

    async fn deliver(&mut self, events: &[Event]) -> Result<SendReport, SendError> {
        self.refresh_metadata().await?;
        let partitions = self.metadata.as_ref().map_or(1, ClusterMetadata::partitions);
        let records: Vec<ProducerRecord> = events.iter().map(|event| self.config.record(event)).collect();
        let left = (0..events.len()).filter(|n| !self.taken.contains(&events[*n].id));
        let placed = left.map(|n| (n, self.config.partition(&events[n], partitions), records[n].size()));
        let mut progress = Progress::new(PartitionQueues::of(placed, self.max_batch));
        while !progress.queues.is_empty() {
            self.round(events, &records, &mut progress).await?;
            if let Some(error) = progress.failed {
                return Err(error);
            }
        }
        for event in events {
            self.taken.remove(&event.id);
        }
        Ok(progress.report(&self.config.topic))
    }

    /// Sends the first batch of each queue.
    async fn round(
        &mut self,
        events: &[Event],
        records: &[ProducerRecord],
        progress: &mut Progress,
    ) -> Result<(), SendError> {
        let leaders = progress.queues.first().filter_map(|(partition, _)| self.leader(partition));
        let throttled = leaders.filter_map(|broker| self.connections.get(&broker)?.throttled_until).max();
        self.config.wait_for_quota(throttled).await?;
        let requests = self.requests(records, progress);
        let (connector, metadata, config) = (&self.connector, self.metadata.as_ref(), &self.config);
        let exchanges = requests.into_iter().map(|request| async move {
            let address = metadata.and_then(|metadata| metadata.address(request.broker));
            request.send(connector, address, &config.topic).await
        });
        let results = join_all(exchanges).await;
        for result in results {
            if let Some(connection) = result.connection {
                self.connections.insert(result.broker, connection);
            }
            match result.partitions {
                Ok(partitions) => {
                    partitions.into_iter().for_each(|partition| self.settle(events, partition, progress));
                }
                Err(error) => {
                    self.stale = true;
                    progress.fail(error);
                }
            }
        }
        Ok(())
    }

    /// The first batches, by who leads their partitions.
    fn requests(&mut self, records: &[ProducerRecord], progress: &mut Progress) -> Vec<ProduceRequest> {
        let mut batches: BTreeMap<i32, Vec<(i32, Vec<u8>)>> = BTreeMap::new();
        let mut leaderless = Vec::new();
        for (partition, indexes) in progress.queues.first() {
            match self.leader(partition) {
                Some(leader) => {
                    let batch = batch(indexes.iter().map(|n| &records[*n]));
                    batches.entry(leader).or_default().push((partition, batch));
                }
                None => leaderless.push(partition),
            }
        }
        for partition in leaderless {
            self.stale = true;
            let why = format!("partition {partition} of {} has no leader now", self.config.topic);
            progress.fail(SendError::busy(why));
        }
        let request = |(broker, batches)| ProduceRequest {
            broker,
            connection: self.connections.remove(&broker),
            batches,
        };
        batches.into_iter().map(request).collect()
    }

    fn leader(&self, partition: i32) -> Option<i32> {
        self.metadata.as_ref().and_then(|metadata| metadata.leader(partition))
    }

    /// Notes what became of a batch.
    fn settle(&mut self, events: &[Event], response: PartitionResponse, progress: &mut Progress) {
        let partition = response.index;
        match outcome_of(response.error, response.message.as_deref()) {
            ProduceOutcome::Taken => {
                let indexes = progress.taken(partition, response.offset);
                self.taken.extend(indexes.into_iter().map(|n| events[n].id.clone()));
            }
            ProduceOutcome::Refused(why) => drop(progress.refuse(partition, &response.record_errors, &why)),
            ProduceOutcome::TooLarge(why) => {
                if progress.refuse(partition, &[], &why) {
                    self.max_batch = (self.max_batch / 2).max(MIN_BATCH);
                }
            }
            ProduceOutcome::Failed { error, refresh_metadata } => {
                self.stale |= refresh_metadata;
                progress.fail(error.about(format!("partition {partition} of {}", self.config.topic)));
            }
        }
    }

    /// Asks who leads, unless that is known.
    async fn refresh_metadata(&mut self) -> Result<(), SendError> {
        let is_young = |metadata: &ClusterMetadata| metadata.learned.elapsed() < MAX_METADATA_AGE;
        if !self.stale && self.metadata.as_ref().is_some_and(is_young) {
            return Ok(());
        }
        if self.ask_open_connection().await? {
            return Ok(());
        }
        let known = self.metadata.iter().flat_map(ClusterMetadata::brokers);
        let known = known.map(|(_, host, port)| (host.to_owned(), port));
        let addresses: Vec<(String, u16)> = self.bootstrap.iter().cloned().chain(known).collect();
        let mut progress = Progress::default();
        for _ in 0..addresses.len() {
            // Kept, so that the next attempt goes on where this one ran out of time.
            self.next = (self.next + 1) % addresses.len();
            let (host, port) = &addresses[self.next];
            match self.ask_at(host, *port).await {
                Ok(()) => return Ok(()),
                Err(error) => progress.fail(error),
            }
        }
        Err(progress.failed.unwrap_or_else(|| SendError::unreachable("there is no broker")))
    }

    /// Asks over a connection that is there; says whether there was one that answered.
    async fn ask_open_connection(&mut self) -> Result<bool, SendError> {
        let open = self.connections.iter().next();
        let Some((broker, throttled)) = open.map(|(broker, open)| (*broker, open.throttled_until)) else {
            return Ok(false);
        };
        self.config.wait_for_quota(throttled).await?;
        if let Some(mut connection) = self.connections.remove(&broker)
            && connection.is_usable().await
            && let Ok(metadata) = self.config.ask(&mut connection).await
        {
            self.connections.insert(broker, connection);
            self.learn(metadata);
            return Ok(true);
        }
        Ok(false)
    }

    async fn ask_at(&mut self, host: &str, port: u16) -> Result<(), SendError> {
        let mut connection = self.connector.connect(host, port).await?;
        let metadata = self.config.ask(&mut connection).await?;
        let own = metadata.brokers().find(|(_, h, p)| (*h, *p) == (host, port)).map(|(id, ..)| id);
        self.learn(metadata);
        if let Some(own) = own {
            self.connections.entry(own).or_insert(connection);
        }
        Ok(())
    }

    /// Takes in new metadata. Connections to brokers that are elsewhere now are dropped.
    fn learn(&mut self, metadata: ClusterMetadata) {
        self.stale = false;
        let known = self.metadata.replace(metadata);
        let (Some(old), Some(new)) = (&known, &self.metadata) else { return };
        self.connections.retain(|broker, _| old.address(*broker) == new.address(*broker));
    }
}

impl ProducerConfig {
    fn record(&self, event: &Event) -> ProducerRecord {
        ProducerRecord::of(event, self.key.of(event), self.format)
    }

    fn partition(&self, event: &Event, partitions: i32) -> i32 {
        partition_of(self.key.of(event).as_deref(), partitions)
    }

    /// Leaves brokers alone that asked for it: here, when that is short, else until the sender tries again.
    async fn wait_for_quota(&self, until: Option<Instant>) -> Result<(), SendError> {
        let Some(until) = until.filter(|until| *until > clock::instant()) else { return Ok(()) };
        let time = until - clock::instant();
        if time > self.timeout / 4 {
            let busy = SendErrorKind::Busy { retry_after: Some(time) };
            let why = format!("a broker wants to be left alone for {} ms", time.as_millis());
            return Err(SendError::new(busy, why).detail("a quota is used up"));
        }
        clock::sleep_until(until).await;
        Ok(())
    }

    /// Asks a broker who leads.
    async fn ask(&self, connection: &mut BrokerConnection) -> Result<ClusterMetadata, SendError> {
        let version = connection.version(METADATA)?;
        let request = metadata_request(version, &self.topic);
        let response = connection.request(METADATA, version, &request).await?;
        let response =
            Metadata::read(&response, version).map_err(|error| connection.malformed(METADATA, error))?;
        connection.throttle(response.throttle);
        ClusterMetadata::of(&response, &self.topic).map_err(|error| connection.named(error))
    }
}

impl Sink for Producer {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(self.deliver(events))
    }

    /// Others may have sent since: what was taken before says nothing of what is sent now.
    fn restore(&mut self, _state: &[u8]) {
        self.taken.clear();
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.connections.clear();
        Box::pin(async {})
    }
}
