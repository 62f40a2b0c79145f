//! Tokens that count no more although they have not expired: what a revocation says, and which are in force. Pure; times
//! are seconds since 1970, as in tokens, so the nodes' clocks should agree as well as those of who issues the tokens.
//!
//! A set of revocations only grows by being added to, and an entry leaves it when its time is over or when it is lifted,
//! mostly with all of its subject. So it does not matter in which order, or how often, a node hears of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// A user or a token's id is no longer than this.
pub const MAX_SUBJECT_BYTES: usize = 512;
/// Revocations in force at most. Beyond it, those that end first make room.
pub const MAX_REVOCATIONS: usize = 100_000;

/// Whose tokens, or which.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationSubject {
    /// Every token of this user.
    User(Arc<str>),
    /// The token of this id (`jti`).
    Token(Arc<str>),
}

/// From now until then, these tokens are refused and whoever came with one is disconnected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revocation {
    /// When it ends: not before the last of the tokens has expired.
    pub until_s: u64,
    /// See the type.
    pub subject: RevocationSubject,
    /// Only tokens that were issued before this time, or do not say when. `None`: all of them.
    pub issued_before_s: Option<u64>,
}

/// What is told to all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationChange {
    /// This is in force from now on.
    Revoke(Revocation),
    /// Nothing about this subject is in force any more.
    Lift(RevocationSubject),
}

/// When tokens of one subject are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    issued_before_s: Option<u64>,
    until_s: u64,
}

impl Rule {
    fn covers(self, other: Self) -> bool {
        let covers_issue = match (self.issued_before_s, other.issued_before_s) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own >= others,
        };
        covers_issue && self.until_s >= other.until_s
    }

    fn meets(self, issued_at_s: Option<u64>, now_s: u64) -> bool {
        let was_issued_before = match (self.issued_before_s, issued_at_s) {
            (None, _) | (_, None) => true,
            (Some(before_s), Some(at_s)) => at_s < before_s,
        };
        now_s < self.until_s && was_issued_before
    }
}

/// The revocations in force, at most so many.
#[derive(Debug)]
pub struct Revocations {
    max: usize,
    users: HashMap<Arc<str>, Vec<Rule>>,
    tokens: HashMap<Arc<str>, Vec<Rule>>,
    /// All of them, those that end first in front.
    by_end: BTreeSet<Revocation>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new(MAX_REVOCATIONS)
    }
}

impl Revocations {
    /// None, and never more than `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), users: HashMap::new(), tokens: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// Adds one; tells whether it refuses anything that was not refused before.
    pub fn add(&mut self, revocation: &Revocation, now_s: u64) -> bool {
        self.expire(now_s);
        let rule = Rule { issued_before_s: revocation.issued_before_s, until_s: revocation.until_s };
        let rules = self.rules_mut(&revocation.subject).entry(subject_name(&revocation.subject).clone());
        let rules = rules.or_default();
        if now_s >= rule.until_s || rules.iter().any(|known| known.covers(rule)) {
            if rules.is_empty() {
                self.forget_rules(&revocation.subject);
            }
            return false;
        }
        let covered: Vec<Rule> = rules.iter().copied().filter(|known| rule.covers(*known)).collect();
        rules.retain(|known| !rule.covers(*known));
        rules.push(rule);
        for Rule { issued_before_s, until_s } in covered {
            self.by_end.remove(&Revocation { until_s, subject: revocation.subject.clone(), issued_before_s });
        }
        self.by_end.insert(revocation.clone());
        while self.by_end.len() > self.max {
            self.remove_first();
        }
        true
    }

    /// Ends all that is in force about a subject; tells whether there was anything.
    pub fn lift(&mut self, subject: &RevocationSubject) -> bool {
        let Some(rules) = self.rules_mut(subject).remove(subject_name(subject)) else { return false };
        for Rule { issued_before_s, until_s } in rules {
            self.by_end.remove(&Revocation { until_s, subject: subject.clone(), issued_before_s });
        }
        true
    }

    /// Ends exactly this one; tells whether it was in force. Others of its subject stay; what it covered is forgotten.
    pub fn withdraw(&mut self, revocation: &Revocation) -> bool {
        let was_in_force = self.by_end.remove(revocation);
        if was_in_force {
            self.forget_rule(revocation);
        }
        was_in_force
    }

    /// Carries out what all nodes are told; tells whether anything is otherwise now.
    pub fn change(&mut self, change: &RevocationChange, now_s: u64) -> bool {
        match change {
            RevocationChange::Revoke(revocation) => self.add(revocation, now_s),
            RevocationChange::Lift(subject) => self.lift(subject),
        }
    }

    /// Is a token of this user and with this id refused?
    #[must_use]
    pub fn is_revoked(
        &self,
        user: &str,
        token_id: Option<&str>,
        issued_at_s: Option<u64>,
        now_s: u64,
    ) -> bool {
        let of_token = token_id.and_then(|id| self.tokens.get(id));
        let mut rules = self.users.get(user).into_iter().chain(of_token).flatten();
        rules.any(|rule| rule.meets(issued_at_s, now_s))
    }

    /// Forgets those whose time is over.
    pub fn expire(&mut self, now_s: u64) {
        while self.by_end.first().is_some_and(|first| first.until_s <= now_s) {
            self.remove_first();
        }
    }

    /// All of them, those that end first in front.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.by_end.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_end.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    fn remove_first(&mut self) {
        if let Some(first) = self.by_end.pop_first() {
            self.forget_rule(&first);
        }
    }

    fn forget_rule(&mut self, Revocation { until_s, subject, issued_before_s }: &Revocation) {
        let forgotten = Rule { issued_before_s: *issued_before_s, until_s: *until_s };
        if let Some(rules) = self.rules_mut(subject).get_mut(subject_name(subject)) {
            rules.retain(|rule| *rule != forgotten);
            if rules.is_empty() {
                self.forget_rules(subject);
            }
        }
    }

    fn forget_rules(&mut self, subject: &RevocationSubject) {
        self.rules_mut(subject).remove(subject_name(subject));
    }

    fn rules_mut(&mut self, subject: &RevocationSubject) -> &mut HashMap<Arc<str>, Vec<Rule>> {
        match subject {
            RevocationSubject::User(_) => &mut self.users,
            RevocationSubject::Token(_) => &mut self.tokens,
        }
    }
}

fn subject_name(subject: &RevocationSubject) -> &Arc<str> {
    match subject {
        RevocationSubject::User(name) | RevocationSubject::Token(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> RevocationSubject {
        RevocationSubject::User(name.into())
    }

    fn revoke(subject: RevocationSubject, issued_before_s: Option<u64>, until_s: u64) -> Revocation {
        Revocation { until_s, subject, issued_before_s }
    }

    #[test]
    fn what_a_revocation_meets() {
        let all = [
            revoke(user("locked"), None, 1_000),
            revoke(user("logged out"), Some(500), 1_000),
            revoke(RevocationSubject::Token("t1".into()), None, 1_000),
        ];
        let mut revocations = Revocations::default();
        assert!(all.iter().all(|one| revocations.add(one, 100)));
        for (name, token_id, issued_at_s, now_s, expected) in [
            ("locked", None, Some(999), 100, true),
            ("locked", None, None, 999, true),
            ("locked", None, None, 1_000, false),
            ("logged out", Some("t9"), Some(499), 100, true),
            ("logged out", None, Some(500), 100, false),
            ("logged out", None, None, 100, true),
            ("somebody", Some("t1"), Some(999), 100, true),
            ("somebody", Some("t2"), Some(1), 100, false),
            ("t1", Some("locked"), None, 100, false),
        ] {
            assert_eq!(
                revocations.is_revoked(name, token_id, issued_at_s, now_s),
                expected,
                "{name} {token_id:?} {issued_at_s:?} {now_s}"
            );
        }
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let all = [
            revoke(user("a"), Some(500), 1_000),
            revoke(user("a"), None, 600),
            revoke(user("a"), Some(400), 900),
            revoke(user("a"), Some(500), 1_000),
        ];
        let probes = || {
            [Some(0), Some(450), Some(500), None]
                .into_iter()
                .flat_map(|issued| [100, 599, 600, 899, 900, 999, 1_000].map(|now_s| (issued, now_s)))
        };
        let verdicts = |order: &[usize]| {
            let mut revocations = Revocations::default();
            for &place in order {
                revocations.add(&all[place], 100);
            }
            assert_eq!(revocations.len(), 2, "what another covers is not kept: {order:?}");
            probes()
                .map(|(issued, now_s)| revocations.is_revoked("a", None, issued, now_s))
                .collect::<Vec<_>>()
        };
        let expected = verdicts(&[0, 1, 2, 3]);
        for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
            assert_eq!(verdicts(&order), expected);
        }
    }

    #[test]
    fn only_what_is_new_is_told_as_such() {
        let mut revocations = Revocations::default();
        assert!(revocations.add(&revoke(user("a"), Some(500), 1_000), 100));
        assert!(!revocations.add(&revoke(user("a"), Some(500), 1_000), 100));
        assert!(!revocations.add(&revoke(user("a"), Some(300), 800), 100));
        assert!(revocations.add(&revoke(user("a"), None, 1_000), 100));
        assert!(!revocations.add(&revoke(user("late"), None, 100), 100), "it is over");
        assert_eq!((revocations.len(), revocations.users.len()), (1, 1));
        assert!(revocations.lift(&user("a")) && !revocations.lift(&user("a")));
        assert!(revocations.is_empty() && revocations.users.is_empty());
    }

    #[test]
    fn one_is_withdrawn_and_others_of_its_subject_stay() {
        let (long, new) = (revoke(user("a"), Some(500), 1_000), revoke(user("a"), None, 600));
        let mut revocations = Revocations::default();
        for one in [&long, &new] {
            revocations.add(one, 100);
        }
        for (one, was_in_force) in [
            (revoke(user("b"), None, 600), false),
            (revoke(user("a"), Some(500), 999), false),
            (new.clone(), true),
            (new.clone(), false),
        ] {
            assert_eq!(revocations.withdraw(&one), was_in_force, "{one:?}");
            assert!(revocations.is_revoked("a", None, Some(499), 100));
        }
        assert!(!revocations.is_revoked("a", None, Some(500), 100));
        assert!(revocations.withdraw(&long));
        assert!(revocations.is_empty() && revocations.users.is_empty());
    }

    #[test]
    fn those_whose_time_is_over_are_forgotten() {
        let mut revocations = Revocations::default();
        for until_s in 200..300 {
            revocations.add(&revoke(user(&until_s.to_string()), None, until_s), 100);
        }
        revocations.expire(250);
        assert_eq!((revocations.len(), revocations.users.len()), (49, 49));
        revocations.add(&revoke(user("new"), None, 900), 400);
        assert_eq!((revocations.len(), revocations.users.len()), (1, 1));
    }

    #[test]
    fn those_that_end_first_make_room() {
        let mut revocations = Revocations::new(3);
        for until_s in [500, 300, 400, 600, 200] {
            revocations.add(&revoke(user(&until_s.to_string()), None, until_s), 100);
        }
        let ends: Vec<u64> = revocations.iter().map(|one| one.until_s).collect();
        assert_eq!(ends, [400, 500, 600]);
        assert!(!revocations.is_revoked("300", None, None, 100));
        assert_eq!(revocations.users.len(), 3);
    }
}
