//! The two sorted sets in which revocations are kept, those in force and those that were lifted before their end: members
//! are as they are told, scores are their ends. A lift moves them from one to the other, so that a node that did not hear
//! of it can tell what was lifted from what a server has lost. One that others published without keeping it only takes them
//! out: it is carried out when a node gets round to it, and may meet a revocation that is newer, which other nodes must
//! not be made to forget. Without state.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    driver::{Commands, Link, LinkError, Reply, executed},
    revocation_reading::Kept,
};
use crate::{
    PublishError,
    revocation::{MAX_REVOCATIONS, Revocation, RevocationChange, RevocationSubject},
    wire::{RevocationMessage, decode_revocation, encode_revocation},
};

/// Entries that are read at a time, about.
const PAGE: &str = "1000";

/// Their names.
pub(super) struct RevocationSet {
    pub(super) key: String,
    pub(super) lifted_key: String,
    pub(super) channel: String,
}

/// Why a set could not be read or changed.
pub(super) enum SetError {
    Link(LinkError),
    Refused(String),
}

impl From<LinkError> for SetError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<SetError> for PublishError {
    fn from(error: SetError) -> Self {
        match error {
            // Redis may have it: the link broke before the answer came.
            SetError::Link(LinkError::Failed(_)) => Self::Refused("the link was lost on the way".to_owned()),
            SetError::Link(LinkError::Timeout) => Self::Refused("no answer in time".to_owned()),
            SetError::Refused(error) => Self::Refused(error),
        }
    }
}

/// A part of a set.
pub(super) struct Page {
    pub(super) revocations: Vec<Revocation>,
    /// Entries that can't be read.
    pub(super) malformed: u64,
    members: Vec<Vec<u8>>,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<Vec<u8>>,
}

impl RevocationSet {
    /// Where [`RevocationSet::page`] begins.
    pub(super) const START: &[u8] = b"0";

    /// Carries a change out and tells all nodes in one transaction, so that all see changes in the order in which the
    /// set does; without telling where they know already. Gives how many others had to make room.
    pub(super) async fn change(
        &self,
        link: &mut Link,
        change: &RevocationChange,
        tell: bool,
    ) -> Result<u64, SetError> {
        let message = |kept| encode_revocation(&RevocationMessage { change: change.clone(), kept });
        let told = message(true);
        let publish = [b"PUBLISH".as_slice(), self.channel.as_bytes(), &told];
        let (key, lifted_key) = (self.key.as_bytes(), self.lifted_key.as_bytes());
        let (now, surplus) = (unix_now_s().to_string(), format!("-{}", MAX_REVOCATIONS + 1));
        match change {
            RevocationChange::Revoke(revocation) => {
                let (member, until) = (message(false), revocation.until_s.to_string());
                let mut commands = Commands::default();
                commands.push([b"MULTI"]);
                commands.push([b"ZREMRANGEBYSCORE".as_slice(), key, b"-inf", now.as_bytes()]);
                commands.push([b"ZADD".as_slice(), key, until.as_bytes(), &member]);
                commands.push([b"ZREMRANGEBYRANK".as_slice(), key, b"0", surplus.as_bytes()]);
                commands.push([b"ZREM".as_slice(), lifted_key, &member]);
                commands.push([b"ZREMRANGEBYSCORE".as_slice(), lifted_key, b"-inf", now.as_bytes()]);
                if tell {
                    commands.push(publish);
                }
                commands.push([b"EXEC"]);
                let replies = self.execute(link, &commands, 5 + usize::from(tell)).await?;
                Ok(if let Some(Reply::Int(count)) = replies.get(2) { count.unsigned_abs() } else { 0 })
            }
            RevocationChange::Lift(subject) => {
                let members = self.members_of(link, subject).await?;
                let mut commands = Commands::default();
                commands.push([b"MULTI"]);
                commands.push([b"ZREMRANGEBYSCORE".as_slice(), lifted_key, b"-inf", now.as_bytes()]);
                for (member, until) in &members {
                    commands.push([b"ZREM".as_slice(), key, member]);
                    if tell {
                        commands.push([b"ZADD".as_slice(), lifted_key, until.as_bytes(), member]);
                    }
                }
                commands.push([b"ZREMRANGEBYRANK".as_slice(), lifted_key, b"0", surplus.as_bytes()]);
                if tell {
                    commands.push(publish);
                }
                commands.push([b"EXEC"]);
                let for_each = 1 + usize::from(tell);
                self.execute(link, &commands, 2 + for_each * members.len() + usize::from(tell)).await?;
                Ok(0)
            }
        }
    }

    async fn execute(
        &self,
        link: &mut Link,
        commands: &Commands<'_>,
        count: usize,
    ) -> Result<Vec<Reply>, SetError> {
        let mut replies = link.send(commands).await?.into_iter();
        let replies = executed(&mut replies, count).map_err(SetError::Refused)?;
        match replies
            .iter()
            .find_map(|reply| if let Reply::Error(error) = reply { Some(error) } else { None })
        {
            Some(error) => Err(SetError::Refused(error.clone())),
            None => Ok(replies),
        }
    }

    /// Those in force, each with its end.
    async fn members_of(
        &self,
        link: &mut Link,
        subject: &RevocationSubject,
    ) -> Result<Vec<(Vec<u8>, String)>, SetError> {
        let (mut members, mut next) = (Vec::new(), Some(Self::START.to_vec()));
        while let Some(cursor) = next {
            let page = self.page(link, Kept::InForce, &cursor).await?;
            let of_page = page.revocations.iter().zip(page.members);
            let of_subject = of_page.filter(|(one, _)| one.subject == *subject);
            members.extend(of_subject.map(|(one, member)| (member, one.until_s.to_string())));
            next = page.next;
        }
        members.sort_unstable();
        // The set may give an entry twice while it grows.
        members.dedup();
        Ok(members)
    }

    /// A part of a set. What is in it from the first page to the last is in one of them (`ZSCAN`).
    pub(super) async fn page(&self, link: &mut Link, kept: Kept, cursor: &[u8]) -> Result<Page, SetError> {
        let key = match kept {
            Kept::InForce => &self.key,
            Kept::Lifted => &self.lifted_key,
        };
        let mut commands = Commands::default();
        commands.push([b"ZSCAN".as_slice(), key.as_bytes(), cursor, b"COUNT", PAGE.as_bytes()]);
        let unexpected = || SetError::Refused("ZSCAN was answered with something else".to_owned());
        let (next, entries) = match link.send(&commands).await?.pop() {
            Some(Reply::Error(error)) => return Err(SetError::Refused(error)),
            Some(Reply::Array(parts)) => match <[Reply; 2]>::try_from(parts) {
                Ok([Reply::Text(next), Reply::Array(entries)]) => (next, entries),
                _ => return Err(unexpected()),
            },
            _ => return Err(unexpected()),
        };
        let mut page = Page { revocations: Vec::new(), malformed: 0, members: Vec::new(), next: None };
        page.next = (next != Self::START).then_some(next);
        // Members and scores in turn.
        for member in entries.into_iter().step_by(2) {
            let Reply::Text(member) = member else { return Err(unexpected()) };
            match decode_revocation(&member) {
                Ok(RevocationMessage { change: RevocationChange::Revoke(revocation), .. }) => {
                    page.revocations.push(revocation);
                    page.members.push(member);
                }
                _ => page.malformed += 1,
            }
        }
        Ok(page)
    }
}

/// Seconds since 1970; a clock before gives 0.
fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
