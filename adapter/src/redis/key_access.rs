//! May this node use keys? A user of Redis may be allowed channels alone; then it goes on without what keys are for.

use std::sync::atomic::{AtomicBool, Ordering};

/// Owns what is known of it on the present link, and whether the log has it.
#[derive(Debug, Default)]
pub(super) struct KeyAccess {
    denied: AtomicBool,
    told: AtomicBool,
}

impl KeyAccess {
    pub(super) fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }

    /// On a new link it is tried again.
    pub(super) fn may_have_changed(&self) {
        self.denied.store(false, Ordering::Relaxed);
    }

    /// Whether an error of the server is about permissions; said in the log once.
    pub(super) fn denies(&self, error: &str) -> bool {
        if !error.starts_with("NOPERM") {
            return false;
        }
        self.denied.store(true, Ordering::Relaxed);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error,
                "this node may not use keys in Redis: revocations are not kept for nodes that start later, and \
                 connections of a user are counted on this node alone"
            );
        }
        true
    }
}
