//! Threads: one shard per core, an acceptor that deals connections to them, and the inboxes between them.

mod acceptor;
mod inbox;
mod shard;

pub use acceptor::{Places, accept};
pub use inbox::{Inbox, InboxFull, Mailbox, inboxes};
pub use shard::{HttpSettings, Service, Shard, ShardSpec, ShardThread, feed, spawn};
