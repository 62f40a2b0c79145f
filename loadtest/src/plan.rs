//! What is tested, checked before anything is opened.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections per source address. Linux has 28,232 ephemeral ports for each, but looks for a free one port by port:
/// with many in use (or in TIME_WAIT from an earlier round) the search takes longer than all the rest.
const CONNECTIONS_PER_SOURCE: usize = 1000;
/// Descriptors that are not connections.
const SPARE_FILES: u64 = 64;

/// Where the clients connect to, from a URL `ws://host:port/path/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// For the `Host` header.
    pub(crate) host: String,
    /// With slashes on both ends; `/socket.io/` unless given.
    pub(crate) path: String,
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://")) else {
            bail!("expected ws://host:port, got {url:?} (TLS is not supported)");
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let path = if path == "/" { "/socket.io/" } else { path };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
        let address = resolve(&authority)?;
        let slash = if path.ends_with('/') { "" } else { "/" };
        Ok(Self { address, host: host.to_owned(), path: format!("{path}{slash}") })
    }
}

impl Endpoint {
    /// A server of our own.
    pub(crate) fn local(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { address, host: address.to_string(), path: "/socket.io/".to_owned() }
    }
}

/// The first address of `host:port`.
pub(crate) fn resolve(authority: &str) -> anyhow::Result<SocketAddr> {
    authority
        .to_socket_addrs()
        .with_context(|| format!("expected host:port, got {authority:?}"))?
        .next()
        .with_context(|| format!("{authority} has no address"))
}

/// The address that connection number `index` comes from, or `None` to leave it to the system. Loopback has as many
/// as one wants.
pub(crate) fn source_address(target: IpAddr, index: usize) -> Option<SocketAddr> {
    let IpAddr::V4(target) = target else { return None };
    if !target.is_loopback() {
        return None;
    }
    let block = u8::try_from(index / CONNECTIONS_PER_SOURCE).ok()?.checked_add(1)?;
    Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, block), 0)))
}

/// Raises the soft limit of open files to the hard one, and says so if that is too low.
///
/// # Errors
/// `connections` would not fit.
pub(crate) fn check_open_files(connections: usize) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .context("cannot raise the limit of open files")?;
    }
    let needed = connections as u64 + SPARE_FILES;
    match limit.maximum {
        Some(maximum) if needed > maximum => {
            bail!("{connections} connections need {needed} open files, the limit is {maximum} (ulimit -Hn)")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, expected) in [
            ("ws://127.0.0.1:8080", Some(("127.0.0.1:8080", "127.0.0.1:8080", "/socket.io/"))),
            ("ws://127.0.0.1:8080/", Some(("127.0.0.1:8080", "127.0.0.1:8080", "/socket.io/"))),
            ("http://127.0.0.1/chat", Some(("127.0.0.1:80", "127.0.0.1", "/chat/"))),
            ("ws://[::1]:9/a/b/", Some(("[::1]:9", "[::1]:9", "/a/b/"))),
            ("wss://127.0.0.1:8080", None),
            ("127.0.0.1:8080", None),
            ("ws://", None),
        ] {
            let endpoint = url.parse::<Endpoint>().ok();
            let parts = endpoint.map(|it| (it.address.to_string(), it.host, it.path));
            let expected = expected.map(|(a, h, p)| (a.to_owned(), h.to_owned(), p.to_owned()));
            assert_eq!(parts, expected, "{url}");
        }
    }

    #[test]
    fn many_connections_come_from_several_loopback_addresses() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(source_address(loopback, 0), Some(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(
            source_address(loopback, CONNECTIONS_PER_SOURCE),
            Some(SocketAddr::from(([127, 0, 0, 2], 0)))
        );
        assert_eq!(source_address(loopback, CONNECTIONS_PER_SOURCE * 300), None);
        assert_eq!(source_address(IpAddr::from([192, 0, 2, 1]), 0), None);
    }

    #[test]
    fn too_many_connections_for_the_system_are_refused() {
        assert!(check_open_files(1).is_ok());
        if getrlimit(Resource::Nofile).maximum.is_some() {
            assert!(check_open_files(usize::MAX / 2).is_err());
        }
    }
}
