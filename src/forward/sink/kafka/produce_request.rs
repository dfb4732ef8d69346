//! What goes to one broker at a time: the first group of each queue that it leads, in one question, and what became of each.

use super::{
    connect::BrokerConnector,
    connection::BrokerConnection,
    messages::{PRODUCE, PartitionResponse, ProduceResponse, ask_produce},
};
use crate::forward::Failure;

/// Groups on their way to one broker.
pub struct ProduceRequest {
    pub broker: i32,
    /// The connection, if there is one.
    pub connection: Option<BrokerConnection>,
    /// By partition, in ascending order.
    pub groups: Vec<(i32, Vec<u8>)>,
}

/// What came back, and the connection if it can still be used.
pub struct BrokerResult {
    pub broker: i32,
    pub connection: Option<BrokerConnection>,
    pub produced: Result<Vec<PartitionResponse>, Failure>,
}

impl ProduceRequest {
    /// Delivers it to the broker, which is at `place`.
    pub async fn deliver(
        mut self,
        connector: &BrokerConnector,
        place: Option<(&str, u16)>,
        topic: &str,
    ) -> BrokerResult {
        let produced = self.exchange(connector, place, topic).await;
        let connection = self.connection.filter(|_| produced.is_ok());
        BrokerResult { broker: self.broker, connection, produced }
    }

    async fn exchange(
        &mut self,
        connector: &BrokerConnector,
        place: Option<(&str, u16)>,
        topic: &str,
    ) -> Result<Vec<PartitionResponse>, Failure> {
        let kept = match self.connection.take() {
            Some(mut connection) => connection.is_fine().await.then_some(connection),
            None => None,
        };
        let connection = match (kept, place) {
            (Some(connection), _) => connection,
            (None, Some((host, port))) => connector.connect(host, port).await?,
            (None, None) => return Err(Failure::Unreachable(format!("broker {} is gone", self.broker))),
        };
        let connection = self.connection.insert(connection);
        let version = connection.version(PRODUCE)?;
        // The broker says when its replicas are slow, before we stop to wait.
        let patience = (connection.limit / 2).as_millis().try_into().unwrap_or(i32::MAX);
        let answer = connection.ask(PRODUCE, version, &ask_produce(topic, patience, &self.groups)).await?;
        let produced = ProduceResponse::read(&answer, version)
            .map_err(|garbled| connection.garbled(PRODUCE, garbled))?;
        connection.rest(produced.throttle);
        let own = produced.topics.into_iter().filter(|(name, _)| name == topic);
        let mut said: Vec<PartitionResponse> = own.flat_map(|(_, partitions)| partitions).collect();
        said.sort_by_key(|partition| partition.index);
        let asked = self.groups.iter().map(|(partition, _)| *partition);
        if !asked.eq(said.iter().map(|partition| partition.index)) {
            let why = "it did not say of each partition what became of it".to_owned();
            return Err(connection.named(Failure::Unreachable(why)));
        }
        Ok(said)
    }
}
