//! The subscribe link: the task that keeps Redis subscribed to what [`Interest`] wants.
//!
//! Owns its connection, which carries nothing but (un)subscribe commands and PING beside the messages. The link is
//! given up when a command is not answered in time, or neither an answer to a PING nor a message arrives in time; it is
//! made again for ever.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Clock, Ended, connector::Connector, driver::Link, nodes::Nodes, receive::Receiver, topology::Check,
};
use crate::{
    Event, EventSink,
    counters::Counters,
    interest::{Action, Command, CommandId, Interest, Target, Verb},
    wire::Channels,
};

/// What callers and the task share.
pub(super) struct Subscriptions {
    pub(super) interest: Mutex<Interest>,
    /// There is something to be sent.
    pub(super) changed: Notify,
    pub(super) link_up: AtomicBool,
}

/// The task of the subscribe link.
pub(super) struct Subscriber {
    pub(super) connector: Connector,
    pub(super) channels: Channels,
    pub(super) node_prefix: Box<str>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) receiver: Arc<Receiver>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) ping_interval: Duration,
    pub(super) ping_timeout: Duration,
}

/// What a command on the link came to.
enum Outcome {
    Confirmed(CommandId),
    Pong,
    NoPong { received_bytes_before: u64 },
    Failed(String),
}

type InFlight = FuturesUnordered<BoxFuture<'static, Outcome>>;

impl Subscriber {
    /// Keeps the link up until shutdown.
    pub(super) async fn run(mut self) {
        let mut was_up = false;
        loop {
            let receiver = Arc::clone(&self.receiver);
            let on_message = move |channel: &[u8], payload: &[u8]| receiver.receive(channel, payload);
            let Some(link) = self.connector.connect(on_message).await else { return };
            if std::mem::replace(&mut was_up, true) {
                self.counters.reconnects.increment();
            }
            if self.connector.is_elsewhere() {
                self.counters.topology_changes.increment();
            }
            let Ended::Lost(reason) = self.serve(link).await else { return };
            self.connector.lost(&reason);
            self.sink.deliver(Event::LinkLost { reason });
        }
    }

    async fn serve(&mut self, link: Link) -> Ended {
        self.subscriptions.interest.lock().connected();
        self.subscriptions.link_up.store(true, Ordering::Release);
        let ended = self.drive(link).await;
        self.subscriptions.link_up.store(false, Ordering::Release);
        self.subscriptions.interest.lock().disconnected(self.clock.now_ms());
        self.nodes.unlinked();
        ended
    }

    async fn drive(&mut self, link: Link) -> Ended {
        let mut in_flight = InFlight::new();
        let mut ping = tokio::time::interval(self.ping_interval);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ping_in_flight = false;
        let check = self.connector.check();
        let mut moved = pin!(self.connector.moved());
        loop {
            if let Err(reason) = self.act(&link, &in_flight) {
                return Ended::Lost(reason);
            }
            let wake_ms = self.subscriptions.interest.lock().next_deadline_ms();
            tokio::select! {
                biased;
                () = link.lost() => return Ended::connection_closed(),
                () = &mut moved => return Ended::master_moved(),
                () = self.connector.shutdown() => return Ended::Shutdown,
                Some(outcome) = in_flight.next() => match outcome {
                    Outcome::Confirmed(id) => {
                        if self.confirmed(id) {
                            self.nodes.linked();
                            self.receiver.revocations.linked();
                        }
                    }
                    Outcome::Pong => ping_in_flight = false,
                    // The answer waits behind messages: a node that is late with them has a link all the same.
                    Outcome::NoPong { received_bytes_before } if self.received_bytes() > received_bytes_before => {
                        ping_in_flight = false;
                    }
                    Outcome::NoPong { .. } => {
                        let timeout_ms = self.ping_timeout.as_millis();
                        return Ended::Lost(format!("no answer to PING within {timeout_ms} ms"));
                    }
                    Outcome::Failed(reason) => return Ended::Lost(reason),
                },
                () = self.subscriptions.changed.notified() => {}
                () = self.clock.sleep_until(wake_ms) => {}
                _ = ping.tick() => {
                    if !std::mem::replace(&mut ping_in_flight, true) {
                        let received_bytes = self.received_bytes();
                        let sent = send_check(link.clone(), check, self.ping_timeout, received_bytes);
                        in_flight.push(sent.boxed());
                    }
                }
            }
        }
    }

    /// Whether all that is needed always has just become confirmed.
    fn confirmed(&self, id: CommandId) -> bool {
        let mut interest = self.subscriptions.interest.lock();
        let was_confirmed = interest.is_base_confirmed();
        interest.confirmed(self.clock.now_ms(), id);
        !was_confirmed && interest.is_base_confirmed()
    }

    /// Does everything that is to be done now.
    fn act(&mut self, link: &Link, in_flight: &InFlight) -> Result<(), String> {
        loop {
            // The sink must be called without the lock: it may subscribe.
            let action = self.subscriptions.interest.lock().poll(self.clock.now_ms());
            match action {
                None => return Ok(()),
                Some(Action::Send(command)) => {
                    let names = command.targets.iter().map(|target| self.channel_name(target)).collect();
                    in_flight.push(send(link.clone(), command, names).boxed());
                }
                Some(Action::Subscribed { subscriber, namespace, room }) => {
                    self.sink.deliver(Event::Subscribed { subscriber, namespace, room });
                }
                Some(Action::Gap { duration_ms }) => {
                    self.counters.resubscribe_durations.observe(self.connector.up_for());
                    self.counters.gaps.increment();
                    self.connector.recovered(duration_ms);
                    self.sink.deliver(Event::Gap { duration_ms });
                }
                Some(Action::AbandonLink) => {
                    return Err("subscriptions were not confirmed in time".to_owned());
                }
            }
        }
    }

    fn received_bytes(&self) -> u64 {
        self.counters.received_bytes.get()
    }

    fn channel_name(&self, target: &Target) -> String {
        match target {
            Target::Everyone { namespace } => self.channels.everyone(namespace),
            Target::OwnRooms { namespace } => self.channels.rooms_starting_with(namespace, &self.node_prefix),
            Target::Requests { namespace } => self.channels.requests(namespace),
            Target::Responses { namespace } => self.channels.responses(namespace),
            Target::OwnResponses { namespace } => {
                self.channels.responses_to(namespace, &self.receiver.exchange.uid)
            }
            Target::Notices => self.channels.nodes(),
            Target::Python => self.receiver.python_channel.to_string(),
            Target::Revocations => self.channels.revocations(),
            Target::NodeMessages => self.channels.node(&self.receiver.uid),
            Target::Room { namespace, room } => self.channels.room(namespace, room),
        }
    }
}

async fn send(mut link: Link, command: Command, names: Vec<String>) -> Outcome {
    let result = match command.verb {
        Verb::Subscribe => link.subscribe(names).await,
        Verb::SubscribePatterns => link.subscribe_patterns(names).await,
        Verb::Unsubscribe => link.unsubscribe(names).await,
    };
    match result {
        Ok(()) => Outcome::Confirmed(command.id),
        Err(error) => Outcome::Failed(format!("a subscription failed: {error}")),
    }
}

async fn send_check(mut link: Link, check: Check, timeout: Duration, received_bytes_before: u64) -> Outcome {
    match tokio::time::timeout(timeout, check.run(&mut link)).await {
        Ok(Ok(())) => Outcome::Pong,
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::NoPong { received_bytes_before },
    }
}
