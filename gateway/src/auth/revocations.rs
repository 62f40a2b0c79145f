//! Tokens that count no more, as this node knows them. One store for the node: the adapter's events change it, and its
//! shards ask it. Nearly always it is empty, and asking costs one load.

use std::sync::atomic::{AtomicBool, Ordering};

use broadgate_adapter::{Revocation, RevocationChange, Revocations};
use parking_lot::RwLock;

use super::Grant;

/// See the module. Bounded by [`broadgate_adapter::revocation::MAX_REVOCATIONS`].
#[derive(Debug, Default)]
pub struct RevocationStore {
    /// False: there is none.
    has_any: AtomicBool,
    /// Held for one look-up or change.
    revocations: RwLock<Revocations>,
}

impl RevocationStore {
    /// Is a token refused that gave this? `now_s`: seconds since 1970.
    pub fn is_revoked(&self, grant: &Grant, now_s: u64) -> bool {
        if !self.has_any.load(Ordering::Acquire) {
            return false;
        }
        let revocations = self.revocations.read();
        revocations.is_revoked(&grant.user, grant.token_id.as_deref(), grant.issued_at_s, now_s)
    }

    /// Takes what all nodes are told; tells whether anything is otherwise now.
    pub(crate) fn change(&self, change: &RevocationChange, now_s: u64) -> bool {
        let mut revocations = self.revocations.write();
        let is_new = revocations.change(change, now_s);
        self.has_any.store(!revocations.is_empty(), Ordering::Release);
        is_new
    }

    /// Ends exactly this one, where it is known.
    pub(crate) fn withdraw(&self, revocation: &Revocation) {
        let mut revocations = self.revocations.write();
        revocations.withdraw(revocation);
        self.has_any.store(!revocations.is_empty(), Ordering::Release);
    }

    /// How many there are; those whose time is over may still be among them.
    pub(crate) fn len(&self) -> usize {
        self.revocations.read().len()
    }

    /// How many are in force, and the first `limit` of them, by their end.
    pub(crate) fn list(&self, limit: usize, now_s: u64) -> (usize, Vec<Revocation>) {
        let mut revocations = self.revocations.write();
        revocations.expire(now_s);
        self.has_any.store(!revocations.is_empty(), Ordering::Release);
        (revocations.len(), revocations.iter().take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use broadgate_adapter::RevocationSubject;

    use super::*;

    fn grant(user: &str, token_id: Option<&str>) -> Grant {
        Grant {
            user: user.into(),
            token_id: token_id.map(Into::into),
            issued_at_s: Some(100),
            expires_at_s: None,
            rooms: Box::default(),
            join: Box::default(),
            publish: Box::default(),
        }
    }

    #[test]
    fn a_grant_is_refused_from_the_revocation_until_its_end_or_its_lifting() {
        let store = RevocationStore::default();
        let (alice, bob) = (grant("alice", Some("t1")), grant("bob", None));
        assert!(!store.is_revoked(&alice, 150));
        let subject = RevocationSubject::Token("t1".into());
        let revocation = Revocation { until_s: 200, subject: subject.clone(), issued_before_s: None };
        let revoke = RevocationChange::Revoke(revocation.clone());
        assert!(store.change(&revoke, 150));
        assert!(!store.change(&revoke, 150), "heard again");
        assert!(store.is_revoked(&alice, 150) && !store.is_revoked(&bob, 150));
        assert!(!store.is_revoked(&alice, 200));
        assert_eq!(store.list(10, 150), (1, vec![revocation.clone()]));
        store.withdraw(&revocation);
        assert!(!store.is_revoked(&alice, 150) && store.list(10, 150).0 == 0);
        assert!(store.change(&revoke, 150) && store.is_revoked(&alice, 150), "revoked again");
        assert!(store.change(&RevocationChange::Lift(subject), 160));
        assert!(!store.is_revoked(&alice, 160));
        assert_eq!(store.list(10, 160), (0, vec![]));
    }
}
