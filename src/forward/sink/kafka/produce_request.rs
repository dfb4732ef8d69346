//! What goes to one broker at a time: the first batch of each queue that the broker leads, in one request, and what
//! became of each.

use super::{
    connect::BrokerConnector,
    connection::BrokerConnection,
    messages::{PRODUCE, PartitionResponse, ProduceResponse, produce_request},
};
use crate::forward::error::SendError;

/// Batches on their way to one broker.
pub(super) struct ProduceRequest {
    pub broker: i32,
    /// The connection, if there is one.
    pub connection: Option<BrokerConnection>,
    /// The batch of each partition, by ascending partition.
    pub batches: Vec<(i32, Vec<u8>)>,
}

/// What came back, and the connection if it can still be used.
pub(super) struct BrokerResult {
    pub broker: i32,
    pub connection: Option<BrokerConnection>,
    pub partitions: Result<Vec<PartitionResponse>, SendError>,
}

impl ProduceRequest {
    /// Sends the request to the broker, which is at `address`; `None` if the cluster no longer has the broker.
    pub(super) async fn send(
        mut self,
        connector: &BrokerConnector,
        address: Option<(&str, u16)>,
        topic: &str,
    ) -> BrokerResult {
        let partitions = self.exchange(connector, address, topic).await;
        let connection = self.connection.filter(|_| partitions.is_ok());
        BrokerResult { broker: self.broker, connection, partitions }
    }

    async fn exchange(
        &mut self,
        connector: &BrokerConnector,
        address: Option<(&str, u16)>,
        topic: &str,
    ) -> Result<Vec<PartitionResponse>, SendError> {
        let kept = match self.connection.take() {
            Some(mut connection) => connection.is_usable().await.then_some(connection),
            None => None,
        };
        let connection = match (kept, address) {
            (Some(connection), _) => connection,
            (None, Some((host, port))) => connector.connect(host, port).await?,
            (None, None) => return Err(SendError::unreachable(format!("broker {} is gone", self.broker))),
        };
        let connection = self.connection.insert(connection);
        let version = connection.version(PRODUCE)?;
        // The broker says when its replicas are slow, before we stop to wait.
        let timeout_ms = (connection.timeout / 2).as_millis().try_into().unwrap_or(i32::MAX);
        let request = produce_request(topic, timeout_ms, &self.batches);
        let response = connection.request(PRODUCE, version, &request).await?;
        let response = ProduceResponse::read(&response, version)
            .map_err(|error| connection.malformed(PRODUCE, error))?;
        connection.throttle(response.throttle);
        let own = response.topics.into_iter().filter(|(name, _)| name == topic);
        let mut partitions: Vec<PartitionResponse> = own.flat_map(|(_, partitions)| partitions).collect();
        partitions.sort_by_key(|partition| partition.index);
        let asked = self.batches.iter().map(|(partition, _)| *partition);
        if !asked.eq(partitions.iter().map(|partition| partition.index)) {
            let why = "it did not say of each partition what became of it";
            return Err(connection.named(SendError::unreachable(why)));
        }
        Ok(partitions)
    }
}
