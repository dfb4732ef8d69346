//! Sends batches: asks who leads the partitions, gives each leader the first group of each of its queues, and hears what
//! became of them, until nothing is left or something fails.
//!
//! What fails fails for the whole batch, which the sender then sends again. So what was taken until then is remembered, by
//! id, and left out: nothing comes twice but what was on its way when a connection broke. And of a partition where
//! something failed, nothing that is behind it was sent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep_until};

use super::{
    Key,
    cluster_metadata::ClusterMetadata,
    connect::BrokerConnector,
    connection::{BrokerConnection, about},
    error_code::{ProduceOutcome, outcome, shown},
    messages::{METADATA, Metadata, PartitionResponse, ask_metadata},
    partition::partition_of,
    partition_queues::{Group, PartitionQueues},
    produce_request::ProduceRequest,
    record::{Record, batch},
};
use crate::{
    domain::event::Event,
    forward::{Failure, Sent, Sink, format::Format},
};

/// Who leads is asked anew after this time, as by other clients: partitions may have been added.
const KNOWN: Duration = Duration::from_secs(300);
/// The largest group at first, in bytes: below what brokers take unless they are told otherwise (1 MiB).
const MOST_GROUP: usize = 512 * 1024;
/// No topic is held to be so strict that a group may not have this many bytes.
const LEAST_GROUP: usize = 4 * 1024;

/// What is the same for every batch.
pub struct Plan {
    pub topic: String,
    pub key: Key,
    pub format: Format,
    /// For one attempt.
    pub limit: Duration,
}

/// Sends to a topic.
pub struct Producer {
    connector: BrokerConnector,
    /// Where the cluster is asked for first.
    bootstrap: Vec<(String, u16)>,
    /// Which of them is next.
    next: usize,
    plan: Plan,
    metadata: Option<ClusterMetadata>,
    /// Whether who leads must be asked anew.
    stale: bool,
    connections: HashMap<i32, BrokerConnection>,
    /// Of a batch that failed, the ids of events that were taken.
    taken: HashSet<String>,
    /// The largest group.
    most: usize,
}

/// What a batch has come to so far.
#[derive(Default)]
struct Outcome {
    sent: Sent,
    /// Partition and offset of what was taken last.
    last: Option<(i32, i64)>,
    failed: Option<Failure>,
}

impl Outcome {
    /// A failure that somebody must correct is worth more than others: only it says how.
    fn fail(&mut self, failure: Failure) {
        if self.failed.is_none() || matches!(failure, Failure::Denied(_)) {
            self.failed = Some(failure);
        }
    }
}

impl Producer {
    pub fn new(connector: BrokerConnector, bootstrap: Vec<(String, u16)>, plan: Plan) -> Self {
        let (connections, taken) = (HashMap::new(), HashSet::new());
        Self {
            connector,
            bootstrap,
            next: 0,
            plan,
            metadata: None,
            stale: false,
            connections,
            taken,
            most: MOST_GROUP,
        }
    }

    async fn deliver(&mut self, events: &[Event]) -> Result<Sent, Failure> {
        self.survey().await?;
        let partitions = self.metadata.as_ref().map_or(1, ClusterMetadata::partitions);
        let records: Vec<Record> = events.iter().map(|event| self.plan.record(event)).collect();
        let places = (0..events.len()).filter(|n| !self.taken.contains(&events[*n].id));
        let placed = places.map(|n| (n, self.plan.partition(&events[n], partitions), records[n].size()));
        let mut queues = PartitionQueues::of(placed, self.most);
        let mut outcome = Outcome::default();
        while !queues.is_empty() {
            self.round(events, &records, &mut queues, &mut outcome).await?;
            if let Some(failure) = outcome.failed {
                return Err(failure);
            }
        }
        for event in events {
            self.taken.remove(&event.id);
        }
        outcome.sent.answer = match outcome.last {
            Some((partition, offset)) => {
                let topic = &self.plan.topic;
                format!(
                    "{topic} has it on all replicas in sync, the last in partition {partition} at offset {offset}"
                )
            }
            None => "nothing was left to be sent".to_owned(),
        };
        Ok(outcome.sent)
    }

    /// Sends the first group of each queue.
    async fn round(
        &mut self,
        events: &[Event],
        records: &[Record],
        queues: &mut PartitionQueues,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let leaders = queues.first().filter_map(|(partition, _)| self.leader(partition));
        let rests = leaders.filter_map(|broker| self.connections.get(&broker)?.rests).max();
        self.plan.let_rest(rests).await?;
        let requests = self.requests(records, queues, outcome);
        let (connector, metadata, plan) = (&self.connector, self.metadata.as_ref(), &self.plan);
        let exchanges = requests.into_iter().map(|request| async move {
            let place = metadata.and_then(|metadata| metadata.place(request.broker));
            request.deliver(connector, place, &plan.topic).await
        });
        let results = join_all(exchanges).await;
        for result in results {
            if let Some(connection) = result.connection {
                self.connections.insert(result.broker, connection);
            }
            match result.produced {
                Ok(produced) => {
                    produced
                        .into_iter()
                        .for_each(|partition| self.settle(events, partition, queues, outcome));
                }
                Err(failure) => {
                    self.stale = true;
                    outcome.fail(failure);
                }
            }
        }
        Ok(())
    }

    /// The first groups, by who leads their partitions.
    fn requests(
        &mut self,
        records: &[Record],
        queues: &PartitionQueues,
        outcome: &mut Outcome,
    ) -> Vec<ProduceRequest> {
        let mut groups: BTreeMap<i32, Vec<(i32, Vec<u8>)>> = BTreeMap::new();
        for (partition, group) in queues.first() {
            match self.leader(partition) {
                Some(leader) => {
                    let batch = batch(group.iter().map(|n| &records[*n]));
                    groups.entry(leader).or_default().push((partition, batch));
                }
                None => {
                    self.stale = true;
                    let why = format!("partition {partition} of {} has no leader now", self.plan.topic);
                    outcome.fail(Failure::Busy { why, after: None });
                }
            }
        }
        let request = |(broker, groups)| ProduceRequest {
            broker,
            connection: self.connections.remove(&broker),
            groups,
        };
        groups.into_iter().map(request).collect()
    }

    fn leader(&self, partition: i32) -> Option<i32> {
        self.metadata.as_ref().and_then(|metadata| metadata.leader(partition))
    }

    /// Heeds what became of a group.
    fn settle(
        &mut self,
        events: &[Event],
        produced: PartitionResponse,
        queues: &mut PartitionQueues,
        outcome: &mut Outcome,
    ) {
        let partition = produced.index;
        match outcome(produced.error, produced.said.as_deref()) {
            ProduceOutcome::Taken => {
                let group = queues.pass(partition);
                outcome.last = Some((partition, produced.offset + group.len() as i64 - 1));
                self.taken.extend(group.into_iter().map(|n| events[n].id.clone()));
            }
            ProduceOutcome::Refused(why) => {
                refuse(partition, &produced.culprits, &why, queues, outcome);
            }
            ProduceOutcome::TooLarge(why) => {
                if refuse(partition, &[], &why, queues, outcome) {
                    self.most = (self.most / 2).max(LEAST_GROUP);
                }
            }
            ProduceOutcome::Failed(failure, moved) => {
                self.stale |= moved;
                outcome.fail(about(&format!("partition {partition} of {}", self.plan.topic), failure));
            }
        }
    }

    /// Learns who leads, unless that is known.
    async fn survey(&mut self) -> Result<(), Failure> {
        if !self.stale && self.metadata.as_ref().is_some_and(|metadata| metadata.learned.elapsed() < KNOWN) {
            return Ok(());
        }
        let open = self.connections.iter().next().map(|(broker, connection)| (*broker, connection.rests));
        if let Some((broker, rests)) = open {
            self.plan.let_rest(rests).await?;
            if let Some(mut connection) = self.connections.remove(&broker)
                && connection.is_fine().await
                && let Ok(metadata) = self.plan.ask(&mut connection).await
            {
                self.connections.insert(broker, connection);
                self.learn(metadata);
                return Ok(());
            }
        }
        let known = self
            .metadata
            .iter()
            .flat_map(ClusterMetadata::brokers)
            .map(|(_, host, port)| (host.to_owned(), port));
        let places: Vec<(String, u16)> = self.bootstrap.iter().cloned().chain(known).collect();
        let mut outcome = Outcome::default();
        for _ in 0..places.len() {
            // Kept, so that the next attempt goes on where this one ran out of time.
            self.next = (self.next + 1) % places.len();
            let (host, port) = &places[self.next];
            match self.ask_at(host, *port).await {
                Ok(()) => return Ok(()),
                Err(failure) => outcome.fail(failure),
            }
        }
        Err(outcome.failed.unwrap_or_else(|| Failure::Unreachable("there is no broker".to_owned())))
    }

    async fn ask_at(&mut self, host: &str, port: u16) -> Result<(), Failure> {
        let mut connection = self.connector.connect(host, port).await?;
        let metadata = self.plan.ask(&mut connection).await?;
        let own = metadata.brokers().find(|(_, h, p)| (*h, *p) == (host, port)).map(|(id, ..)| id);
        self.learn(metadata);
        if let Some(own) = own {
            self.connections.entry(own).or_insert(connection);
        }
        Ok(())
    }

    /// Connections to brokers that are elsewhere now are of no use.
    fn learn(&mut self, metadata: ClusterMetadata) {
        self.stale = false;
        let known = self.metadata.replace(metadata);
        let (Some(old), Some(new)) = (&known, &self.metadata) else { return };
        self.connections.retain(|broker, _| old.place(*broker) == new.place(*broker));
    }
}

/// Takes out of a queue what is refused for good; or makes smaller groups, when it is not known which events that is, and
/// says so.
fn refuse(
    partition: i32,
    culprits: &[(i32, Option<String>)],
    why: &str,
    queues: &mut PartitionQueues,
    outcome: &mut Outcome,
) -> bool {
    let group = queues.pass(partition);
    let refused: BTreeMap<usize, String> = match group.as_slice() {
        [_] => BTreeMap::from([(0, why.to_owned())]),
        _ => culprits
            .iter()
            .filter_map(|(n, said)| {
                let n = usize::try_from(*n).ok().filter(|n| *n < group.len())?;
                let said = said.as_deref().map(shown).filter(|said| !said.is_empty());
                Some((n, said.map_or_else(|| why.to_owned(), |said| format!("{why}: {said}"))))
            })
            .collect(),
    };
    let rest: Group = (0..group.len()).filter(|n| !refused.contains_key(n)).map(|n| group[n]).collect();
    let is_unknown = refused.is_empty();
    outcome.sent.refused.extend(refused.into_iter().map(|(n, why)| (group[n], why)));
    queues.put_back(partition, rest);
    if is_unknown {
        queues.halve(partition);
    }
    is_unknown
}

impl Plan {
    fn record(&self, event: &Event) -> Record {
        Record::of(event, self.key.of(event), self.format)
    }

    fn partition(&self, event: &Event, partitions: i32) -> i32 {
        partition_of(self.key.of(event).as_deref(), partitions)
    }

    /// Leaves brokers alone that asked for it: here, when that is short, else until the sender tries again.
    async fn let_rest(&self, until: Option<Instant>) -> Result<(), Failure> {
        let Some(until) = until.filter(|until| *until > Instant::now()) else { return Ok(()) };
        let time = until - Instant::now();
        if time > self.limit / 4 {
            let why =
                format!("a broker wants to be left alone for {} ms: a quota is used up", time.as_millis());
            return Err(Failure::Busy { why, after: Some(time) });
        }
        sleep_until(until).await;
        Ok(())
    }

    /// Asks a broker who leads.
    async fn ask(&self, connection: &mut BrokerConnection) -> Result<ClusterMetadata, Failure> {
        let version = connection.version(METADATA)?;
        let answer = connection.ask(METADATA, version, &ask_metadata(version, &self.topic)).await?;
        let said =
            Metadata::read(&answer, version).map_err(|garbled| connection.garbled(METADATA, garbled))?;
        connection.rest(said.throttle);
        ClusterMetadata::of(&said, &self.topic).map_err(|failure| connection.named(failure))
    }
}

impl Sink for Producer {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
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
