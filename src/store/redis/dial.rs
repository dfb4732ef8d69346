//! Making connections, with the socket settings that the client leaves off: no delay, keepalive, user timeout.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use super::{
    RedisOptions,
    url::{Target, address},
};

/// A live connection; cheap to clone, shared by all calls.
#[derive(Clone)]
pub(super) enum Connection {
    /// To the one server, or the master that the sentinels named.
    Single(MultiplexedConnection),
    /// To every node of a cluster.
    Cluster(ClusterConnection),
}

/// Makes connections to one target.
pub(super) struct Dialer {
    kind: Kind,
    config: AsyncConnectionConfig,
}

enum Kind {
    Single(Client),
    Sentinel(SentinelClient),
    Cluster(ClusterClient),
}

impl Dialer {
    /// A dialer to `target`; nothing is sent yet.
    pub(super) fn new(target: &Target, options: &RedisOptions) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connection_timeout))
            .set_response_timeout(Some(options.response_timeout));
        let kind = match target {
            Target::Single(info) => Kind::Single(Client::open(info.clone().set_tcp_settings(tcp()))?),
            Target::Cluster { .. } => Kind::Cluster(cluster(target, options)?),
            Target::Sentinel { .. } => Kind::Sentinel(sentinel(target)?),
        };
        Ok(Self { kind, config })
    }

    /// Makes a new connection; asks the sentinels anew where the master is.
    pub(super) async fn dial(&mut self) -> RedisResult<Connection> {
        match &mut self.kind {
            Kind::Single(client) => open(client, &self.config).await,
            Kind::Sentinel(sentinels) => open(&sentinels.async_get_client().await?, &self.config).await,
            Kind::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

async fn open(client: &Client, config: &AsyncConnectionConfig) -> RedisResult<Connection> {
    client.get_multiplexed_async_connection_with_config(config).await.map(Connection::Single)
}

fn cluster(target: &Target, options: &RedisOptions) -> RedisResult<ClusterClient> {
    let Target::Cluster { nodes, credentials, tls } = target else {
        return Err((redis::ErrorKind::InvalidClientConfig, "not a cluster").into());
    };
    let mut settings = RedisConnectionInfo::default();
    if let Some(user) = &credentials.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &credentials.password {
        settings = settings.set_password(password);
    }
    let info = |(host, port): &(String, u16)| -> RedisResult<ConnectionInfo> {
        Ok(address(host, *port, *tls).into_connection_info()?.set_redis_settings(settings.clone()))
    };
    let nodes = nodes.iter().map(info).collect::<RedisResult<Vec<_>>>()?;
    // The default waits between retries are seconds long; the caller has milliseconds.
    ClusterClient::builder(nodes)
        .retries(3)
        .min_retry_wait(10)
        .max_retry_wait(100)
        .connection_timeout(options.connection_timeout)
        .response_timeout(options.response_timeout)
        .tcp_settings(tcp())
        .build()
}

fn sentinel(target: &Target) -> RedisResult<SentinelClient> {
    let Target::Sentinel { sentinels, master, credentials, tls } = target else {
        return Err((redis::ErrorKind::InvalidClientConfig, "no sentinels").into());
    };
    let addresses = sentinels.iter().map(|(host, port)| address(host, *port, *tls));
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if *tls {
        builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
    }
    if let Some(user) = &credentials.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &credentials.password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build()
}

fn tcp() -> TcpSettings {
    const IDLE: Duration = Duration::from_secs(10);
    const PROBE: Duration = Duration::from_secs(3);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(IDLE).with_interval(PROBE));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(5));
    settings
}
