//! Rooms that nobody wants any more: how long they stay subscribed, how many of them, and which are never sent at all.

use super::{
    Interest,
    targets::{LinkState, Target},
};

impl Interest {
    /// Moves rooms that have been idle for long enough to the unsubscribe queue.
    pub(super) fn collect_idle(&mut self, now_ms: u64) {
        while let Some((_, target)) = self.idle.pop_front_if(|(due_ms, _)| *due_ms <= now_ms) {
            let Some(entry) = self.entries.get_mut(&target) else { continue };
            entry.in_idle_queue = false;
            let Some(since_ms) = entry.idle_since_ms else { continue };
            let due_ms = since_ms + self.config.unsubscribe_delay_ms;
            if due_ms <= now_ms && entry.link == LinkState::Confirmed {
                self.idle_count -= 1;
                entry.leave();
                self.to_unsubscribe.push_back(target);
            } else {
                // It was wanted in between, or is not even subscribed yet: look again later.
                entry.in_idle_queue = true;
                self.idle.push_back((due_ms.max(now_ms + 1), target));
            }
        }
    }

    /// Beyond the bound, those that were left first go at once. One whose command is under way must wait for it.
    pub(super) fn evict_idle(&mut self) {
        for _ in 0..self.idle.len() {
            if self.idle_count <= self.config.max_idle {
                return;
            }
            let Some((due_ms, target)) = self.idle.pop_front() else { return };
            let Some(entry) = self.entries.get_mut(&target) else { continue };
            entry.in_idle_queue = false;
            if entry.idle_since_ms.is_none() {
                continue;
            }
            if entry.link == LinkState::Confirmed {
                self.idle_count -= 1;
                entry.leave();
                self.to_unsubscribe.push_back(target);
            } else {
                entry.in_idle_queue = true;
                self.idle.push_back((due_ms, target));
            }
        }
    }

    /// Where the queue does not move, it must not grow by rooms that nobody wants any more.
    pub(super) fn forget_unwanted_queued(&mut self, now_ms: u64) {
        if self.unwanted_queued <= self.config.max_idle {
            return;
        }
        let queued = std::mem::take(&mut self.to_subscribe);
        self.to_subscribe =
            queued.into_iter().filter(|target| !self.forget_if_unwanted(now_ms, target)).collect();
    }

    /// Whether it was taken out: queued, and wanted by nobody.
    pub(super) fn forget_if_unwanted(&mut self, now_ms: u64, target: &Target) -> bool {
        let Some(entry) = self.entries.get(target) else { return true };
        if entry.link != LinkState::Queued || entry.is_wanted() {
            return false;
        }
        let after_outage = entry.after_outage;
        self.entries.remove(target);
        self.unwanted_queued -= 1;
        if after_outage {
            self.one_less_after_outage(now_ms);
        }
        true
    }
}
