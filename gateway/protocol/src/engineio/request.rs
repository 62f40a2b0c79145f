//! What a request asks for, and the errors in their documented order (wire.md 1.3).
//!
//! [`check_request`] knows the request alone; [`check_session`] is the second half, where the session lives.

use thiserror::Error;

use super::{Query, Transport};

/// What of a request the checks depend on.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// The parsed query.
    pub query: &'a Query,
    /// The method is GET.
    pub is_get: bool,
    /// The request asks for a WebSocket.
    pub is_upgrade: bool,
    /// The `Origin` header as it came.
    pub origin: Option<&'a [u8]>,
    /// Polling is among the configured transports.
    pub polling_enabled: bool,
    /// WebSocket is among the configured transports.
    pub websocket_enabled: bool,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A handshake. Polling is possible here on an upgrade request too: the reference completes the upgrade and then
    /// closes it (wire.md 1.3).
    NewSession(Transport),
    /// A request of a session, which is yet to be looked up.
    Session {
        /// The id that the client gave.
        sid: &'a str,
        /// The transport that the request is made with.
        transport: Transport,
    },
}

/// Why a request is refused (wire.md 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Code 0: the transport is missing, unknown or not enabled.
    #[error("Transport unknown")]
    TransportUnknown,
    /// Code 1: no session has this id.
    #[error("Session ID unknown")]
    SessionUnknown,
    /// Code 2: a session begins with a GET.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// Code 3: the request does not fit its session, or itself.
    #[error("Bad request")]
    BadRequest,
    /// Code 4: refused by policy.
    #[error("Forbidden")]
    Forbidden,
    /// Code 5: the client speaks an older revision.
    #[error("Unsupported protocol version")]
    UnsupportedProtocolVersion,
}

impl RequestError {
    /// The number that clients are told.
    pub const fn code(self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::SessionUnknown => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::Forbidden => 4,
            Self::UnsupportedProtocolVersion => 5,
        }
    }

    /// The error with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::TransportUnknown,
            1 => Self::SessionUnknown,
            2 => Self::BadHandshakeMethod,
            3 => Self::BadRequest,
            4 => Self::Forbidden,
            5 => Self::UnsupportedProtocolVersion,
            _ => return None,
        })
    }

    /// The text that clients are told; alone, it is the body of a refused upgrade.
    pub const fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }

    /// The HTTP status over plain HTTP.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            _ => 400,
        }
    }

    /// The HTTP status of a refused upgrade. The reference says 400 to all of them; whoever looks into the log of a proxy
    /// is told apart by us who asked wrongly and who may not.
    pub const fn upgrade_status(self) -> u16 {
        self.http_status()
    }

    /// The body over plain HTTP, `application/json`.
    pub const fn json_body(self) -> &'static str {
        match self {
            Self::TransportUnknown => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::SessionUnknown => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedProtocolVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
        }
    }
}

/// The checks that need no session, in the order of wire.md 1.3.
///
/// # Errors
/// The first check that fails.
pub fn check_request<'a>(facts: &RequestFacts<'a>) -> Result<Target<'a>, RequestError> {
    let transport = facts.query.transport.ok_or(RequestError::TransportUnknown)?;
    let enabled = match transport {
        Transport::Polling => facts.polling_enabled,
        Transport::WebSocket => facts.websocket_enabled,
    };
    if !enabled {
        return Err(RequestError::TransportUnknown);
    }
    if !facts.origin.unwrap_or_default().iter().all(|byte| is_legal_in_header(*byte)) {
        return Err(RequestError::BadRequest);
    }
    if let Some(sid) = facts.query.sid.as_deref() {
        return Ok(Target::Session { sid, transport });
    }
    if !facts.is_get {
        return Err(RequestError::BadHandshakeMethod);
    }
    if transport == Transport::WebSocket && !facts.is_upgrade {
        return Err(RequestError::BadRequest);
    }
    if !facts.query.eio4 {
        return Err(RequestError::UnsupportedProtocolVersion);
    }
    Ok(Target::NewSession(transport))
}

/// The checks at the session's owner (wire.md 1.3, item 3). `session` is the session's transport, `None` if there is
/// no such session.
///
/// # Errors
/// The session is unknown, or the request does not fit it.
pub fn check_session(
    session: Option<Transport>,
    requested: Transport,
    is_upgrade: bool,
    eio4: bool,
) -> Result<(), RequestError> {
    let session = session.ok_or(RequestError::SessionUnknown)?;
    let fits = if is_upgrade { eio4 } else { requested == session };
    if fits { Ok(()) } else { Err(RequestError::BadRequest) }
}

/// A tab, a visible character or a space, or a byte beyond ASCII, as in Node.
const fn is_legal_in_header(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}
