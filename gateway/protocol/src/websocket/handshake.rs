//! The server's half of the opening handshake (RFC 6455 section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use thiserror::Error;

/// The fixed text that a server appends to the client's key (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is not a WebSocket upgrade that can be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpgradeError {
    /// The `Upgrade` header does not name `websocket`.
    #[error("Upgrade header does not name websocket (RFC 6455, 4.2.1)")]
    Upgrade,
    /// The `Connection` header does not name `Upgrade`.
    #[error("Connection header does not name Upgrade (RFC 6455, 4.2.1)")]
    Connection,
    /// `Sec-WebSocket-Version` is not 13. The answer is to carry `Sec-WebSocket-Version: 13`.
    #[error("Sec-WebSocket-Version is not 13 (RFC 6455, 4.2.2)")]
    Version,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455, 4.2.1)")]
    Key,
}

impl UpgradeError {
    /// The HTTP status that answers: 426 for a version that we do not speak, else 400.
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Upgrade | Self::Connection | Self::Key => 400,
        }
    }
}

/// The value of `Sec-WebSocket-Accept` for a client's key (RFC 6455 section 4.2.2, item 5.4).
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Checks the headers of an upgrade request and returns the value of `Sec-WebSocket-Accept`.
///
/// `header` looks a header up by its lower-case name; values of a repeated header are joined with `", "`. That the
/// request is a GET over HTTP/1.1 is for the caller to know.
///
/// # Errors
/// The first header that is missing or wrong.
pub fn check<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Result<String, UpgradeError> {
    if !header("upgrade").is_some_and(|value| has_token(value, "websocket")) {
        return Err(UpgradeError::Upgrade);
    }
    if !header("connection").is_some_and(|value| has_token(value, "upgrade")) {
        return Err(UpgradeError::Connection);
    }
    if header("sec-websocket-version").map(str::trim) != Some("13") {
        return Err(UpgradeError::Version);
    }
    let key =
        header("sec-websocket-key").map(str::trim).filter(|key| is_key(key)).ok_or(UpgradeError::Key)?;
    Ok(accept_key(key))
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes in base64 are 22 characters and two of padding. The unused bits of the last character may be set: some
/// clients draw random characters instead of encoding random bytes.
fn is_key(key: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix("==").is_some_and(|digits| digits.len() == 22 && digits.bytes().all(is_base64))
}
