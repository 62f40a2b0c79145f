//! Revocations over Redis: told to all nodes on a channel, and kept in sorted sets for those that did not hear of them.
//!
//! Owns the order in which this node changes the sets: one task does it, over the publish link. What is told arrives on
//! the subscribe link's reader and goes to the sink at once. On each new link the sets are read, and the sink is told what
//! was lifted and what is in force, for which nothing of it is new that it knows. What is in neither set stays as it is: a
//! server that has lost its data, or never was allowed to have it, lifts nothing.

use std::{collections::VecDeque, future::ready, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    driver::{Link, Outbound},
    key_access::KeyAccess,
    publish::PublishQueue,
    revocation_reading::{Kept, Reading},
    revocation_set::{RevocationSet, SetError},
};
use crate::{
    EngineFuture, Event, EventSink, PublishError,
    counters::Counters,
    revocation::{Revocation, RevocationChange},
    wire::{Channels, DecodeError, Keys, RevocationMessage, decode_revocation, encode_revocation},
};

/// Changes that wait for Redis.
const MAX_WAITING: usize = 1024;
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
    /// A new link: the sets are to be read.
    linked: Notify,
    /// While they are read. Held while one change is told and put among those that wait, or while a part of what was read is
    /// told; so the sink hears of a change before or after what was read, and knows of it when it is put in its place.
    reading: Mutex<Option<Reading>>,
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
            lifted_key: Keys::new(prefix).lifted_revocations(),
            channel: Channels::new(prefix).revocations(),
        };
        let (linked, reading) = (Notify::new(), Mutex::new(None));
        (Self { set, queue, key_access, sink, counters, changes, linked, reading }, waiting)
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
        let mut reading = self.reading.lock();
        if let Some(reading) = &mut *reading {
            reading.told(&change);
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

    /// Keeps what is told, and reads what is kept on each new link, until shutdown.
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
            let mut first = None;
            tokio::select! {
                change = changes.recv() => match change {
                    None => return,
                    Some(change) => first = Some(change),
                },
                () = self.linked.notified() => {
                    self.key_access.may_have_changed();
                    must_read = true;
                }
                () = tokio::time::sleep(RETRY), if must_read || !to_keep.is_empty() => {}
            }
            let mut link = self.queue.link();
            let before_reading = if must_read { self.begin_reading(&changes) } else { 0 };
            let waiting = (0..before_reading).map_while(|_| changes.try_recv().ok());
            for change in first.into_iter().chain(waiting) {
                self.take(change, link.as_mut(), &mut to_keep).await;
            }
            if let Some(link) = &mut link {
                self.keep(link, &mut to_keep).await;
                // What waits for its place in the sets could look as if it had been lifted.
                if must_read && to_keep.is_empty() {
                    must_read = self.read(link).await.is_err();
                }
            }
            *self.reading.lock() = None;
        }
    }

    /// From here on, what is told is remembered. Gives how many of the changes that wait were told before.
    fn begin_reading(&self, changes: &mpsc::Receiver<Change>) -> usize {
        let mut reading = self.reading.lock();
        *reading = Some(Reading::default());
        changes.len()
    }

    /// Tells a change of this node's own; without a link, whoever waits for the answer is told by its end.
    async fn take(&self, change: Change, link: Option<&mut Link>, to_keep: &mut VecDeque<RevocationChange>) {
        match (change.answer, link) {
            (None, _) if to_keep.len() >= MAX_WAITING => self.counters.revocations_not_kept.increment(),
            (None, _) => to_keep.push_back(change.change),
            (Some(answer), Some(link)) => {
                self.keep(link, to_keep).await;
                // The caller may not wait for it.
                let _gone = answer.send(self.tell_and_keep(link, &change.change).await);
            }
            (Some(_), None) => {}
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

    /// Tells the sink what was lifted and what is in force. An error: it is all to be read again.
    async fn read(&self, link: &mut Link) -> Result<(), ()> {
        for kept in [Kept::Lifted, Kept::InForce] {
            let mut next = Some(RevocationSet::START.to_vec());
            while let Some(cursor) = next {
                let page = match self.set.page(link, kept, &cursor).await {
                    Ok(page) => page,
                    Err(SetError::Link(_)) => return Err(()),
                    Err(SetError::Refused(error)) if self.key_access.denies(&error) => return Ok(()),
                    Err(SetError::Refused(error)) => {
                        tracing::debug!(error, "the revocations can't be read; trying again");
                        return Err(());
                    }
                };
                self.counters.malformed.add(page.malformed);
                next = page.next;
                self.tell_read(kept, page.revocations, next.is_none())?;
            }
        }
        Ok(())
    }

    /// Tells what was read, as far as it still holds. An error: that is not known.
    fn tell_read(&self, kept: Kept, revocations: Vec<Revocation>, is_end: bool) -> Result<(), ()> {
        let reading = self.reading.lock();
        let reading = reading.as_ref().filter(|reading| !reading.is_overrun()).ok_or(())?;
        let revoke = |revocation| Event::Revocation(RevocationChange::Revoke(revocation));
        for revocation in revocations.into_iter().filter(|revocation| reading.holds(kept, revocation)) {
            self.sink.deliver(match kept {
                Kept::Lifted => Event::LiftMissed(revocation),
                Kept::InForce => revoke(revocation),
            });
        }
        if is_end && kept == Kept::Lifted {
            reading.revoked().cloned().for_each(|revocation| self.sink.deliver(revoke(revocation)));
        }
        Ok(())
    }
}
