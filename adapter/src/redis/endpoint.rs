//! Where Redis is and as whom to log in, read from a URL by rules of our own: what a driver makes of a URL differs, and
//! its errors may quote it.

use std::{fmt, net::Ipv6Addr, path::PathBuf};

use super::tls::TlsSettings;

/// One server. Neither its `Debug` nor its `Display` shows the log-in.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// What holds over TLS, if that is wanted.
    pub tls: Option<TlsSettings>,
    pub(crate) login: Option<Login>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or an IP address (IPv6 without brackets), and a port.
    Tcp {
        /// As the resolver takes it.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A password, of an ACL user or of all (`requirepass`). Has no `Debug`, as nobody is to see it.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Without one, the default user.
    pub user: Option<String>,
    /// Never shown.
    pub password: String,
    /// Holds the password, and is read for each connection: one that was changed is used from the next one. While it can't
    /// be read, `password` is.
    pub password_file: Option<PathBuf>,
}

impl Login {
    /// With a password that does not change.
    #[must_use]
    pub fn new(user: Option<&str>, password: &str) -> Self {
        Self { user: user.map(str::to_owned), password: password.to_owned(), password_file: None }
    }
}

/// Why a URL can't be used. Never repeats any of it, as it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not one of the four.
    #[error("it must begin with redis://, rediss://, unix:// or redis+unix://")]
    Scheme,
    /// `redis://`, `redis://:6379`.
    #[error("it has no host")]
    NoHost,
    /// A character that no name has, or no IPv6 address between the brackets.
    #[error("its host is neither a name, nor an IPv4 address, nor an IPv6 address in brackets")]
    Host,
    /// Also where a character of the password should have been escaped.
    #[error(
        "its port is no number from 1 to 65535; write : / ? # @ [ ] % in a password as %3A %2F %3F %23 %40 %5B %5D %25"
    )]
    Port,
    /// `redis://user@host`.
    #[error("it has a user without a password (an empty one is user:@)")]
    NoPassword,
    /// `%` without two hex digits, or no UTF-8.
    #[error("its user or password has a % that begins no escaped UTF-8 character; write % itself as %25")]
    Escape,
    /// `redis://host/name`.
    #[error("what follows the host may only be the number of a database")]
    Database,
    /// Options in the style of one driver or another.
    #[error("it takes no ? or #; write them as %3F and %23 in a password")]
    Query,
    /// `unix://`, `unix://relative`; also where a slash of the password should have been escaped.
    #[error("a Unix socket needs an absolute path, as in unix:///run/redis.sock, with @ written as %40")]
    Path,
}

impl Endpoint {
    /// Where Redis listens unless the URL says otherwise.
    pub const DEFAULT_PORT: u16 = 6379;

    /// Reads `redis://[user:password@]host[:port][/database]`, the same with `rediss://` for TLS, or
    /// `unix://[user:password@]/path` (also `redis+unix://`). User, password and path may be percent-encoded. The number
    /// of a database is taken and ignored: channels belong to none.
    ///
    /// # Errors
    /// If the URL has another form.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        Self::parse_with_port(url, Self::DEFAULT_PORT)
    }

    /// Does the URL log in?
    #[must_use]
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The same with another port where the URL names none.
    pub(crate) fn parse_with_port(url: &str, default_port: u16) -> Result<Self, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "redis" | "rediss" => {
                refuse_query(rest)?;
                let tls = (scheme == "rediss").then(TlsSettings::default);
                Self::parse_tcp(rest, tls, default_port)
            }
            "unix" | "redis+unix" => {
                refuse_query(rest)?;
                Self::parse_unix(rest)
            }
            _ => Err(EndpointError::Scheme),
        }
    }

    fn parse_tcp(rest: &str, tls: Option<TlsSettings>, default_port: u16) -> Result<Self, EndpointError> {
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host_and_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_and_port)) => (parse_login(userinfo)?, host_and_port),
            None => (None, authority),
        };
        let address = parse_host_and_port(host_and_port, default_port)?;
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err(EndpointError::Database);
        }
        Ok(Self { address, tls, login })
    }

    fn parse_unix(rest: &str) -> Result<Self, EndpointError> {
        let path_start = rest.find('/').ok_or(EndpointError::Path)?;
        let (authority, path) = rest.split_at(path_start);
        let login = match authority.strip_suffix('@') {
            Some(userinfo) => parse_login(userinfo)?,
            None if authority.is_empty() => None,
            None => return Err(EndpointError::Path),
        };
        // It may be the rest of a password with a slash, and paths are shown.
        if path.contains('@') {
            return Err(EndpointError::Path);
        }
        let path = percent_decode(path)?;
        // The system takes neither a directory nor a NUL for a socket.
        if path.ends_with('/') || path.contains('\0') {
            return Err(EndpointError::Path);
        }
        Ok(Self { address: Address::Unix(path.into()), tls: None, login })
    }
}

fn refuse_query(rest: &str) -> Result<(), EndpointError> {
    if rest.contains(['?', '#']) { Err(EndpointError::Query) } else { Ok(()) }
}

/// `user:password` or `:password`; nothing on both sides of the colon is no log-in.
fn parse_login(userinfo: &str) -> Result<Option<Login>, EndpointError> {
    if userinfo.is_empty() {
        return Ok(None);
    }
    let (user, password) = userinfo.split_once(':').ok_or(EndpointError::NoPassword)?;
    let (user, password) = (percent_decode(user)?, percent_decode(password)?);
    let user = Some(user).filter(|user| !user.is_empty());
    if user.is_none() && password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Login { user, password, password_file: None }))
}

fn parse_host_and_port(text: &str, default_port: u16) -> Result<Address, EndpointError> {
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or(EndpointError::Host)?;
        let address: Ipv6Addr = host.parse().map_err(|_| EndpointError::Host)?;
        let port = match port.strip_prefix(':') {
            None if !port.is_empty() => return Err(EndpointError::Host),
            port => port,
        };
        (address.to_string(), port)
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
            return Err(EndpointError::Host);
        }
        (host.to_owned(), port)
    };
    let port = match port {
        None => default_port,
        // `parse` takes a plus sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0).ok_or(EndpointError::Port)?
        }
        Some(_) => return Err(EndpointError::Port),
    };
    Ok(Address::Tcp { host, port })
}

fn percent_decode(text: &str) -> Result<String, EndpointError> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
            return Err(EndpointError::Escape);
        };
        decoded.push(u8::try_from(high * 16 + low).map_err(|_| EndpointError::Escape)?);
    }
    String::from_utf8(decoded).map_err(|_| EndpointError::Escape)
}

/// For the log: `host:port`, or the path.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("address", &self.address)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
