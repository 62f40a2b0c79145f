//! A token taken apart: JWS in compact form (RFC 7515 section 3.1). Nothing of it is proven yet. Pure.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, de::IgnoredAny};

use super::{TokenError, algorithm::algorithm};

/// The parts of a token.
pub(super) struct Compact<'t> {
    /// What is signed: header and payload as they were sent.
    pub(super) message: &'t str,
    /// In base64url.
    pub(super) signature: &'t str,
    /// JSON, as it seems.
    pub(super) payload: Vec<u8>,
    /// What it claims to be signed with.
    pub(super) algorithm: Algorithm,
    /// Which key it claims to be signed with.
    pub(super) key_id: Option<String>,
}

#[derive(Deserialize)]
struct Header<'h> {
    #[serde(borrow)]
    alg: Cow<'h, str>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Unproven<'p> {
    #[serde(borrow)]
    iss: Option<Cow<'p, str>>,
}

impl<'t> Compact<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        // A JWE has five parts.
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = object(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        // What `crit` names must be understood (RFC 7515 section 4.1.11), and no extension is.
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let algorithm = algorithm(&header.alg).ok_or(TokenError::Invalid)?;
        Ok(Self { message, signature, payload: object(payload)?, algorithm, key_id: header.kid })
    }

    /// `iss`, to choose the keys by.
    pub(super) fn issuer(&self) -> Result<Option<Cow<'_, str>>, TokenError> {
        let unproven: Unproven<'_> = serde_json::from_slice(&self.payload).map_err(|error| json(&error))?;
        Ok(unproven.iss)
    }
}

/// JSON that does not fit is a matter of the claims; what is no JSON is no token.
pub(super) fn json(error: &serde_json::Error) -> TokenError {
    if error.is_data() { TokenError::Claims } else { TokenError::Malformed }
}

/// The bytes of a part, which must be a JSON object: the reader of structs would take a list as well.
fn object(part: &str) -> Result<Vec<u8>, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    if bytes.trim_ascii_start().starts_with(b"{") { Ok(bytes) } else { Err(TokenError::Malformed) }
}
