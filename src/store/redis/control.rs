//! The server as a service: its clock, whether it answers, and whose keyspace it holds.

use super::{RedisStore, reply::read_value};
use crate::{
    domain::Millis,
    store::{StoreControl, StoreResult},
};

impl StoreControl for RedisStore {
    fn register_pepper<'a>(&'a self, name: &'a str, fingerprint: &'a str) -> StoreResult<'a, Option<String>> {
        Box::pin(async move {
            let facts = [(&*format!("pepper:{name}"), fingerprint.to_owned())];
            let stored = self.fix(&self.link, &facts).await?;
            Ok(stored.into_iter().next().filter(|stored| stored != fingerprint))
        })
    }

    /// On a cluster the clock of the node that has the meta key: those of others may differ from it.
    fn clock(&self) -> StoreResult<'_, Option<Millis>> {
        Box::pin(async move {
            let (seconds, micros): (Millis, Millis) =
                read_value(self.link.command_at(&self.keys.meta(), redis::cmd("TIME")).await?)?;
            Ok(Some(seconds * 1_000 + micros / 1_000))
        })
    }

    fn reach(&self) -> StoreResult<'_, ()> {
        Box::pin(self.join())
    }

    /// Asks for a key instead of PING, which on a cluster waits for every node.
    fn ping(&self) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let mut command = redis::cmd("EXISTS");
            command.arg(self.keys.meta());
            // On both connections: either may have been lost alone.
            let both =
                futures::future::try_join(self.link.command(command.clone()), self.aside.command(command));
            both.await.map(drop)
        })
    }

    /// Nothing is kept in memory.
    fn close(&self) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
