//! Who else is there: hello and goodbye on the channel that all Broadgate nodes share.
//!
//! Owns the node's [`Membership`]. Notices arrive from the subscribe link's reader; a task says hello when it is time.

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, ReentrantMutex};
use tokio::sync::{Notify, watch};

use super::{
    Clock,
    backoff::random,
    driver::Outbound,
    log_bound::LogBound,
    publish::{PublishQueue, Traffic},
};
use crate::{
    Event, EventSink, NodeInfo,
    membership::{Action, Hello, Membership, Refusal},
    probe::Probe,
    wire::{Channels, DecodeError, Notice, decode_notice, encode_notice},
};

/// See the module.
pub(super) struct Nodes {
    name: Box<str>,
    start: u64,
    channel: String,
    membership: Mutex<Membership>,
    probe: Mutex<Probe>,
    /// Held while actions are carried out, so that they are told in their order. A sink may look at the nodes.
    telling: ReentrantMutex<()>,
    /// There may be an earlier deadline.
    changed: Notify,
    queue: Arc<PublishQueue>,
    sink: Arc<dyn EventSink>,
    clock: Clock,
    name_log: Mutex<LogBound>,
}

/// What [`Nodes`] are made with.
pub(super) struct NodesSpec {
    pub(super) name: String,
    pub(super) version: String,
    /// Another one for each process of that name.
    pub(super) start: u64,
    pub(super) id_key: u128,
    pub(super) channels: Channels,
    pub(super) hello_interval: Duration,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) clock: Clock,
    pub(super) name_log: LogBound,
}

impl Nodes {
    pub(super) fn new(spec: NodesSpec) -> Self {
        let name: Box<str> = spec.name.into();
        let (version, start, id_key) = (spec.version.into(), spec.start, spec.id_key);
        let own = Hello { name: name.clone(), version, start, id_key, asks: false, number: 0 };
        let interval_ms = super::setting_ms(spec.hello_interval).max(1);
        Self {
            name,
            start: spec.start,
            channel: spec.channels.nodes(),
            membership: Mutex::new(Membership::new(own, interval_ms)),
            probe: Mutex::new(Probe::new(spec.clock.now_us())),
            telling: ReentrantMutex::new(()),
            changed: Notify::new(),
            queue: spec.queue,
            sink: spec.sink,
            clock: spec.clock,
            name_log: Mutex::new(spec.name_log),
        }
    }

    /// Says hello when it is time, until shutdown.
    pub(super) async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            self.act();
            let wake_ms = self.membership.lock().next_deadline_ms();
            tokio::select! {
                () = self.clock.sleep_until(wake_ms) => {}
                () = self.changed.notified() => {}
                // An error means that the engine is gone, which is the same.
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Takes what arrived on the shared channel.
    pub(super) fn on_notice(&self, payload: &[u8]) -> Result<(), DecodeError> {
        let heard = match decode_notice(payload)? {
            Notice::Hello(hello) => {
                if hello.name == self.name && hello.start == self.start {
                    self.probe.lock().came_back(hello.number, self.clock.now_us());
                }
                self.membership.lock().heard(self.clock.now_ms(), &hello, random())
            }
            Notice::Goodbye { name, start } => {
                self.membership.lock().goodbye(&name, start);
                Ok(())
            }
        };
        self.act();
        self.changed.notify_one();
        match heard {
            Ok(()) => Ok(()),
            Err(Refusal::Full) => Err(DecodeError::Notice("too many nodes are known")),
            Err(Refusal::OwnName) => {
                if self.name_log.lock().allow(self.clock.now_ms()).is_some() {
                    tracing::error!(
                        node = &*self.name,
                        "another node uses this node's name; restart one of them"
                    );
                }
                Err(DecodeError::Notice("it comes from another node of this node's name"))
            }
        }
    }

    /// All that the node needs always is subscribed.
    pub(super) fn linked(&self) {
        self.membership.lock().linked(self.clock.now_ms());
        self.changed.notify_one();
    }

    /// The subscriptions are lost.
    pub(super) fn unlinked(&self) {
        self.membership.lock().unlinked();
    }

    /// Redis has no subscription of this node.
    pub(super) fn gone(&self, name: &str) {
        self.membership.lock().gone(name);
        self.act();
    }

    /// The last word of this node.
    pub(super) fn say_goodbye(&self) {
        if self.was_heard() {
            self.say(&Notice::Goodbye { name: self.name.clone(), start: self.start });
        }
    }

    pub(super) fn list(&self) -> Vec<NodeInfo> {
        self.membership.lock().nodes(self.clock.now_ms())
    }

    pub(super) fn id_key(&self, name: &str) -> Option<u128> {
        self.membership.lock().id_key(name)
    }

    /// Is it alive, as far as this node knows?
    pub(super) fn knows(&self, name: &str) -> bool {
        *name == *self.name || self.membership.lock().id_key(name).is_some()
    }

    /// With this one.
    pub(super) fn count(&self) -> usize {
        self.membership.lock().len() + 1
    }

    /// Did every node that is there hear of this one?
    pub(super) fn was_heard(&self) -> bool {
        self.membership.lock().was_heard()
    }

    /// How long ago the newest hello was said that came back, and how long that took, in microseconds.
    pub(super) fn probe_us(&self) -> (u64, u64) {
        let probe = self.probe.lock();
        (probe.age_us(self.clock.now_us()), probe.round_trip_us())
    }

    /// Does everything that is to be done now.
    fn act(&self) {
        let _in_order = self.telling.lock();
        loop {
            // The sink must be called without the lock: it may look at the nodes.
            let action = self.membership.lock().poll(self.clock.now_ms(), random());
            match action {
                None => return,
                Some(Action::Say(hello)) => {
                    self.probe.lock().said(hello.number, self.clock.now_us());
                    self.say(&Notice::Hello(hello));
                }
                Some(Action::Found { node }) => {
                    tracing::info!(node = &*node, "found another node");
                    self.sink.deliver(Event::NodeFound { node });
                }
                Some(Action::Lost { node }) => {
                    tracing::info!(node = &*node, "lost another node");
                    self.sink.deliver(Event::NodeLost { node });
                }
            }
        }
    }

    /// Where it does not arrive, the node is not heard, and says it again.
    fn say(&self, notice: &Notice) {
        let message = Outbound::new(self.channel.clone(), encode_notice(notice));
        drop(self.queue.push(message, Traffic::Notice));
    }
}
