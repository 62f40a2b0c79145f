//! Which servers the engine was told of.

use std::fmt;

use super::super::{
    config::StartError,
    endpoint::{Address, Endpoint, Login},
    tls::{TlsError, TlsSettings},
};

/// Where sentinels listen unless their URL says otherwise.
const SENTINEL_PORT: u16 = 26_379;

/// How Redis is set up. Of the URLs, see [`Endpoint::parse`].
#[derive(Clone, PartialEq, Eq)]
pub enum Servers {
    /// One server.
    Standalone {
        /// Where it is.
        url: String,
    },
    /// A master with replicas, watched by sentinels that say which one is the master now.
    Sentinel {
        /// The sentinels, at least one.
        urls: Vec<String>,
        /// What the sentinels call the master.
        master: String,
        /// How to log in to the sentinels, where that is not in their URLs. The master's log-in is another.
        login: Option<Login>,
        /// Is the master spoken to over TLS?
        master_tls: bool,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its servers, at least one; the others are found. TLS for all or none of them.
        urls: Vec<String>,
    },
}

/// What [`Servers`] are, read.
pub(super) enum Parsed {
    Standalone(Endpoint),
    Sentinel { sentinels: Vec<Endpoint>, master: String, access: Access },
    Cluster { seeds: Vec<Endpoint>, access: Access },
}

impl Parsed {
    /// # Errors
    /// If a server is to be spoken to over TLS, and that can't be.
    pub(super) fn check_tls(&self) -> Result<(), TlsError> {
        let (endpoints, access) = match self {
            Self::Standalone(endpoint) => (std::slice::from_ref(endpoint), None),
            Self::Sentinel { sentinels: endpoints, access, .. }
            | Self::Cluster { seeds: endpoints, access } => (endpoints.as_slice(), access.tls.as_ref()),
        };
        for endpoint in endpoints {
            if let (Some(tls), Address::Tcp { host, .. }) = (&endpoint.tls, &endpoint.address) {
                tls.server_name(host)?;
            }
        }
        let tls = access.or(endpoints.iter().find_map(|endpoint| endpoint.tls.as_ref()));
        tls.map_or(Ok(()), |tls| tls.load().map(|_| ()))
    }
}

/// How to come to a server of which only the address is told.
#[derive(Clone)]
pub(super) struct Access {
    tls: Option<TlsSettings>,
    login: Option<Login>,
}

impl Access {
    pub(super) fn to(&self, address: Address) -> Endpoint {
        Endpoint { address, tls: self.tls.clone(), login: self.login.clone() }
    }
}

impl Servers {
    /// `login` is that of the servers, where it is not in their URLs; `tls` holds wherever a URL asks for TLS.
    pub(super) fn parse(&self, login: Option<&Login>, tls: &TlsSettings) -> Result<Parsed, StartError> {
        let parse = |url: &String, login: Option<&Login>, default_port| {
            let mut endpoint = Endpoint::parse_with_port(url, default_port)?;
            endpoint.login = endpoint.login.or(login.cloned());
            endpoint.tls = endpoint.tls.map(|_| tls.clone());
            Ok::<_, StartError>(endpoint)
        };
        let parse_all = |urls: &[String], login: Option<&Login>, default_port| {
            let endpoints: Vec<_> =
                urls.iter().map(|url| parse(url, login, default_port)).collect::<Result<_, _>>()?;
            if endpoints.is_empty() {
                return Err(StartError::NoServers);
            }
            if endpoints.iter().any(|endpoint| matches!(endpoint.address, Address::Unix(_))) {
                return Err(StartError::UnixSocket);
            }
            Ok(endpoints)
        };
        match self {
            Self::Standalone { url } => Ok(Parsed::Standalone(parse(url, login, Endpoint::DEFAULT_PORT)?)),
            Self::Sentinel { urls, master, login: sentinel_login, master_tls } => {
                let sentinels = parse_all(urls, sentinel_login.as_ref(), SENTINEL_PORT)?;
                let access = Access { tls: master_tls.then(|| tls.clone()), login: login.cloned() };
                Ok(Parsed::Sentinel { sentinels, master: master.clone(), access })
            }
            Self::Cluster { urls } => {
                let seeds = parse_all(urls, login, Endpoint::DEFAULT_PORT)?;
                let access = Access { tls: seeds[0].tls.clone(), login: seeds[0].login.clone() };
                if seeds.iter().any(|seed| seed.tls != access.tls) {
                    return Err(StartError::MixedTls);
                }
                Ok(Parsed::Cluster { seeds, access })
            }
        }
    }
}

/// Without the URLs, which may hold passwords.
impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone { .. } => formatter.write_str("Standalone"),
            Self::Sentinel { urls, master, .. } => {
                write!(formatter, "Sentinel {{ sentinels: {}, master: {master:?} }}", urls.len())
            }
            Self::Cluster { urls } => write!(formatter, "Cluster {{ seeds: {} }}", urls.len()),
        }
    }
}
