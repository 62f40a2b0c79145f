//! The order of what this node publishes, against the cuts at which sessions move.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a node publishes goes two ways: to its own shards, and over Redis to the other nodes. Who publishes holds this
/// while the message is put on both; who cuts holds it alone, while the cut is put on both. So a message that is behind
/// the cut on one way is behind it on the other, and a session that moves gets it once.
#[derive(Debug, Default)]
pub struct PublishOrder(RwLock<()>);

impl PublishOrder {
    /// For a publish; any number at a time. An uncontended lock: 10 to 20 ns beside the microseconds of a publish.
    pub fn publish(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read()
    }

    /// For a cut.
    pub fn cut(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write()
    }
}
