//! The publish link: a bounded queue, and the task that empties it into Redis.
//!
//! Owns what is to be published and its own connection. A publish enters the queue before the call returns, and the
//! task sends whatever is queued as one batch, many batches in flight, in order. Nothing is ever sent twice: what was
//! queued or in flight when the link broke has failed.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{
    Ended,
    connector::Connector,
    driver::{Link, LinkError, Outbound},
};
use crate::{PublishError, counters::Counters};

/// Messages of one batch.
const MAX_BATCH: usize = 128;
/// A batch that has reached this takes no more messages.
const FULL_BATCH_BYTES: usize = 256 << 10;
/// What a message takes beside its channel and payload, about; so that many small ones are bounded, too.
const MESSAGE_OVERHEAD_BYTES: usize = 128;
/// Batches whose answers are awaited.
const MAX_BATCHES_IN_FLIGHT: usize = 32;

/// Answer to one publish: how many subscriptions got it.
pub(super) type Published = oneshot::Receiver<Result<u64, PublishError>>;

/// What a message is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Broadcasts, requests, answers.
    Published,
    /// To one or two nodes.
    NodeMessage,
    /// What the node tells of itself; not counted, as it is not on anybody's behalf.
    Notice,
}

impl Traffic {
    fn count(self, counters: &Counters, result: &Result<u64, PublishError>) {
        let figure = match (self, result) {
            (Self::Notice, _) => return,
            (_, Err(_)) => &counters.publish_failed,
            (Self::Published, Ok(_)) => &counters.published,
            (Self::NodeMessage, Ok(0)) => &counters.node_messages_unreachable,
            (Self::NodeMessage, Ok(_)) => &counters.node_messages_sent,
        };
        figure.increment();
    }
}

/// A message that is queued or in flight; counted as failed when it is dropped without an answer.
struct Message {
    outbound: Outbound,
    traffic: Traffic,
    answer: Option<oneshot::Sender<Result<u64, PublishError>>>,
    totals: Arc<Totals>,
}

impl Message {
    fn bytes(&self) -> usize {
        message_bytes(&self.outbound)
    }

    fn answer(mut self, result: Result<u64, PublishError>) {
        let Some(answer) = self.answer.take() else { return };
        self.traffic.count(&self.totals.counters, &result);
        // The caller may not wait for it.
        let _ = answer.send(result);
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.totals.bytes.fetch_sub(self.bytes(), Ordering::Relaxed);
        if self.answer.is_some() {
            self.traffic.count(&self.totals.counters, &Err(PublishError::LinkDown));
        }
    }
}

fn message_bytes(Outbound { channel, and_channel, payload }: &Outbound) -> usize {
    let copies = 1 + usize::from(and_channel.is_some());
    copies * (payload.len() + MESSAGE_OVERHEAD_BYTES)
        + channel.len()
        + and_channel.as_ref().map_or(0, String::len)
}

/// What every message counts in.
struct Totals {
    /// Queued and in flight.
    bytes: AtomicUsize,
    counters: Arc<Counters>,
}

/// What callers and the task share.
pub(super) struct PublishQueue {
    state: Mutex<QueueState>,
    totals: Arc<Totals>,
    max_bytes: usize,
    filled: Notify,
}

#[derive(Default)]
struct QueueState {
    link_up: bool,
    /// For commands that are no messages; there while the link is up.
    link: Option<Link>,
    messages: VecDeque<Message>,
}

impl PublishQueue {
    pub(super) fn new(max_bytes: usize, counters: Arc<Counters>) -> Self {
        let totals = Arc::new(Totals { bytes: AtomicUsize::new(0), counters });
        Self { state: Mutex::default(), totals, max_bytes, filled: Notify::new() }
    }

    pub(super) fn is_link_up(&self) -> bool {
        self.state.lock().link_up
    }

    /// For commands that are no messages; while the link is up.
    pub(super) fn link(&self) -> Option<Link> {
        self.state.lock().link.clone()
    }

    /// Queues a message, or says at once why not.
    pub(super) fn push(&self, outbound: Outbound, traffic: Traffic) -> Result<Published, PublishError> {
        let mut state = self.state.lock();
        if !state.link_up {
            return Err(PublishError::LinkDown);
        }
        let bytes = message_bytes(&outbound);
        // Only pushes add, and they hold the lock.
        if self.totals.bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.max_bytes {
            return Err(PublishError::QueueFull);
        }
        self.totals.bytes.fetch_add(bytes, Ordering::Relaxed);
        let (answer, published) = oneshot::channel();
        let totals = Arc::clone(&self.totals);
        state.messages.push_back(Message { outbound, traffic, answer: Some(answer), totals });
        drop(state);
        self.filled.notify_one();
        Ok(published)
    }

    fn take_batch(&self) -> Vec<Message> {
        let mut state = self.state.lock();
        let mut bytes = 0;
        let in_batch = |message: &&Message| {
            let fits = bytes < FULL_BATCH_BYTES;
            bytes += message.bytes();
            fits
        };
        let count = state.messages.iter().take(MAX_BATCH).take_while(in_batch).count();
        state.messages.drain(..count).collect()
    }

    /// With the link down, nothing more comes in, and what is queued fails: its answers are dropped.
    fn set_link(&self, link: Option<Link>) {
        let mut state = self.state.lock();
        state.link_up = link.is_some();
        if link.is_none() {
            state.messages.clear();
        }
        state.link = link;
    }

    /// Lets nothing more in, but what is queued stays.
    fn close(&self) {
        self.state.lock().link_up = false;
    }
}

/// The task of the publish link.
pub(super) struct Publisher {
    pub(super) connector: Connector,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) publish_timeout: Duration,
    pub(super) ping_interval: Duration,
}

type Answer = Result<(), LinkError>;

impl Publisher {
    /// Keeps the link up until shutdown.
    pub(super) async fn run(mut self) {
        while let Some(link) = self.connector.connect(|_, _| {}).await {
            self.queue.set_link(Some(link.clone()));
            let ended = self.serve(&link).await;
            self.queue.set_link(None);
            let Ended::Lost(reason) = ended else { return };
            self.connector.lost(&reason);
        }
    }

    async fn serve(&mut self, link: &Link) -> Ended {
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
        let mut ping = tokio::time::interval(self.ping_interval);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closing = self.connector.is_shutdown();
        let check = self.connector.check();
        let mut moved = pin!(self.connector.moved());
        loop {
            while in_flight.len() < MAX_BATCHES_IN_FLIGHT {
                let batch = self.queue.take_batch();
                if batch.is_empty() {
                    break;
                }
                start(&in_flight, send_batch(link.clone(), batch, self.publish_timeout));
            }
            if closing && in_flight.is_empty() {
                return Ended::Shutdown;
            }
            tokio::select! {
                biased;
                () = link.lost() => return Ended::connection_closed(),
                () = &mut moved => return Ended::master_moved(),
                // Before the answers, as under load there is always one.
                () = self.connector.shutdown(), if !closing => {
                    closing = true;
                    self.queue.close();
                }
                Some(answer) = in_flight.next() => {
                    if let Err(error) = answer {
                        return Ended::Lost(error.to_string());
                    }
                }
                () = self.queue.filled.notified() => {}
                _ = ping.tick() => {
                    if in_flight.is_empty() {
                        let mut link = link.clone();
                        start(&in_flight, async move { check.run(&mut link).await });
                    }
                }
            }
        }
    }
}

/// Polls once, which is what puts the commands into the connection's own queue: so the order is that of the calls. That
/// queue has room for all that may be in flight; but a task that has used up tokio's budget would find it full all the
/// same, and then whichever command is polled first would go first. So commands run outside of the budget.
fn start(
    in_flight: &FuturesUnordered<BoxFuture<'static, Answer>>,
    command: impl Future<Output = Answer> + Send + 'static,
) {
    let mut command = tokio::task::unconstrained(command).boxed();
    match (&mut command).now_or_never() {
        Some(answer) => in_flight.push(std::future::ready(answer).boxed()),
        None => in_flight.push(command),
    }
}

async fn send_batch(mut link: Link, batch: Vec<Message>, timeout: Duration) -> Answer {
    let began = Instant::now();
    match link.publish(batch.iter().map(|message| &message.outbound)).await {
        Ok(answers) => {
            if let Some(first) = batch.first() {
                first.totals.counters.publish_durations.observe(began.elapsed());
            }
            for (message, answer) in batch.into_iter().zip(answers) {
                message.answer(answer.map_err(PublishError::Refused));
            }
            Ok(())
        }
        Err(LinkError::Timeout) => {
            let reason = format!("no answer within {} ms", timeout.as_millis());
            for message in batch {
                message.answer(Err(PublishError::Refused(reason.clone())));
            }
            Err(LinkError::Timeout)
        }
        // The answers are dropped, which means that the link is down.
        Err(error) => Err(error),
    }
}
