//! What is checked and fixed at the start: the server, the layout of the keyspace, its partitions.

use redis::{Cmd, InfoDict, Value};

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    keys::LAYOUT,
    link::Link,
    reply::read_value,
    scripts::{Call, META, RIGHTS},
};
use crate::store::StoreError;

/// What the scripts need: `#!lua`, KEEPTTL, exclusive stream ranges.
const OLDEST_SERVER: u32 = 7;
/// What this version writes, and the lowest version of a reader that understands it.
const SCHEMA: u32 = LAYOUT;
const LOWEST_READER: u32 = 1;
const MOST_PARTITIONS: u16 = 1024;

impl RedisStore {
    /// Refuses a server that is too old, and warns of settings that would lose what must not be lost.
    pub(super) async fn check_server(&self, link: &Link) -> Result<(), StoreError> {
        let info = info(link, "server").await?;
        // Forks answer with the version they are compatible with here.
        let version: String = info.get("redis_version").unwrap_or_default();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
        if major < OLDEST_SERVER {
            let text = format!("the server is Redis {version}; version {OLDEST_SERVER} or later is needed");
            return Err(StoreError::Incompatible(text.into()));
        }
        warn_of_loss(link).await;
        Ok(())
    }

    /// Notes or reads what the first start fixed. The number of partitions stored wins over the one configured.
    pub(super) async fn adopt_keyspace(&self, link: &Link) -> Result<(), StoreError> {
        let configured = self.keys.partitions().min(MOST_PARTITIONS);
        let facts = [
            ("schema", SCHEMA.to_string()),
            ("lowest_reader", LOWEST_READER.to_string()),
            ("partitions", configured.to_string()),
        ];
        let stored = self.fix(link, &facts).await?;
        let [_, lowest_reader, partitions] = stored.as_slice() else {
            return Err(unreadable("the meta key"));
        };
        let lowest_reader: u32 = lowest_reader.parse().map_err(unreadable_because("the lowest reader"))?;
        if lowest_reader > SCHEMA {
            let text = format!("its layout needs version {lowest_reader} of the reader; this is {SCHEMA}");
            return Err(StoreError::Incompatible(text.into()));
        }
        let partitions: u16 = partitions.parse().map_err(unreadable_because("the number of partitions"))?;
        if partitions != configured {
            tracing::warn!(configured, partitions, "the keyspace has another number of partitions; it stays");
        }
        self.keys.adopt_partitions(partitions);
        Ok(())
    }

    /// Notes facts that are not noted yet; the values in force, in their order.
    pub(super) async fn fix(&self, link: &Link, facts: &[(&str, String)]) -> Result<Vec<String>, StoreError> {
        let mut call = Call::new(&META).key(self.keys.meta());
        for (field, value) in facts {
            call = call.arg(*field).arg(value.as_str());
        }
        read_value(link.call(call).await?)
    }

    /// Tries every command on scratch keys, so that a right that is missing shows at the start and not in the middle of
    /// an act.
    pub(super) async fn check_rights(&self, link: &Link) -> Result<(), StoreError> {
        let call = Call::new(&RIGHTS).keys(self.keys.scratch()).arg("60000").arg("HSCAN");
        let refused: Vec<String> = read_value(link.call(call).await?)?;
        if refused.is_empty() {
            return Ok(());
        }
        let text = format!(
            "the user that it is connected as may not use {} on the keys of {}; docs/operations.md lists what it needs",
            refused.join(", "),
            self.options.namespace
        );
        Err(StoreError::Refused(text.into()))
    }
}

/// Warns of settings with which the server loses what must not be lost. A server that does not tell (a managed one may
/// not) is not warned about.
async fn warn_of_loss(link: &Link) {
    if let Ok(memory) = info(link, "memory").await {
        let bounded = memory.get::<u64>("maxmemory").unwrap_or(0) > 0;
        let policy: String = memory.get("maxmemory_policy").unwrap_or_default();
        if bounded && policy != "noeviction" {
            tracing::warn!(policy, "Redis may evict bans and windows: set maxmemory-policy to noeviction");
        }
    }
    if let Ok(persistence) = info(link, "persistence").await
        && persistence.get::<u8>("aof_enabled") == Some(0)
    {
        tracing::warn!("Redis keeps no append-only file: bans and events are lost when it is killed");
    }
}

async fn info(link: &Link, section: &str) -> Result<InfoDict, StoreError> {
    let mut command: Cmd = redis::cmd("INFO");
    command.arg(section);
    let text = match link.command(command).await? {
        // A cluster answers with a text per node: the first speaks for all.
        Value::Map(nodes) => nodes.into_iter().next().map(|(_, text)| text).unwrap_or(Value::Nil),
        text => text,
    };
    read_value(text)
}
