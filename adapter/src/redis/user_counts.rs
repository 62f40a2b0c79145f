//! How many connections a user has: one hash for each user in Redis, with the number of each node under its name.
//!
//! Owns the order in which this node's numbers are written: one task does it, over the publish link. A node writes its own
//! number as it is, not by how much it changed, so nothing adds up; numbers of nodes that are not known as alive do not
//! count, so a node that dies takes nothing away from its users. Keys end by themselves unless a node writes them again.

use std::{future::ready, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    driver::{Commands, Link, LinkError, Reply},
    key_access::KeyAccess,
    nodes::Nodes,
    publish::PublishQueue,
};
use crate::{EngineFuture, PublishError, USER_COUNT_LIFETIME, wire::Keys};

/// Users whose numbers wait for Redis.
const MAX_WAITING: usize = 16_384;
/// Of those, how many go in one batch.
const MAX_BATCH: usize = 256;
/// Fields of nodes that are not known, beyond which they are removed. One that started just now may be among them; it
/// writes its number again with the next change.
const MAX_UNKNOWN: usize = 32;

/// See the module.
pub(super) struct UserCounts {
    name: Box<str>,
    keys: Keys,
    queue: Arc<PublishQueue>,
    key_access: Arc<KeyAccess>,
    nodes: Arc<Nodes>,
    waiting: mpsc::Sender<UserCount>,
}

/// The number of this node for one user.
pub(super) struct UserCount {
    user: Arc<str>,
    own: u32,
    /// Who wants to know the sum.
    answer: Option<oneshot::Sender<Result<u64, PublishError>>>,
}

impl UserCounts {
    /// Also gives what [`UserCounts::run`] takes.
    pub(super) fn new(
        name: &str,
        prefix: &str,
        queue: Arc<PublishQueue>,
        key_access: Arc<KeyAccess>,
        nodes: Arc<Nodes>,
    ) -> (Self, mpsc::Receiver<UserCount>) {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        let keys = Keys::new(prefix);
        (Self { name: name.into(), keys, queue, key_access, nodes, waiting: sender }, waiting)
    }

    /// Writes this node's number and counts all.
    pub(super) fn count(&self, user: &Arc<str>, own: u32) -> EngineFuture<Result<u64, PublishError>> {
        let (answer, answered) = oneshot::channel();
        match self.push(UserCount { user: Arc::clone(user), own, answer: Some(answer) }) {
            Ok(()) => Box::pin(async move { answered.await.unwrap_or(Err(PublishError::LinkDown)) }),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    /// Writes this node's number.
    pub(super) fn write(&self, user: &Arc<str>, own: u32) -> Result<(), PublishError> {
        self.push(UserCount { user: Arc::clone(user), own, answer: None })
    }

    fn push(&self, count: UserCount) -> Result<(), PublishError> {
        if !self.queue.is_link_up() {
            return Err(PublishError::LinkDown);
        }
        if self.key_access.is_denied() {
            return Err(no_permission());
        }
        self.waiting.try_send(count).map_err(|_| PublishError::QueueFull)
    }

    /// Writes and counts until shutdown.
    pub(super) async fn run(
        self: Arc<Self>,
        mut waiting: mpsc::Receiver<UserCount>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let work = async {
            let mut batch = Vec::with_capacity(MAX_BATCH);
            while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
                // Without a link, whoever waits for an answer is told by its end.
                match self.queue.link() {
                    Some(link) => self.carry_out(link, std::mem::take(&mut batch)).await,
                    None => batch.clear(),
                }
            }
        };
        tokio::select! {
            () = work => {}
            // An error means that the engine is gone, which is the same.
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    async fn carry_out(&self, mut link: Link, batch: Vec<UserCount>) {
        let lifetime_ms = USER_COUNT_LIFETIME.as_millis().to_string();
        let texts: Vec<_> =
            batch.iter().map(|count| (self.keys.user(&count.user), count.own.to_string())).collect();
        let mut commands = Commands::default();
        for (count, (key, own)) in batch.iter().zip(&texts) {
            match count.own {
                0 => commands.push(["HDEL", key, &self.name].map(str::as_bytes)),
                _ => commands.push(["HSET", key, &self.name, own].map(str::as_bytes)),
            }
            commands.push(["PEXPIRE", key, &lifetime_ms].map(str::as_bytes));
            // Behind the own number: of two nodes that do this at one time, one at least sees both.
            if count.answer.is_some() {
                commands.push(["HGETALL", key].map(str::as_bytes));
            }
        }
        let mut replies = match link.send(&commands).await {
            Ok(replies) => replies.into_iter(),
            // The answers are dropped, which means that the link is down.
            Err(LinkError::Failed(_)) => return,
            Err(LinkError::Timeout) => {
                let late = || Err(PublishError::Refused("no answer in time".to_owned()));
                return batch.into_iter().for_each(|count| count.answer(late()));
            }
        };
        let mut unknown = Vec::new();
        for (count, (key, _)) in batch.into_iter().zip(texts) {
            // Both are taken, whatever the first says: the next ones are of others.
            let written = replies.by_ref().take(2).filter_map(refusal).reduce(|first, _| first);
            if let Some(error) = &written {
                self.key_access.denies(error);
            }
            if count.answer.is_none() {
                continue;
            }
            let counted = match (written, replies.next()) {
                (Some(error), _) | (None, Some(Reply::Error(error))) => Err(PublishError::Refused(error)),
                (None, Some(Reply::Array(fields))) => {
                    let Sum { connections, unknown: nodes } = self.sum(&fields, count.own);
                    if nodes.len() > MAX_UNKNOWN {
                        unknown.push((key, nodes));
                    }
                    Ok(connections)
                }
                _ => Err(PublishError::Refused("HGETALL was answered with something else".to_owned())),
            };
            count.answer(counted);
        }
        self.remove(&mut link, unknown).await;
    }

    /// Of names and numbers in turn.
    fn sum(&self, fields: &[Reply], own: u32) -> Sum {
        let mut sum = Sum { connections: own.into(), unknown: Vec::new() };
        for pair in fields.chunks_exact(2) {
            let [Reply::Text(name), Reply::Text(number)] = pair else { continue };
            let text = std::str::from_utf8(name).unwrap_or_default();
            if *text == *self.name {
                continue;
            }
            if !self.nodes.knows(text) {
                sum.unknown.push(name.clone());
                continue;
            }
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<u32>().ok());
            sum.connections += u64::from(number.unwrap_or(0));
        }
        sum
    }

    /// Takes out what nodes left behind that are gone, so that no key grows for ever.
    async fn remove(&self, link: &mut Link, unknown: Vec<(String, Vec<Vec<u8>>)>) {
        for (key, names) in unknown {
            let mut commands = Commands::default();
            for name in &names {
                commands.push([b"HDEL".as_slice(), key.as_bytes(), name]);
            }
            // What is not removed now is with the next count.
            let _removed = link.send(&commands).await;
        }
    }
}

struct Sum {
    connections: u64,
    /// Names of nodes that are not known as alive.
    unknown: Vec<Vec<u8>>,
}

impl UserCount {
    fn answer(self, result: Result<u64, PublishError>) {
        if let Some(answer) = self.answer {
            // The caller may not wait for it.
            let _gone = answer.send(result);
        }
    }
}

fn refusal(reply: Reply) -> Option<String> {
    if let Reply::Error(error) = reply { Some(error) } else { None }
}

fn no_permission() -> PublishError {
    PublishError::Refused("this node may not use keys".to_owned())
}
