//! The way into a shard from other threads. What may come in numbers is counted in bytes and bounded.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use super::acceptor::Place;

/// What a shard's thread takes from its inbox.
pub(super) enum Delivery<M> {
    /// A new connection, with its place among the HTTP connections of the node.
    Accepted(TcpStream, SocketAddr, Place),
    /// For the service; with the bytes that it holds of the bound.
    Message(M, usize),
    /// End the thread once the service has nothing open any more.
    Stop,
}

/// The message did not fit in the bound; it is lost and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shard's inbox is full")]
pub struct InboxFull;

/// Sends to one shard. Cheap to clone.
pub struct Inbox<M> {
    sender: mpsc::UnboundedSender<Delivery<M>>,
    load: Arc<Load>,
    max_bytes: usize,
}

#[derive(Default)]
struct Load {
    waiting_bytes: AtomicUsize,
    refused: AtomicU64,
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), load: Arc::clone(&self.load), max_bytes: self.max_bytes }
    }
}

/// The shard's end of its inbox.
pub struct Mailbox<M> {
    pub(super) inbox: Inbox<M>,
    pub(super) receiver: mpsc::UnboundedReceiver<Delivery<M>>,
}

/// Makes the inboxes of `count` shards, each for at most `max_bytes` of bounded messages. They come before the shards,
/// since every shard may have to write to every other.
pub fn inboxes<M>(count: usize, max_bytes: usize) -> (Arc<[Inbox<M>]>, Vec<Mailbox<M>>) {
    let mailboxes: Vec<_> = (0..count)
        .map(|_| {
            let (sender, receiver) = mpsc::unbounded_channel();
            Mailbox { inbox: Inbox { sender, load: Arc::default(), max_bytes }, receiver }
        })
        .collect();
    (mailboxes.iter().map(|mailbox| mailbox.inbox.clone()).collect(), mailboxes)
}

impl<M> Inbox<M> {
    /// Sends what is bounded elsewhere (one per request, per join, per connection).
    pub fn send(&self, message: M) {
        self.deliver(Delivery::Message(message, 0));
    }

    /// Sends what may come faster than the shard takes it.
    ///
    /// # Errors
    /// `bytes` more would pass the bound (`limits.max_shard_inbox_bytes`); nothing was sent, and that is counted.
    pub fn send_bounded(&self, message: M, bytes: usize) -> Result<(), InboxFull> {
        if self.load.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.max_bytes {
            self.load.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.load.refused.fetch_add(1, Ordering::Relaxed);
            return Err(InboxFull);
        }
        self.deliver(Delivery::Message(message, bytes));
        Ok(())
    }

    /// Bytes that wait now.
    pub fn waiting_bytes(&self) -> usize {
        self.load.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Messages that did not fit so far.
    pub fn refused_total(&self) -> u64 {
        self.load.refused.load(Ordering::Relaxed)
    }

    pub(super) fn taken(&self, bytes: usize) {
        self.load.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn deliver(&self, delivery: Delivery<M>) {
        // The receiver is gone only when the shard has ended; then nobody is left to take the message.
        let _ended = self.sender.send(delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_in_bytes_and_frees_as_messages_are_taken() {
        let (inboxes, mut mailboxes) = inboxes(1, 100);
        let (inbox, receiver) = (&inboxes[0], &mut mailboxes[0].receiver);
        assert_eq!(inbox.send_bounded("a", 60), Ok(()));
        assert_eq!(inbox.send_bounded("b", 41), Err(InboxFull));
        assert_eq!(inbox.send_bounded("c", 40), Ok(()));
        inbox.send("control messages always fit");
        let Ok(Delivery::Message("a", bytes)) = receiver.try_recv() else {
            panic!("the first message first")
        };
        inbox.taken(bytes);
        assert_eq!(inbox.waiting_bytes(), 40);
        assert_eq!(inbox.send_bounded("d", 60), Ok(()));
        assert_eq!(inbox.refused_total(), 1);
    }
}
