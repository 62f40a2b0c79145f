//! The subscribe link: the task that keeps Redis subscribed to what [`Interest`] wants.
//!
//! Owns its connection, which carries nothing but (un)subscribe commands and PING beside the messages. The link is
//! given up when a command or a PING is not answered in time, and made again for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    Clock,
    backoff::{Backoff, random},
    link::{Link, LinkError, Push, Server},
    link_log::LinkLog,
    receive::Receiver,
};
use crate::{
    Event, EventSink, GapCause,
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
    pub(super) server: Server,
    pub(super) channels: Channels,
    pub(super) node_prefix: Box<str>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) receiver: Arc<Receiver>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) connect_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) ping_timeout: Duration,
    pub(super) log: LinkLog,
}

enum Ended {
    Shutdown,
    Lost(String),
}

/// What a command on the link came to.
enum Outcome {
    Confirmed(CommandId),
    Pong,
    Failed(String),
}

type InFlight = FuturesUnordered<BoxFuture<'static, Outcome>>;

impl Subscriber {
    /// Keeps the link up until shutdown.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut was_up = false;
        while !*self.shutdown.borrow() {
            let lost = Arc::new(Notify::new());
            match self.connect(Arc::clone(&lost)).await {
                None => return,
                Some(Ok(link)) => {
                    self.log.up();
                    if std::mem::replace(&mut was_up, true) {
                        self.counters.reconnects.increment();
                    }
                    let since = Instant::now();
                    let ended = self.serve(link, &lost).await;
                    backoff.link_lasted(since.elapsed());
                    let Ended::Lost(reason) = ended else { return };
                    self.log.lost(&reason);
                    self.sink.deliver(Event::LinkLost { reason });
                }
                Some(Err(error)) => self.log.failed(&error),
            }
            let wait = tokio::time::sleep(backoff.wait(random()));
            tokio::select! {
                () = wait => {}
                _ = self.shutdown.changed() => {}
            }
        }
    }

    /// `None`: shutting down.
    async fn connect(&mut self, lost: Arc<Notify>) -> Option<Result<Link, LinkError>> {
        let receiver = Arc::clone(&self.receiver);
        let on_push = move |push: Push<'_>| match push {
            Push::Message { channel, payload } => receiver.receive(channel, payload),
            Push::Disconnected => lost.notify_one(),
        };
        tokio::select! {
            link = self.server.connect(self.connect_timeout, None, on_push) => Some(link),
            _ = self.shutdown.changed() => None,
        }
    }

    async fn serve(&mut self, link: Link, lost: &Notify) -> Ended {
        self.subscriptions.interest.lock().connected();
        self.subscriptions.link_up.store(true, Ordering::Release);
        let ended = self.drive(link, lost).await;
        self.subscriptions.link_up.store(false, Ordering::Release);
        self.subscriptions.interest.lock().disconnected(self.clock.now_ms());
        ended
    }

    async fn drive(&mut self, link: Link, lost: &Notify) -> Ended {
        let mut in_flight = InFlight::new();
        let mut ping = tokio::time::interval(self.ping_interval);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ping_in_flight = false;
        loop {
            if let Err(reason) = self.act(&link, &in_flight) {
                return Ended::Lost(reason);
            }
            let wake_ms = self.subscriptions.interest.lock().next_deadline_ms();
            tokio::select! {
                biased;
                () = lost.notified() => return Ended::Lost("the server closed the connection".to_owned()),
                _ = self.shutdown.changed() => return Ended::Shutdown,
                Some(outcome) = in_flight.next() => match outcome {
                    Outcome::Confirmed(id) => {
                        let now_ms = self.clock.now_ms();
                        self.subscriptions.interest.lock().confirmed(now_ms, id);
                    }
                    Outcome::Pong => ping_in_flight = false,
                    Outcome::Failed(reason) => return Ended::Lost(reason),
                },
                () = self.subscriptions.changed.notified() => {}
                () = self.clock.sleep_until(wake_ms) => {}
                _ = ping.tick() => {
                    if !std::mem::replace(&mut ping_in_flight, true) {
                        in_flight.push(send_ping(link.clone(), self.ping_timeout).boxed());
                    }
                }
            }
        }
    }

    /// Does everything that is to be done now.
    fn act(&self, link: &Link, in_flight: &InFlight) -> Result<(), String> {
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
                    self.counters.gaps.increment();
                    tracing::warn!(
                        duration_ms,
                        "messages of other nodes may be missing; all subscriptions are back"
                    );
                    self.sink.deliver(Event::Gap { cause: GapCause::Reconnected, duration_ms });
                }
                Some(Action::AbandonLink) => {
                    return Err("subscriptions were not confirmed in time".to_owned());
                }
            }
        }
    }

    fn channel_name(&self, target: &Target) -> String {
        match target {
            Target::Everyone { namespace } => self.channels.everyone(namespace),
            Target::OwnRooms { namespace } => self.channels.rooms_starting_with(namespace, &self.node_prefix),
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

async fn send_ping(mut link: Link, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, link.ping()).await {
        Ok(Ok(())) => Outcome::Pong,
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::Failed(format!("no answer to PING within {} ms", timeout.as_millis())),
    }
}
