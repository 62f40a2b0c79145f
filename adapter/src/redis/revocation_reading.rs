//! One reading of the revocations that Redis keeps, while changes of them go on arriving: which of what is read still
//! holds. Pure.
//!
//! First those that were lifted are read, then those in force, so that none of the latter is covered by one that the node
//! should have forgotten. What is told on the channel meanwhile is newer than what is read: that is what is remembered here.

use std::collections::HashSet;

use crate::revocation::{Revocation, RevocationChange, RevocationSubject};

/// Changes that may be told during one reading; beyond it the reading is begun again.
const MAX_TOLD_MEANWHILE: usize = 4096;

/// In which of the two sets something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Lifted,
    InForce,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reading {
    max: usize,
    revoked: HashSet<Revocation>,
    lifted: HashSet<RevocationSubject>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { max: MAX_TOLD_MEANWHILE, revoked: HashSet::new(), lifted: HashSet::new() }
    }
}

impl Reading {
    /// This arrived on the channel.
    pub(super) fn told(&mut self, change: &RevocationChange) {
        if self.is_overrun() {
            return;
        }
        match change {
            RevocationChange::Revoke(revocation) => {
                self.revoked.insert(revocation.clone());
            }
            RevocationChange::Lift(subject) => {
                self.revoked.retain(|revocation| revocation.subject != *subject);
                self.lifted.insert(subject.clone());
            }
        }
    }

    /// More was told than is remembered, so nothing is known of what is read.
    pub(super) fn is_overrun(&self) -> bool {
        self.revoked.len() + self.lifted.len() > self.max
    }

    /// Does this hold, which was read in that set?
    pub(super) fn holds(&self, kept: Kept, revocation: &Revocation) -> bool {
        match kept {
            Kept::Lifted => !self.revoked.contains(revocation),
            // Where the subject was revoked again, that was told as well.
            Kept::InForce => !self.lifted.contains(&revocation.subject),
        }
    }

    /// What was told to be in force since the beginning. It is to be told again after those that were lifted, as one of them
    /// may have covered it.
    pub(super) fn revoked(&self) -> impl Iterator<Item = &Revocation> {
        self.revoked.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::Revocations;

    #[derive(Debug, Clone)]
    enum Step {
        Told(RevocationChange),
        Read(Kept, Revocation),
        /// The last of those that were lifted.
        LiftedAreRead,
    }
    use Step::{LiftedAreRead, Read, Told};

    fn revocation(user: &str, until_s: u64) -> Revocation {
        Revocation { until_s, subject: RevocationSubject::User(user.into()), issued_before_s: None }
    }

    fn revoke(user: &str, until_s: u64) -> Step {
        Told(RevocationChange::Revoke(revocation(user, until_s)))
    }

    fn lift(user: &str) -> Step {
        Told(RevocationChange::Lift(RevocationSubject::User(user.into())))
    }

    fn lifted(user: &str, until_s: u64) -> Step {
        Read(Kept::Lifted, revocation(user, until_s))
    }

    fn in_force(user: &str, until_s: u64) -> Step {
        Read(Kept::InForce, revocation(user, until_s))
    }

    /// What a node knows that is told as the keeper tells it.
    fn known_after(before: &[Revocation], steps: &[Step]) -> Vec<Revocation> {
        let (mut known, mut reading) = (Revocations::default(), Reading::default());
        for revocation in before {
            known.add(revocation, 1);
        }
        for step in steps {
            match step {
                Told(change) => {
                    reading.told(change);
                    known.change(change, 1);
                }
                Read(kept, revocation) if !reading.holds(*kept, revocation) => {}
                Read(Kept::Lifted, revocation) => {
                    known.withdraw(revocation);
                }
                Read(Kept::InForce, revocation) => {
                    known.add(revocation, 1);
                }
                LiftedAreRead => {
                    for revocation in reading.revoked() {
                        known.add(revocation, 1);
                    }
                }
            }
        }
        known.iter().cloned().collect()
    }

    #[test]
    fn what_is_read_and_what_is_told_meanwhile() {
        for (name, before, steps, expected) in [
            ("nothing is kept, as after a loss of data", vec![("a", 9)], vec![LiftedAreRead], vec![("a", 9)]),
            (
                "a lift was missed",
                vec![("a", 9), ("b", 9)],
                vec![lifted("a", 9), LiftedAreRead],
                vec![("b", 9)],
            ),
            ("it was lifted, and nobody knew it here", vec![], vec![lifted("a", 9), LiftedAreRead], vec![]),
            (
                "lifted, then another of the user: a shorter one that the lifted one covers",
                vec![("a", 9)],
                vec![lifted("a", 9), LiftedAreRead, in_force("a", 5)],
                vec![("a", 5)],
            ),
            (
                "lifted, then revoked before a node of an older version: it is in both",
                vec![("a", 9)],
                vec![lifted("a", 9), LiftedAreRead, in_force("a", 9)],
                vec![("a", 9)],
            ),
            (
                "revoked again after it was read as lifted",
                vec![("a", 9)],
                vec![lifted("a", 9), revoke("a", 9), LiftedAreRead],
                vec![("a", 9)],
            ),
            (
                "revoked again before it is read as lifted",
                vec![("a", 9)],
                vec![revoke("a", 9), lifted("a", 9), LiftedAreRead],
                vec![("a", 9)],
            ),
            (
                "another one that is new, covered by the lifted one when it was told",
                vec![("a", 9)],
                vec![revoke("a", 5), lifted("a", 9), LiftedAreRead],
                vec![("a", 5)],
            ),
            (
                "lifted after it was read in force",
                vec![],
                vec![LiftedAreRead, in_force("a", 9), lift("a")],
                vec![],
            ),
            (
                "lifted before it is read in force",
                vec![],
                vec![LiftedAreRead, lift("a"), in_force("a", 9)],
                vec![],
            ),
            (
                "lifted, then revoked, before it is read in force",
                vec![],
                vec![LiftedAreRead, lift("a"), revoke("a", 9), in_force("a", 9), in_force("a", 5)],
                vec![("a", 9)],
            ),
            (
                "revoked, then lifted, before it is read as lifted",
                vec![("a", 9)],
                vec![revoke("a", 9), lift("a"), lifted("a", 9), LiftedAreRead, in_force("a", 9)],
                vec![],
            ),
            (
                "what happens to one user is nothing to another",
                vec![("a", 9)],
                vec![revoke("b", 9), lift("c"), lifted("a", 9), LiftedAreRead, in_force("d", 9)],
                vec![("b", 9), ("d", 9)],
            ),
        ] {
            let before: Vec<_> =
                before.into_iter().map(|(user, until_s)| revocation(user, until_s)).collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(user, until_s)| revocation(user, until_s)).collect();
            assert_eq!(known_after(&before, &steps), expected, "{name}");
        }
    }

    #[test]
    fn it_remembers_so_many_and_knows_when_there_were_more() {
        let mut reading = Reading { max: 2, ..Reading::default() };
        for (step, is_overrun) in [
            (revoke("a", 9), false),
            (revoke("a", 9), false),
            (lift("b"), false),
            (revoke("c", 9), true),
            (lift("d"), true),
        ] {
            let Told(change) = &step else { unreachable!("all are told") };
            reading.told(change);
            assert_eq!(reading.is_overrun(), is_overrun, "{step:?}");
        }
        assert_eq!(reading.revoked.len() + reading.lifted.len(), 3);
    }
}
