//! The engine over Redis pub/sub, in the wire format of the classic Socket.IO Redis adapter (wire.md 3.1). Redis must be
//! version 6 or newer (RESP3).
//!
//! Two links, each with a task and a [`connector`] that makes it again for ever: [`publish`] sends, [`subscribe`]
//! receives. What is wanted and what is confirmed is known by the pure [`crate::interest`]; the [`driver`] only makes
//! connections and frames, because the reconnecting that drivers have loses subscriptions quietly.
//! Messages go from the subscribe link's reader through [`receive`] straight to the sink; requests between nodes and their answers are the matter of [`exchange`],
//! who else is there is that of [`nodes`], tokens that count no more that of [`revocations`], and how many connections a
//! user has that of [`user_counts`].

mod backoff;
mod config;
mod connector;
mod driver;
mod endpoint;
mod exchange;
pub mod inspect;
mod key_access;
mod link_log;
mod log_bound;
mod nodes;
mod publish;
mod receive;
mod revocation_reading;
mod revocation_set;
mod revocations;
mod subscribe;
mod tls;
mod topology;
mod user_counts;

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

pub use config::{RedisConfig, StartError};
pub use driver::RedisDriver;
pub(crate) use driver::{LinkError, Outbound, Timeouts};
pub use endpoint::{Address, Endpoint, EndpointError, Login};
pub use tls::{TlsError, TlsIdentity, TlsSettings};
pub use topology::Servers;

use crate::{
    Answers, Broadcast, Engine, EngineFuture, EngineMetrics, Event, EventSink, NodeInfo, NodeTargets,
    PublishError, Request, RequestError, RevocationChange, SendError, SubscriberId,
    counters::Counters,
    interest::{Interest, InterestConfig, Subscription, Target},
    wire::{self, Channels, Limits},
};
use connector::Connector;
use exchange::Exchange;
use key_access::KeyAccess;
use link_log::LinkLog;
use log_bound::LogBound;
use nodes::{Nodes, NodesSpec};
use publish::{PublishQueue, Publisher, Traffic};
use receive::Receiver;
use revocations::RevocationKeeper;
use subscribe::{Subscriber, Subscriptions};
use topology::{Census, Resolver};
use user_counts::UserCounts;

/// Lines in the log about what others send, of each kind.
const MAX_LINES_LOGGED: u32 = 5;
const LOG_WINDOW_MS: u64 = 10_000;

/// A node's engine on Redis. Dropping it stops its tasks, as [`Engine::shutdown`] does.
pub struct RedisEngine {
    uid: Box<str>,
    channels: Channels,
    limits: Limits,
    queue: Arc<PublishQueue>,
    exchange: Arc<Exchange>,
    nodes: Arc<Nodes>,
    key_access: Arc<KeyAccess>,
    revocations: Arc<RevocationKeeper>,
    user_counts: Arc<UserCounts>,
    subscriptions: Arc<Subscriptions>,
    sink: Arc<dyn EventSink>,
    counters: Arc<Counters>,
    clock: Clock,
    shutdown: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl RedisEngine {
    /// Starts the engine's tasks on the current tokio runtime and returns at once; the links come up when Redis is
    /// there, and come back whenever it is.
    ///
    /// # Errors
    /// Only for settings that can never work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(config: RedisConfig, sink: Arc<dyn EventSink>) -> Result<Arc<Self>, StartError> {
        config.check()?;
        let resolver = Arc::new(Resolver::new(&config)?);
        let clock = Clock::start();
        let channels = Channels::new(&config.prefix);
        let counters = Arc::new(Counters::default());
        let queue = Arc::new(PublishQueue::new(config.max_publish_queue_bytes, Arc::clone(&counters)));
        let subscriptions = Arc::new(Subscriptions {
            interest: Mutex::new(Interest::new(interest_config(&config))),
            changed: tokio::sync::Notify::new(),
            link_up: AtomicBool::new(false),
        });
        let (shutdown, stopping) = watch::channel(false);
        let connector = |link, response| {
            let log = LinkLog::new(link, resolver.to_string(), clock);
            let timeouts = Timeouts { connect: config.connect_timeout, response };
            Connector::new(config.driver, Arc::clone(&resolver), timeouts, stopping.clone(), log)
        };
        let publisher = Publisher {
            connector: connector("publish", Some(config.publish_timeout)),
            queue: Arc::clone(&queue),
            publish_timeout: config.publish_timeout,
            ping_interval: config.ping_interval,
        };
        let exchange = Arc::new(Exchange {
            uid: config.uid.as_str().into(),
            channels: channels.clone(),
            limits: config.limits,
            queue: Arc::clone(&queue),
            sink: Arc::clone(&sink),
            counters: Arc::clone(&counters),
            census: Census::new(Arc::clone(&resolver), config.driver, config.count_timeout),
            answer_timeout: config.answer_timeout,
            clock,
            cut_log: Mutex::new(LogBound::new(MAX_LINES_LOGGED, LOG_WINDOW_MS)),
            pending: exchange::none_pending(),
        });
        let nodes = Arc::new(Nodes::new(NodesSpec {
            name: config.uid.clone(),
            version: config.version,
            start: backoff::random().into(),
            id_key: config.id_key,
            channels: channels.clone(),
            hello_interval: config.hello_interval,
            queue: Arc::clone(&queue),
            sink: Arc::clone(&sink),
            clock,
            name_log: LogBound::new(MAX_LINES_LOGGED, LOG_WINDOW_MS),
        }));
        let key_access = Arc::<KeyAccess>::default();
        let (revocations, changes) = RevocationKeeper::new(
            &config.prefix,
            Arc::clone(&queue),
            Arc::clone(&key_access),
            Arc::clone(&sink),
            Arc::clone(&counters),
        );
        let revocations = Arc::new(revocations);
        let (user_counts, waiting) = UserCounts::new(
            &config.uid,
            &config.prefix,
            Arc::clone(&queue),
            Arc::clone(&key_access),
            Arc::clone(&nodes),
        );
        let user_counts = Arc::new(user_counts);
        let receiver = Receiver {
            nodes: Arc::clone(&nodes),
            revocations: Arc::clone(&revocations),
            python_channel: config.python_channel.as_deref().unwrap_or_default().into(),
            exchange: Arc::clone(&exchange),
            uid: config.uid.as_str().into(),
            channels: channels.clone(),
            limits: config.limits,
            sink: Arc::clone(&sink),
            counters: Arc::clone(&counters),
            clock,
            malformed_log: Mutex::new(LogBound::new(MAX_LINES_LOGGED, LOG_WINDOW_MS)),
        };
        let subscriber = Subscriber {
            connector: connector("subscribe", None),
            channels: channels.clone(),
            node_prefix: config.node_prefix.as_str().into(),
            subscriptions: Arc::clone(&subscriptions),
            receiver: Arc::new(receiver),
            nodes: Arc::clone(&nodes),
            sink: Arc::clone(&sink),
            counters: Arc::clone(&counters),
            clock,
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
        };
        let hellos = Arc::clone(&nodes).run(stopping.clone());
        let mut tasks = vec![
            tokio::spawn(publisher.run()),
            tokio::spawn(subscriber.run()),
            tokio::spawn(hellos),
            tokio::spawn(Arc::clone(&revocations).run(changes, stopping.clone())),
            tokio::spawn(Arc::clone(&user_counts).run(waiting, stopping.clone())),
        ];
        if resolver.changes() {
            tasks.push(tokio::spawn(watch_until(stopping, resolver)));
        }
        Ok(Arc::new(Self {
            uid: config.uid.into(),
            channels,
            limits: config.limits,
            queue,
            exchange,
            nodes,
            key_access,
            revocations,
            user_counts,
            subscriptions,
            sink,
            counters,
            clock,
            shutdown,
            tasks: Mutex::new(tasks),
        }))
    }

    fn enqueue(&self, broadcast: &Broadcast) -> Result<publish::Published, PublishError> {
        let payload = wire::encode_tuple(&self.uid, broadcast, &self.limits)
            .map_err(|error| PublishError::Invalid(error.to_string()))?;
        let channel = self.channels.publish(&broadcast.namespace, &broadcast.rooms);
        self.queue.push(Outbound::new(channel, payload), Traffic::Published)
    }

    fn enqueue_message(&self, to: NodeTargets<'_>, payload: Bytes) -> Result<publish::Published, SendError> {
        let limit = self.limits.max_message_bytes;
        if payload.len() > limit {
            return Err(SendError::TooLarge { limit });
        }
        let outbound = Outbound {
            channel: self.channels.node(to.first()),
            and_channel: to.second().map(|name| self.channels.node(name)),
            payload: payload.into(),
        };
        Ok(self.queue.push(outbound, Traffic::NodeMessage)?)
    }
}

impl Engine for RedisEngine {
    fn publish(&self, broadcast: Arc<Broadcast>) -> EngineFuture<Result<(), PublishError>> {
        match self.enqueue(&broadcast) {
            // A dropped answer means that the link broke.
            Ok(published) => {
                Box::pin(async move { published.await.unwrap_or(Err(PublishError::LinkDown)).map(drop) })
            }
            Err(error) => {
                self.counters.publish_failed.increment();
                Box::pin(ready(Err(error)))
            }
        }
    }

    fn send(&self, to: NodeTargets<'_>, payload: Bytes) -> EngineFuture<Result<(), SendError>> {
        let (nodes, first): (_, Box<str>) = (Arc::clone(&self.nodes), to.first().into());
        match self.enqueue_message(to, payload) {
            Ok(sent) => Box::pin(async move {
                match sent.await.unwrap_or(Err(PublishError::LinkDown)) {
                    Ok(0) => {
                        nodes.gone(&first);
                        Err(SendError::NoSuchNode)
                    }
                    sent => Ok(sent.map(drop)?),
                }
            }),
            Err(error) => {
                self.counters.publish_failed.increment();
                Box::pin(ready(Err(error)))
            }
        }
    }

    fn request(&self, request: Arc<Request>) -> EngineFuture<Result<Answers, RequestError>> {
        let counters = Arc::clone(&self.counters);
        let failed = move |error| {
            counters.requests_failed.increment();
            error
        };
        if !request.kind.is_command() {
            // Before, this node is not among those that are counted, and no answer arrives.
            if !self.subscriptions.interest.lock().takes_part(&Arc::from(&*request.namespace)) {
                return Box::pin(ready(Err(failed(PublishError::LinkDown.into()))));
            }
            let exchange = Arc::clone(&self.exchange);
            return Box::pin(async move { exchange.ask(request).await.map_err(failed) });
        }
        match self.exchange.command(&request) {
            Ok(published) => Box::pin(async move {
                let published = published.await.unwrap_or(Err(PublishError::LinkDown));
                published.map(|_| Answers::default()).map_err(|error| failed(error.into()))
            }),
            Err(error) => Box::pin(ready(Err(failed(error)))),
        }
    }

    fn subscribe(&self, subscriber: SubscriberId, namespace: &Arc<str>, room: &Arc<str>) {
        let subscription = self.subscriptions.interest.lock().subscribe(subscriber, namespace, room);
        match subscription {
            Subscription::Pending => self.subscriptions.changed.notify_one(),
            Subscription::Confirmed => {
                let (namespace, room) = (Arc::clone(namespace), Arc::clone(room));
                self.sink.deliver(Event::Subscribed { subscriber, namespace, room });
            }
        }
    }

    fn unsubscribe(&self, subscriber: SubscriberId, namespace: &Arc<str>, room: &Arc<str>) {
        // No need to wake the task: it looks every second, and the room is kept for longer.
        let now_ms = self.clock.now_ms();
        self.subscriptions.interest.lock().unsubscribe(now_ms, subscriber, namespace, room);
    }

    fn revoke(&self, change: RevocationChange) -> EngineFuture<Result<(), PublishError>> {
        self.revocations.tell(change)
    }

    fn count_user(&self, user: &Arc<str>, own: u32) -> EngineFuture<Result<u64, PublishError>> {
        self.user_counts.count(user, own)
    }

    fn tell_user_count(&self, user: &Arc<str>, own: u32) -> Result<(), PublishError> {
        self.user_counts.write(user, own)
    }

    fn name(&self) -> &str {
        &self.uid
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.nodes.list()
    }

    fn id_key(&self, node: &str) -> Option<u128> {
        self.nodes.id_key(node)
    }

    fn metrics(&self) -> EngineMetrics {
        let (probe_age_us, probe_round_trip_us) = self.nodes.probe_us();
        let interest = self.subscriptions.interest.lock();
        EngineMetrics {
            probe_age_us,
            probe_round_trip_us,
            publish_link_up: self.queue.is_link_up().into(),
            subscribe_link_up: self.subscriptions.link_up.load(Ordering::Acquire).into(),
            base_subscribed: interest.is_base_confirmed().into(),
            ever_subscribed: interest.was_base_confirmed().into(),
            subscriptions_desired: interest.desired() as u64,
            subscriptions_confirmed: interest.confirmed_count() as u64,
            subscriptions_idle: interest.idle_count() as u64,
            announced: self.nodes.was_heard().into(),
            keys_denied: self.key_access.is_denied().into(),
            nodes: self.nodes.count() as u64,
            requests_pending: self.exchange.pending_count() as u64,
            ..self.counters.read()
        }
    }

    fn shutdown(&self) -> EngineFuture<()> {
        // It is queued behind all that was published, and sent before the link is closed.
        self.nodes.say_goodbye();
        self.shutdown.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        Box::pin(async move {
            for task in tasks {
                // A task that panicked has stopped, too.
                let _ = task.await;
            }
        })
    }
}

impl Drop for RedisEngine {
    fn drop(&mut self) {
        self.shutdown.send_replace(true);
    }
}

async fn watch_until(mut stopping: watch::Receiver<bool>, resolver: Arc<Resolver>) {
    tokio::select! {
        () = resolver.watch() => {}
        // An error means that the engine is gone, which is the same.
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

fn interest_config(config: &RedisConfig) -> InterestConfig {
    let mut always = vec![Target::Notices, Target::NodeMessages, Target::Revocations];
    always.extend(config.python_channel.as_ref().map(|_| Target::Python));
    InterestConfig {
        namespaces: config.namespaces.iter().map(|namespace| Arc::from(namespace.as_str())).collect(),
        node_prefix: config.node_prefix.as_str().into(),
        requests: true,
        always,
        unsubscribe_delay_ms: setting_ms(config.unsubscribe_delay),
        max_idle: config.max_idle_subscriptions,
        command_timeout_ms: setting_ms(config.subscribe_timeout),
    }
}

/// A setting beyond 49 days is as good as for ever, and sums of such times don't overflow.
fn setting_ms(duration: Duration) -> u64 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).into()
}

/// Why the use of a link ended.
enum Ended {
    Shutdown,
    Lost(String),
}

impl Ended {
    fn master_moved() -> Self {
        Self::Lost("another server is the master now".to_owned())
    }

    fn connection_closed() -> Self {
        Self::Lost("the server closed the connection".to_owned())
    }
}

/// Milliseconds since the engine's start.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now() }
    }

    fn now_ms(self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn now_us(self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Without a time, for ever.
    async fn sleep_until(self, time_ms: Option<u64>) {
        let Some(time_ms) = time_ms else { return std::future::pending().await };
        tokio::time::sleep_until((self.start + Duration::from_millis(time_ms)).into()).await;
    }
}
