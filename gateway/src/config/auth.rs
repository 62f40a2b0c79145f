//! `[auth]`: where tokens come from, what their claims are called, and who may sign them.

use std::time::Duration;

use super::{checks, reader::Section};

const HOUR_MS: u64 = 3_600_000;

/// `[auth]`
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// The cookie that may hold a token.
    pub cookie: Option<String>,
    /// The key of the query that may hold a token.
    pub query_key: Option<String>,
    /// How far the clocks of issuers may be off.
    pub leeway: Duration,
    /// Length of a token; a longer one is refused unread.
    pub max_token_bytes: usize,
    /// What the claims are called.
    pub claims: ClaimNames,
    /// Is a token without `exp` refused?
    pub require_expiry: bool,
    /// Between a token's expiry and the end of its connection.
    pub expiry_grace: Duration,
    /// What happens to a socket whose token expired.
    pub on_expiry: OnExpiry,
    /// Who may sign tokens.
    pub issuers: Vec<IssuerSettings>,
}

/// The names of the claims that the gateway reads beside the registered ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// Who the client is.
    pub user: String,
    /// Rooms to be in from the start.
    pub rooms: String,
    /// Patterns for rooms to join.
    pub join: String,
    /// Patterns for rooms to publish to.
    pub publish: String,
}

/// `auth.on_expiry`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    /// The transport is closed: clients come back by themselves, with a fresh token where they have a function for it.
    Reconnect,
    /// The socket is disconnected: clients stay away until they are told to connect.
    Disconnect,
}

/// `[[auth.issuers]]`
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// What logs and metrics call it.
    pub name: String,
}

pub(super) fn section(section: &mut Section<'_>) -> AuthSettings {
    let optional = |text: String| Some(text).filter(|text| !text.is_empty());
    let cookie = section.text(
        "cookie",
        "Name of a cookie that may hold the token. Empty: none. Browsers send cookies by themselves, also for pages of \
         others, so keep engine.allowed_origins narrow.",
        "",
        checks::token_name,
    );
    let query_key = section.text(
        "query_key",
        "Key of the query that may hold the token, such as \"token\". Empty: none. URLs end up in logs; prefer the \
         `auth` option of socket.io-client.",
        "",
        checks::token_name,
    );
    let leeway = section.milliseconds(
        "leeway_ms",
        "How far the clocks of the issuers may be off, when a token begins and ends.",
        0..=HOUR_MS,
        30_000,
    );
    let max_token_bytes = section.count(
        "max_token_bytes",
        "Length of a token. A longer one is refused unread.",
        256..=65_536,
        8192,
    );
    let claims = claims(section);
    let require_expiry =
        section.switch("require_expiry", "Whether tokens without an expiry (`exp`) are refused.", true);
    let expiry_grace = section.milliseconds(
        "expiry_grace_ms",
        "How long a client whose token expired may take to send a fresh one before it is cut.",
        0..=HOUR_MS,
        10_000,
    );
    let on_expiry = section.choice(
        "on_expiry",
        "What happens then: \"reconnect\" closes the connection, and clients come back by themselves with a fresh token; \
         \"disconnect\" disconnects the socket, and clients stay away until their application connects again.",
        &[("reconnect", OnExpiry::Reconnect), ("disconnect", OnExpiry::Disconnect)],
        OnExpiry::Reconnect,
    );
    AuthSettings {
        cookie: optional(cookie),
        query_key: optional(query_key),
        leeway,
        max_token_bytes,
        claims,
        require_expiry,
        expiry_grace,
        on_expiry,
        issuers: Vec::new(),
    }
}

fn claims(section: &mut Section<'_>) -> ClaimNames {
    let mut name = |key, doc, default| section.text(key, doc, default, checks::claim_name);
    ClaimNames {
        user: name(
            "user_claim",
            "The claim that says who the client is. Its sockets join the room \"user:<it>\".",
            "sub",
        ),
        rooms: name(
            "rooms_claim",
            "The claim with the rooms that the client is put into when it connects.",
            "rooms",
        ),
        join: name("join_claim", "The claim with the patterns of rooms that the client may join.", "join"),
        publish: name(
            "publish_claim",
            "The claim with the patterns of rooms that it may publish to.",
            "publish",
        ),
    }
}
