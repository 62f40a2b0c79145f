//! Who a client is, and what waits until that is known. Only clients that bring a token have one, boxed: an anonymous
//! client costs a pointer. Owned by the [`Client`]; pure.

use std::{rc::Rc, sync::Arc};

use smallvec::SmallVec;

use super::client::{Client, NamespaceId};
use crate::{
    auth::{Grant, UserPlace},
    config::{AuthSettings, OnExpiry},
};

/// What the hub has to know of `[auth]`.
#[derive(Debug, Clone, Copy)]
pub struct TokenRules {
    /// Does anybody sign tokens? If not, none is looked at.
    pub is_on: bool,
    /// Length of a token.
    pub max_token_bytes: usize,
    /// From a token's expiry to the end. Not shorter than the leeway: until then the token would be taken again.
    pub expiry_grace_ms: u64,
    /// What the end is.
    pub on_expiry: OnExpiry,
}

impl From<&AuthSettings> for TokenRules {
    fn from(settings: &AuthSettings) -> Self {
        let grace = settings.expiry_grace.max(settings.leeway);
        Self {
            is_on: !settings.issuers.is_empty(),
            max_token_bytes: settings.max_token_bytes,
            expiry_grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX / 4),
            on_expiry: settings.on_expiry,
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Identity {
    /// The token of the session's first request, for CONNECTs that bring none.
    pub(super) handshake: Option<Credential>,
    /// What waits; at most one for each namespace.
    pub(super) pending: Vec<Pending>,
    /// What the sockets' tokens allow.
    pub(super) grants: SmallVec<[SocketGrant; 1]>,
    /// When the session ends unless a namespace was joined.
    pub(super) connect_deadline_ms: Option<u64>,
}

/// A token, or what it gave when it was looked at.
pub(super) enum Credential {
    Token(Box<str>),
    Granted(Rc<Grant>),
}

impl Credential {
    /// What counts as bytes of a message that is not complete.
    pub(super) fn waiting_bytes(&self) -> usize {
        match self {
            Self::Token(token) => token.len(),
            Self::Granted(_) => 0,
        }
    }
}

/// The token of a socket.
pub(super) struct SocketGrant {
    pub(super) namespace: NamespaceId,
    pub(super) grant: Rc<Grant>,
    /// Was the client told that it has expired?
    pub(super) is_warned: bool,
    /// Shared by the session's sockets of the same user.
    pub(super) place: Option<Rc<UserPlace>>,
}

/// A CONNECT or a fresh token on its way.
pub(super) struct Pending {
    pub(super) namespace: NamespaceId,
    /// Tells it from an earlier one.
    pub(super) number: u32,
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    pub(super) deadline_ms: u64,
}

/// What a token is for.
pub(super) enum Purpose {
    Connect,
    /// `emit("auth", token, ack)`
    Refresh {
        ack_id: Option<Box<str>>,
    },
}

/// What it waits for.
pub(super) enum Stage {
    /// The keys of the token's issuer. Without a token it is that of the handshake.
    Keys { token: Option<Box<str>> },
    /// A place among its user's connections.
    Place { grant: Rc<Grant> },
    /// The subscriptions of these rooms, which are held in the directory.
    Rooms { grant: Rc<Grant>, rooms: Box<[Arc<str>]>, place: Option<Rc<UserPlace>> },
}

impl Pending {
    /// What counts as bytes of a message that is not complete.
    pub(super) fn waiting_bytes(&self) -> usize {
        match &self.stage {
            Stage::Keys { token: Some(token) } => token.len(),
            Stage::Keys { token: None } | Stage::Place { .. } | Stage::Rooms { .. } => 0,
        }
    }

    /// Does it wait for a place of this user?
    pub(super) fn is_for_place(&self, user: &str) -> bool {
        matches!(&self.stage, Stage::Place { grant } if *grant.user == *user)
    }
}

impl Identity {
    pub(super) fn grant(&self, namespace: NamespaceId) -> Option<&Rc<Grant>> {
        self.grants.iter().find(|one| one.namespace == namespace).map(|one| &one.grant)
    }

    pub(super) fn is_pending(&self, namespace: NamespaceId) -> bool {
        self.pending.iter().any(|pending| pending.namespace == namespace)
    }

    /// Takes one out; nearly always the only one, so nothing is kept for the next.
    pub(super) fn take_pending(&mut self, matches: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let place = self.pending.iter().position(matches)?;
        let pending = self.pending.swap_remove(place);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        Some(pending)
    }

    /// When something is to be done about it. `ahead_ms`: how far the wall clock, in milliseconds since 1970, is ahead of
    /// the shard's; a grant has its times from the former.
    pub(super) fn next_deadline_ms(&self, rules: &TokenRules, ahead_ms: u64) -> Option<u64> {
        let waits = self.pending.iter().map(|pending| pending.deadline_ms);
        let expiries = self.grants.iter().filter_map(|one| {
            let expiry_ms = one.next_step_ms(rules.expiry_grace_ms)?;
            Some(expiry_ms.saturating_sub(ahead_ms))
        });
        self.connect_deadline_ms.into_iter().chain(waits).chain(expiries).min()
    }
}

impl SocketGrant {
    /// In milliseconds since 1970.
    pub(super) fn expires_at_ms(&self) -> Option<u64> {
        self.grant.expires_at_s.map(|expires_at_s| expires_at_s.saturating_mul(1000))
    }

    /// When its client is to be told, or, where it was, cut; in milliseconds since 1970.
    fn next_step_ms(&self, grace_ms: u64) -> Option<u64> {
        let expires_at_ms = self.expires_at_ms()?;
        Some(if self.is_warned { expires_at_ms.saturating_add(grace_ms) } else { expires_at_ms })
    }
}

impl Client {
    /// What the token of a socket allows; `None` for an anonymous one.
    pub(super) fn grant(&self, namespace: NamespaceId) -> Option<&Grant> {
        self.identity.as_ref()?.grant(namespace).map(|grant| &**grant)
    }

    /// CONNECTs and fresh tokens that wait.
    pub(super) fn pending(&self) -> &[Pending] {
        self.identity.as_ref().map_or(&[], |identity| &identity.pending)
    }

    pub(super) fn is_pending(&self, namespace: NamespaceId) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.is_pending(namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: TokenRules = TokenRules {
        is_on: true,
        max_token_bytes: 100,
        expiry_grace_ms: 10_000,
        on_expiry: OnExpiry::Reconnect,
    };
    /// The shard's clock began a million seconds after 1970.
    const AHEAD_MS: u64 = 1_000_000_000;

    fn expiring(namespace: u16, expires_at_s: Option<u64>, is_warned: bool) -> SocketGrant {
        let grant = Grant {
            user: "ada".into(),
            token_id: None,
            issued_at_s: None,
            expires_at_s,
            rooms: Box::default(),
            join: Box::default(),
            publish: Box::default(),
        };
        SocketGrant { namespace: NamespaceId(namespace), grant: Rc::new(grant), is_warned, place: None }
    }

    #[test]
    fn the_earliest_of_all_deadlines_counts() {
        let waiting = |deadline_ms| Pending {
            namespace: NamespaceId(9),
            number: 0,
            purpose: Purpose::Connect,
            stage: Stage::Keys { token: None },
            deadline_ms,
        };
        type Case = (Option<u64>, Option<u64>, &'static [(Option<u64>, bool)], Option<u64>);
        let table: [Case; 8] = [
            (None, None, &[], None),
            (Some(7), None, &[], Some(7)),
            (Some(7), Some(5), &[], Some(5)),
            (None, None, &[(None, false)], None),
            (None, None, &[(Some(1_000_060), false)], Some(60_000)),
            (None, None, &[(Some(1_000_060), true)], Some(70_000)),
            (Some(90_000), None, &[(Some(1_000_080), false), (Some(1_000_060), false)], Some(60_000)),
            (None, None, &[(Some(5), true)], Some(0)),
        ];
        for (connect_deadline_ms, wait_ms, expiries, expected) in table {
            let grants = (0..)
                .zip(expiries)
                .map(|(namespace, &(at_s, is_warned))| expiring(namespace, at_s, is_warned));
            let identity = Identity {
                pending: wait_ms.map(waiting).into_iter().collect(),
                grants: grants.collect(),
                connect_deadline_ms,
                ..Identity::default()
            };
            assert_eq!(identity.next_deadline_ms(&RULES, AHEAD_MS), expected, "{expiries:?}");
        }
    }

    #[test]
    fn a_token_that_never_expires_or_at_the_end_of_time_does_no_harm() {
        let identity = Identity { grants: [expiring(0, Some(u64::MAX), true)].into(), ..Identity::default() };
        assert!(identity.next_deadline_ms(&RULES, AHEAD_MS).is_some_and(|at_ms| at_ms > AHEAD_MS));
    }

    /// Besides the grant itself.
    #[test]
    fn the_identity_of_a_client_with_one_socket_is_one_small_allocation() {
        assert!(size_of::<Identity>() <= 96, "{}", size_of::<Identity>());
    }
}
