//! What a token says (RFC 7519 section 4.1), once its signature is known to be right: types, bounds, times, audience.
//! Pure.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{Grant, Pattern, TokenError, compact::json};
use crate::config::ClaimNames;

/// Length of `jti`.
const MAX_TOKEN_ID_BYTES: usize = 256;
/// Patterns in one claim.
const MAX_PATTERNS: usize = 64;
/// Entries of `aud`.
const MAX_AUDIENCES: usize = 64;

/// What claims must be like.
#[derive(Debug, Clone)]
pub(super) struct ClaimRules {
    pub(super) names: ClaimNames,
    pub(super) leeway_s: u64,
    pub(super) require_expiry: bool,
    pub(super) max_user_bytes: usize,
    pub(super) max_rooms: usize,
    pub(super) max_room_bytes: usize,
}

/// Why a token gives nothing, and which claim is at fault, where one alone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal<'c> {
    pub(super) error: TokenError,
    pub(super) claim: Option<&'c str>,
}

impl<'c> Refusal<'c> {
    fn claim(claim: &'c str) -> Self {
        Self { error: TokenError::Claims, claim: Some(claim) }
    }
}

impl From<TokenError> for Refusal<'_> {
    fn from(error: TokenError) -> Self {
        Self { error, claim: None }
    }
}

/// The values of the claims that matter, each there once at most.
#[derive(Default)]
struct Claims {
    audience: Option<Value>,
    expires_at: Option<Value>,
    not_before: Option<Value>,
    issued_at: Option<Value>,
    token_id: Option<Value>,
    user: Option<Value>,
    rooms: Option<Value>,
    join: Option<Value>,
    publish: Option<Value>,
}

impl ClaimRules {
    /// What the payload of a proven token gives at `now_s`. `audiences` are the names that this gateway goes by.
    pub(super) fn grant(
        &self,
        payload: &[u8],
        audiences: &[Box<str>],
        now_s: u64,
    ) -> Result<Grant, TokenError> {
        self.try_grant(payload, audiences, now_s).map_err(|refusal| refusal.error)
    }

    /// The same, with the claim that is at fault where it is one.
    pub(super) fn try_grant(
        &self,
        payload: &[u8],
        audiences: &[Box<str>],
        now_s: u64,
    ) -> Result<Grant, Refusal<'_>> {
        let claims = self.read(payload)?;
        let names = &self.names;
        let expires_at_s = claims.expires_at.as_ref().map(|value| date("exp", value)).transpose()?;
        let not_before_s = claims.not_before.as_ref().map(|value| date("nbf", value)).transpose()?;
        let issued_at_s = claims.issued_at.as_ref().map(|value| date("iat", value)).transpose()?;
        let token_id = claims.token_id.map(|id| text("jti", id, MAX_TOKEN_ID_BYTES)).transpose()?;
        let user = claims.user.ok_or(Refusal::claim(&names.user))?;
        let user = text(&names.user, user, self.max_user_bytes)?;
        let rooms = texts(&names.rooms, claims.rooms, self.max_rooms, self.max_room_bytes)?;
        let join = patterns(&names.join, claims.join)?;
        let publish = patterns(&names.publish, claims.publish)?;
        if expires_at_s.is_none() && self.require_expiry {
            return Err(Refusal::claim("exp"));
        }

        let meant_for = texts("aud", claims.audience, MAX_AUDIENCES, usize::MAX)?;
        // Who is not among those that a token names must refuse it; and one who goes by a name takes no token without.
        let open = meant_for.is_empty() && audiences.is_empty();
        if !open && !meant_for.iter().any(|audience| audiences.contains(audience)) {
            return Err(TokenError::Audience.into());
        }
        if not_before_s.is_some_and(|begin_s| now_s.saturating_add(self.leeway_s) < begin_s) {
            return Err(TokenError::NotYetValid.into());
        }
        if expires_at_s.is_some_and(|end_s| now_s >= end_s.saturating_add(self.leeway_s)) {
            return Err(TokenError::Expired.into());
        }
        Ok(Grant { user, token_id, issued_at_s, expires_at_s, rooms, join, publish })
    }

    fn read(&self, payload: &[u8]) -> Result<Claims, TokenError> {
        let mut reader = serde_json::Deserializer::from_slice(payload);
        let claims = ClaimsSeed(&self.names).deserialize(&mut reader).map_err(|error| json(&error))?;
        reader.end().map_err(|_| TokenError::Malformed)?;
        Ok(claims)
    }
}

struct ClaimsSeed<'n>(&'n ClaimNames);

impl<'de> DeserializeSeed<'de> for ClaimsSeed<'_> {
    type Value = Claims;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Claims, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ClaimsSeed<'_> {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let names = self.0;
        let mut claims = Claims::default();
        let mut seen = [false; 9];
        while let Some(name) = map.next_key::<String>()? {
            let (index, slot) = match &*name {
                "aud" => (0, &mut claims.audience),
                "exp" => (1, &mut claims.expires_at),
                "nbf" => (2, &mut claims.not_before),
                "iat" => (3, &mut claims.issued_at),
                "jti" => (4, &mut claims.token_id),
                name if name == names.user => (5, &mut claims.user),
                name if name == names.rooms => (6, &mut claims.rooms),
                name if name == names.join => (7, &mut claims.join),
                name if name == names.publish => (8, &mut claims.publish),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // RFC 7519 section 4: either the last counts or all are refused. Readers that differ are a way in.
            if std::mem::replace(&mut seen[index], true) {
                return Err(A::Error::custom("a claim is there twice"));
            }
            // `null` is how some libraries write that a claim is not there.
            *slot = map.next_value::<Option<Value>>()?;
        }
        Ok(claims)
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519 section 2, NumericDate).
fn date<'c>(claim: &'c str, value: &Value) -> Result<u64, Refusal<'c>> {
    let whole = value.as_u64();
    // The cast ends at the largest number, which is late enough.
    let fraction = || value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    whole.or_else(fraction).ok_or(Refusal::claim(claim))
}

fn text(claim: &str, value: Value, max_bytes: usize) -> Result<Box<str>, Refusal<'_>> {
    match value {
        Value::String(text) if !text.is_empty() && text.len() <= max_bytes => Ok(text.into()),
        _ => Err(Refusal::claim(claim)),
    }
}

/// A list of texts, or one text alone.
fn texts(
    claim: &str,
    value: Option<Value>,
    max_items: usize,
    max_bytes: usize,
) -> Result<Box<[Box<str>]>, Refusal<'_>> {
    match value {
        None => Ok(Box::default()),
        Some(Value::Array(items)) if items.len() <= max_items => {
            items.into_iter().map(|item| text(claim, item, max_bytes)).collect()
        }
        Some(item @ Value::String(_)) => Ok([text(claim, item, max_bytes)?].into()),
        Some(_) => Err(Refusal::claim(claim)),
    }
}

fn patterns(claim: &str, value: Option<Value>) -> Result<Box<[Pattern]>, Refusal<'_>> {
    let texts = texts(claim, value, MAX_PATTERNS, usize::MAX)?;
    texts.iter().map(|text| Pattern::parse(text).map_err(|_| Refusal::claim(claim))).collect()
}
