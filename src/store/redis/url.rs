//! Store URLs: which servers, of what kind, with which credentials. Messages never repeat the URL.

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::store::StoreError;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The servers that a store URL names, by the kind of their deployment.
#[derive(Clone)]
pub(super) enum Target {
    /// One server, without others to turn to.
    Single(ConnectionInfo),
    /// Some nodes of a cluster; it tells of the others.
    Cluster { nodes: Vec<(String, u16)>, credentials: Credentials, tls: bool },
    /// Sentinels, who know where the master is.
    Sentinel { sentinels: Vec<(String, u16)>, master: String, credentials: Credentials, tls: bool },
}

/// An ACL user; either may be absent.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    /// The name; none stands for the default user.
    pub user: Option<String>,
    /// The password, which no message may show.
    pub password: Option<String>,
}

impl Target {
    /// What must not show in a message.
    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::Single(info) => info.redis_settings().password(),
            Self::Cluster { credentials, .. } | Self::Sentinel { credentials, .. } => {
                credentials.password.as_deref()
            }
        }
    }
}

/// The address of a node.
pub(super) fn address(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host: host.into(), port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host.into(), port)
    }
}

/// Reads a store URL.
///
/// # Errors
/// [`StoreError::Unavailable`], which says what is wrong without repeating the URL.
pub(super) fn parse(url: &str) -> Result<Target, StoreError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
    match scheme {
        "redis" | "rediss" => url
            .into_connection_info()
            .map(Target::Single)
            .map_err(|_| bad("expected redis://[user:password@]host[:port][/database]")),
        "redis+cluster" | "rediss+cluster" => {
            let (nodes, credentials, path) = authority(rest, REDIS_PORT)?;
            if !path.is_empty() {
                return Err(bad("a cluster has no databases: nothing may follow the nodes"));
            }
            Ok(Target::Cluster { nodes, credentials, tls: scheme.starts_with("rediss") })
        }
        "redis+sentinel" | "rediss+sentinel" => {
            let (sentinels, credentials, path) = authority(rest, SENTINEL_PORT)?;
            if path.is_empty() || path.contains('/') {
                return Err(bad("the name of the master follows the sentinels: .../<master>"));
            }
            let master = decode(path)?;
            Ok(Target::Sentinel { sentinels, master, credentials, tls: scheme.starts_with("rediss") })
        }
        _ => Err(bad("its scheme is not redis, rediss, redis+cluster or redis+sentinel")),
    }
}

/// What a URL with several hosts says: the hosts with their ports, the user, and what follows the slash.
type Authority<'a> = (Vec<(String, u16)>, Credentials, &'a str);

/// Reads `[user:password@]host[:port],.../path`; `port` is that of hosts without one.
fn authority(rest: &str, port: u16) -> Result<Authority<'_>, StoreError> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((userinfo, hosts)) => (credentials(userinfo)?, hosts),
        None => (Credentials::default(), authority),
    };
    let nodes = hosts.split(',').map(|host| host_port(host, port)).collect::<Result<Vec<_>, _>>()?;
    Ok((nodes, credentials, path))
}

fn credentials(userinfo: &str) -> Result<Credentials, StoreError> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let part = |text: &str| if text.is_empty() { Ok(None) } else { decode(text).map(Some) };
    Ok(Credentials { user: part(user)?, password: part(password)? })
}

fn host_port(text: &str, default_port: u16) -> Result<(String, u16), StoreError> {
    let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((v6, rest)) => (v6, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| bad("a port is not a number up to 65535"))?,
        None => default_port,
    };
    if host.is_empty() {
        return Err(bad("a host is missing"));
    }
    Ok((host.into(), port))
}

fn decode(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| bad("a percent-encoded part is not UTF-8"))
}

fn bad(why: &str) -> StoreError {
    StoreError::Unavailable(format!("the store's URL cannot be used: {why}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_url() {
        assert!(matches!(parse("redis://localhost"), Ok(Target::Single(_))));
        assert!(matches!(parse("rediss://u:p@localhost:6380/1"), Ok(Target::Single(_))));
        let Ok(Target::Cluster { nodes, credentials, tls }) = parse("redis+cluster://u:p%40@a:1,[::1]:2,c")
        else {
            panic!("a cluster URL");
        };
        assert_eq!(nodes, [("a".into(), 1), ("::1".into(), 2), ("c".into(), REDIS_PORT)]);
        assert_eq!((credentials.user.as_deref(), credentials.password.as_deref()), (Some("u"), Some("p@")));
        assert!(!tls);
        let Ok(Target::Sentinel { sentinels, master, tls, .. }) = parse("rediss+sentinel://a,b:7/main")
        else {
            panic!("a sentinel URL");
        };
        assert_eq!(sentinels, [("a".into(), SENTINEL_PORT), ("b".into(), 7)]);
        assert_eq!((master.as_str(), tls), ("main", true));
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_them() {
        for url in [
            "secret",
            "http://u:secret@a",
            "redis://u:secret@a:x",
            "redis+cluster://u:secret@a:x",
            "redis+cluster://u:secret@",
            "redis+cluster://u:secret@a/1",
            "redis+sentinel://u:secret@a",
        ] {
            let Err(error) = parse(url) else { panic!("{url} was taken") };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
