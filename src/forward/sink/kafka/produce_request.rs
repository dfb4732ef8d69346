//! What goes to one broker at a time: the first group of each queue that it leads, in one question, and what became of each.

use super::{
    dial::Dialer,
    link::Link,
    messages::{PRODUCE, PartitionResponse, ProduceResponse, ask_produce},
};
use crate::forward::Failure;

/// Groups on their way to one broker.
pub struct ProduceRequest {
    pub broker: i32,
    /// The connection, if there is one.
    pub link: Option<Link>,
    /// By partition, in ascending order.
    pub groups: Vec<(i32, Vec<u8>)>,
}

/// What came back, and the connection if it can still be used.
pub struct BrokerResult {
    pub broker: i32,
    pub link: Option<Link>,
    pub produced: Result<Vec<PartitionResponse>, Failure>,
}

impl ProduceRequest {
    /// Delivers it to the broker, which is at `place`.
    pub async fn deliver(mut self, dialer: &Dialer, place: Option<(&str, u16)>, topic: &str) -> BrokerResult {
        let produced = self.exchange(dialer, place, topic).await;
        let link = self.link.filter(|_| produced.is_ok());
        BrokerResult { broker: self.broker, link, produced }
    }

    async fn exchange(
        &mut self,
        dialer: &Dialer,
        place: Option<(&str, u16)>,
        topic: &str,
    ) -> Result<Vec<PartitionResponse>, Failure> {
        let kept = match self.link.take() {
            Some(mut link) => link.is_fine().await.then_some(link),
            None => None,
        };
        let link = match (kept, place) {
            (Some(link), _) => link,
            (None, Some((host, port))) => dialer.dial(host, port).await?,
            (None, None) => return Err(Failure::Unreachable(format!("broker {} is gone", self.broker))),
        };
        let link = self.link.insert(link);
        let version = link.version(PRODUCE)?;
        // The broker says when its replicas are slow, before we stop to wait.
        let patience = (link.limit / 2).as_millis().try_into().unwrap_or(i32::MAX);
        let answer = link.ask(PRODUCE, version, &ask_produce(topic, patience, &self.groups)).await?;
        let produced =
            ProduceResponse::read(&answer, version).map_err(|garbled| link.garbled(PRODUCE, garbled))?;
        link.rest(produced.throttle);
        let own = produced.topics.into_iter().filter(|(name, _)| name == topic);
        let mut said: Vec<PartitionResponse> = own.flat_map(|(_, partitions)| partitions).collect();
        said.sort_by_key(|partition| partition.index);
        let asked = self.groups.iter().map(|(partition, _)| *partition);
        if !asked.eq(said.iter().map(|partition| partition.index)) {
            let why = "it did not say of each partition what became of it".to_owned();
            return Err(link.named(Failure::Unreachable(why)));
        }
        Ok(said)
    }
}
