//! Revocations over Redis: told to all nodes on a channel, and kept in a sorted set for those that start later.
//!
//! Owns the order in which this node changes the set: one task does it, over the publish link. What is told arrives on
//! the subscribe link's reader and goes to the sink at once. On each new link the whole set is read again and told to the
//! sink, for which nothing of it is new that it knows.

use std::{
    collections::{HashSet, VecDeque},
    future::ready,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    driver::{Link, Outbound},
    key_access::KeyAccess,
    publish::PublishQueue,
    revocation_set::{RevocationSet, SetError},
};
use crate::{
    EngineFuture, Event, EventSink, PublishError,
    counters::Counters,
    revocation::{RevocationChange, RevocationSubject},
    wire::{Channels, DecodeError, Keys, RevocationMessage, decode_revocation, encode_revocation},
};

/// Changes that wait for Redis.
const MAX_WAITING: usize = 1024;
/// Subjects that may be lifted while the set is read; beyond it the reading starts again.
const MAX_LIFTED_MEANWHILE: usize = 1024;
/// Between two attempts at what Redis did not take.
const RETRY: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct RevocationKeeper {
    set: RevocationSet,
    queue: Arc<PublishQueue>,
    key_access: Arc<KeyAccess>,
    sink: Arc<dyn EventSink>,
    counters: Arc<Counters>,
    changes: mpsc::Sender<Change>,
    /// A new link: the set is to be read.
    linked: Notify,
    /// While the set is read: what was lifted since, and may still be on a page.
    lifted_meanwhile: Mutex<Option<HashSet<RevocationSubject>>>,
}

/// What is to be done by the task.
pub(super) struct Change {
    change: RevocationChange,
    /// For one of this node's own; what others published is told already.
    answer: Option<oneshot::Sender<Result<(), PublishError>>>,
}

impl RevocationKeeper {
    /// Also gives what [`RevocationKeeper::run`] takes.
    pub(super) fn new(
        prefix: &str,
        queue: Arc<PublishQueue>,
        key_access: Arc<KeyAccess>,
        sink: Arc<dyn EventSink>,
        counters: Arc<Counters>,
    ) -> (Self, mpsc::Receiver<Change>) {
        let (changes, waiting) = mpsc::channel(MAX_WAITING);
        let set = RevocationSet {
            key: Keys::new(prefix).revocations(),
            channel: Channels::new(prefix).revocations(),
        };
        let (linked, lifted_meanwhile) = (Notify::new(), Mutex::new(None));
        (Self { set, queue, key_access, sink, counters, changes, linked, lifted_meanwhile }, waiting)
    }

    /// Tells all nodes, this one included, and keeps it.
    pub(super) fn tell(&self, change: RevocationChange) -> EngineFuture<Result<(), PublishError>> {
        if !self.queue.is_link_up() {
            return Box::pin(ready(Err(PublishError::LinkDown)));
        }
        let (answer, answered) = oneshot::channel();
        match self.changes.try_send(Change { change, answer: Some(answer) }) {
            Ok(()) => Box::pin(async move { answered.await.unwrap_or(Err(PublishError::LinkDown)) }),
            Err(_) => Box::pin(ready(Err(PublishError::QueueFull))),
        }
    }

    /// Takes what arrived on the channel.
    pub(super) fn on_message(&self, payload: &[u8]) -> Result<(), DecodeError> {
        let RevocationMessage { change, kept } = decode_revocation(payload)?;
        self.counters.revocations_received.increment();
        if let RevocationChange::Lift(subject) = &change
            && let Some(lifted) = &mut *self.lifted_meanwhile.lock()
            && lifted.len() <= MAX_LIFTED_MEANWHILE
        {
            lifted.insert(subject.clone());
        }
        self.sink.deliver(Event::Revocation(change.clone()));
        if !kept && self.changes.try_send(Change { change, answer: None }).is_err() {
            self.counters.revocations_not_kept.increment();
        }
        Ok(())
    }

    /// All that the node needs always is subscribed, so what is told from now on arrives.
    pub(super) fn linked(&self) {
        self.linked.notify_one();
    }

    /// Keeps what is told, and reads the set on each new link, until shutdown.
    pub(super) async fn run(
        self: Arc<Self>,
        changes: mpsc::Receiver<Change>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = self.work(changes) => {}
            // An error means that the engine is gone, which is the same.
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    async fn work(&self, mut changes: mpsc::Receiver<Change>) {
        let (mut to_keep, mut must_read) = (VecDeque::new(), false);
        loop {
            let mut own = None;
            tokio::select! {
                change = changes.recv() => match change {
                    None => return,
                    Some(change) if change.answer.is_some() => own = Some(change),
                    Some(_) if to_keep.len() >= MAX_WAITING => self.counters.revocations_not_kept.increment(),
                    Some(change) => to_keep.push_back(change.change),
                },
                () = self.linked.notified() => {
                    self.key_access.may_have_changed();
                    must_read = true;
                }
                () = tokio::time::sleep(RETRY), if must_read || !to_keep.is_empty() => {}
            }
            // Without a link, whoever waits for an answer is told by its end.
            let Some(mut link) = self.queue.link() else { continue };
            self.keep(&mut link, &mut to_keep).await;
            if let Some(Change { change, answer: Some(answer) }) = own {
                // The caller may not wait for it.
                let _gone = answer.send(self.tell_and_keep(&mut link, &change).await);
            }
            if must_read {
                must_read = self.read(&mut link).await.is_err();
            }
        }
    }

    /// Keeps what others published without keeping it, as far as the link lasts.
    async fn keep(&self, link: &mut Link, to_keep: &mut VecDeque<RevocationChange>) {
        while let Some(change) = to_keep.front() {
            let changed = match self.key_access.is_denied() {
                true => Err(SetError::Refused(String::new())),
                false => self.set.change(link, change, false).await,
            };
            match changed {
                Ok(made_room) => self.counters.revocations_dropped.add(made_room),
                Err(SetError::Link(_)) => return,
                Err(SetError::Refused(error)) => {
                    self.counters.revocations_not_kept.increment();
                    if !self.key_access.is_denied() && !self.key_access.denies(&error) {
                        tracing::warn!(error, "Redis does not keep a revocation");
                    }
                }
            }
            to_keep.pop_front();
        }
    }

    async fn tell_and_keep(&self, link: &mut Link, change: &RevocationChange) -> Result<(), PublishError> {
        if !self.key_access.is_denied() {
            match self.set.change(link, change, true).await {
                Ok(made_room) => {
                    self.counters.revocations_dropped.add(made_room);
                    return Ok(());
                }
                Err(SetError::Refused(error)) if self.key_access.denies(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Another node may be allowed to keep it.
        let payload = encode_revocation(&RevocationMessage { change: change.clone(), kept: false });
        let message = Outbound::new(self.set.channel.clone(), payload);
        let answers = link.publish(std::iter::once(&message)).await.map_err(SetError::from)?;
        answers.into_iter().next().unwrap_or(Ok(0)).map(drop).map_err(PublishError::Refused)
    }

    /// Tells the sink all that is kept. An error: it is to be read again.
    async fn read(&self, link: &mut Link) -> Result<(), ()> {
        *self.lifted_meanwhile.lock() = Some(HashSet::new());
        let read = self.read_pages(link).await;
        *self.lifted_meanwhile.lock() = None;
        read
    }

    async fn read_pages(&self, link: &mut Link) -> Result<(), ()> {
        let mut next = Some(RevocationSet::START.to_vec());
        while let Some(cursor) = next {
            let page = match self.set.page(link, &cursor).await {
                Ok(page) => page,
                Err(SetError::Link(_)) => return Err(()),
                Err(SetError::Refused(error)) if self.key_access.denies(&error) => return Ok(()),
                Err(SetError::Refused(error)) => {
                    tracing::debug!(error, "the revocations can't be read; trying again");
                    return Err(());
                }
            };
            self.counters.malformed.add(page.malformed);
            for revocation in page.revocations {
                // With the lock held, so that a lift that comes now is told after it.
                let lifted = self.lifted_meanwhile.lock();
                match &*lifted {
                    Some(lifted) if lifted.len() > MAX_LIFTED_MEANWHILE => return Err(()),
                    Some(lifted) if lifted.contains(&revocation.subject) => {}
                    _ => self.sink.deliver(Event::Revocation(RevocationChange::Revoke(revocation))),
                }
            }
            next = page.next;
        }
        Ok(())
    }
}
