//! A shard: one thread with a current-thread runtime, and the loop that drives its socket set, inbox, timers and
//! writes. What the shard does with all that is its [`Service`], which only this thread touches.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use axum::body::Body;
use broadgate_protocol::websocket::{Decoder, Event, Role};
use hyper::{Request, Response, body::Incoming};
use rustix::event::epoll;
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, watch},
    task::LocalSet,
};

use super::{Inbox, Mailbox, acceptor::Place, inbox::Delivery};
use crate::{
    net::{ClientAddress, CloseCause, ConnectionId, OpenError, Readiness, SocketSet, http, open},
    telemetry::{ClientLog, ShardCounters},
};

pub use crate::net::http::HttpSettings;

/// Messages taken from the inbox in one turn. All that is taken is written with one system call per socket.
const MESSAGES_PER_TURN: usize = 1024;
/// Connections written to in one turn, so that a broadcast to a big room does not keep reads and requests waiting:
/// 512 sends are about 2 ms.
const WRITES_PER_TURN: usize = 512;

/// The registered close code for a server that has no room right now.
const CLOSE_TRY_AGAIN_LATER: u16 = 1013;

/// What runs on a shard. All calls come from the shard's thread, one at a time; none may block.
pub trait Service: Sized + 'static {
    /// What other threads send to it.
    type Message: Send + 'static;
    /// Why a request gets no answer: the connection is dropped.
    type Refusal: std::error::Error + Send + Sync + 'static;

    /// The shard's WebSockets.
    fn sockets(&mut self) -> &mut SocketSet;
    /// Takes all messages of a turn, in the order in which they came.
    fn on_messages(&mut self, messages: &mut Vec<Self::Message>, now_ms: u64);
    /// A peer's message or control frame. `tag` is what the connection was put in with.
    fn on_event(&mut self, id: ConnectionId, tag: u32, event: Event<'_>, now_ms: u64);
    /// A peer sent so many frames that are no message yet and hold next to nothing.
    fn on_fragments(&mut self, _id: ConnectionId, _tag: u32, _fragments: u32, _now_ms: u64) {}
    /// A connection ended without [`SocketSet::close`] or [`SocketSet::abort`]; it is out of the set.
    fn on_closed(&mut self, id: ConnectionId, tag: u32, cause: CloseCause, now_ms: u64);
    /// The time of [`Self::next_timer_ms`] has come.
    fn on_timers(&mut self, now_ms: u64);
    /// When the service wants [`Self::on_timers`]; it may come later, never earlier.
    fn next_timer_ms(&self) -> Option<u64>;
    /// Everything of this turn was taken in; the sockets are flushed next.
    fn on_turn_end(&mut self, now_ms: u64);
    /// After a stop was asked for: is nothing open any more?
    fn is_drained(&mut self) -> bool;
    /// Answers a request of the public listener.
    fn respond(
        shard: Shard<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Response<Body>, Self::Refusal>>;
}

struct Inner<S: Service> {
    service: RefCell<S>,
    wake: Notify,
    started: Instant,
    /// When the driver wakes by itself.
    sleeps_until_ms: Cell<u64>,
    /// HTTP connections that are being served.
    http_connections: Cell<usize>,
    /// Tells them to end after the answer that is due.
    stopping: watch::Sender<bool>,
    /// Bounds the lines about clients' faults before there is a session.
    client_log: RefCell<ClientLog>,
}

/// A handle on a shard for the tasks of its own thread.
pub struct Shard<S: Service>(Rc<Inner<S>>);

impl<S: Service> Clone for Shard<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: Service> Shard<S> {
    /// Calls the service; what it has queued is written in the shard's next turn.
    pub fn with<T>(&self, call: impl FnOnce(&mut S, u64) -> T) -> T {
        let mut service = self.0.service.borrow_mut();
        let result = call(&mut service, self.now_ms());
        let sooner = service.next_timer_ms().is_some_and(|at_ms| at_ms < self.0.sleeps_until_ms.get());
        if sooner || service.sockets().has_dirty() || service.sockets().has_unmeasured() {
            self.0.wake.notify_one();
        }
        result
    }

    /// Looks at the service.
    pub fn peek<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.0.service.borrow())
    }

    fn count(&self, count: impl FnOnce(&ShardCounters)) {
        count(self.0.service.borrow_mut().sockets().counters());
    }

    /// May a line about a fault of a client be written now?
    pub fn admits_log_line(&self) -> bool {
        let mut service = self.0.service.borrow_mut();
        self.0.client_log.borrow_mut().admit(self.now_ms(), service.sockets().counters())
    }

    /// A connection ended before HTTP began.
    fn refused(&self, client: IpAddr, error: &OpenError) {
        self.count(|counters| {
            if let Some(counter) = error.counter(counters) {
                counter.add(1);
            }
        });
        if !error.is_logged() && self.admits_log_line() {
            tracing::info!(%client, %error, "a connection ended before HTTP");
        }
    }

    /// Was a stop asked for, and is nothing open any more?
    fn is_drained(&self) -> bool {
        *self.0.stopping.borrow()
            && self.0.http_connections.get() == 0
            && self.0.service.borrow_mut().is_drained()
    }

    /// Milliseconds since the shard started; the only clock of everything below.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).expect("584 million years")
    }
}

/// Hands a connection the bytes that came along behind its upgrade request.
pub fn feed<S: Service>(service: &mut S, id: ConnectionId, mut early: Vec<u8>, now_ms: u64) {
    if early.is_empty() {
        return;
    }
    if let Some(decoder) = service.sockets().take_decoder(id) {
        decode(service, id, decoder, &mut early, now_ms);
    }
}

/// How to make a shard.
#[derive(Clone)]
pub struct ShardSpec {
    /// Its number, for the thread's name.
    pub number: usize,
    /// Bounds of its HTTP connections.
    pub http: HttpSettings,
}

/// A running shard, as other threads see it.
pub struct ShardThread<M> {
    /// The way in.
    pub inbox: Inbox<M>,
    thread: thread::JoinHandle<()>,
}

impl<M: Send + 'static> ShardThread<M> {
    /// Lets the thread end once its service is drained.
    pub fn stop(&self) {
        self.inbox.deliver(Delivery::Stop);
    }

    /// Has the thread ended?
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts a shard's thread; `build` makes its service there, before this returns.
///
/// # Errors
/// The thread could not be started, or `build` failed.
pub fn spawn<S: Service>(
    spec: ShardSpec,
    mailbox: Mailbox<S::Message>,
    build: impl FnOnce() -> io::Result<S> + Send + 'static,
) -> io::Result<ShardThread<S::Message>> {
    let inbox = mailbox.inbox.clone();
    let (built, result) = std::sync::mpsc::channel();
    let thread = thread::Builder::new().name(format!("shard-{}", spec.number)).spawn(move || {
        let (runtime, shard, watch) = match start(spec.http.max_log_lines_per_second, build) {
            Ok(started) => started,
            Err(error) => {
                // The thread that waits for this is the one that called.
                let _told = built.send(Err(error));
                return;
            }
        };
        let _told = built.send(Ok(()));
        if let Err(error) = LocalSet::new().block_on(&runtime, drive(shard, watch, mailbox, spec.http)) {
            tracing::error!(%error, shard = spec.number, "a shard ended");
        }
    })?;
    result
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the thread of a shard panicked as it started")))?;
    Ok(ShardThread { inbox, thread })
}

fn start<S: Service>(
    max_log_lines_per_second: u32,
    build: impl FnOnce() -> io::Result<S>,
) -> io::Result<(tokio::runtime::Runtime, Shard<S>, OwnedFd)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut service = build()?;
    let watch = service.sockets().watch()?;
    let shard = Shard(Rc::new(Inner {
        service: RefCell::new(service),
        wake: Notify::new(),
        started: Instant::now(),
        sleeps_until_ms: Cell::new(u64::MAX),
        http_connections: Cell::new(0),
        stopping: watch::Sender::new(false),
        client_log: RefCell::new(ClientLog::new(max_log_lines_per_second)),
    }));
    Ok((runtime, shard, watch))
}

/// The buffers that a shard uses again in each turn.
struct Scratch<M> {
    input: Box<[u8]>,
    events: Vec<epoll::Event>,
    deliveries: Vec<Delivery<M>>,
    messages: Vec<M>,
}

async fn drive<S: Service>(
    shard: Shard<S>,
    watch: OwnedFd,
    mailbox: Mailbox<S::Message>,
    http: HttpSettings,
) -> io::Result<()> {
    let Mailbox { inbox, mut receiver } = mailbox;
    let watch = watch_set(watch)?;
    let mut scratch = Scratch {
        input: SocketSet::read_buffer(),
        events: Vec::new(),
        deliveries: Vec::with_capacity(MESSAGES_PER_TURN),
        messages: Vec::with_capacity(MESSAGES_PER_TURN),
    };
    // Is there more to do at once? Then the other tasks of the thread (HTTP, answers that come later) get their turn and
    // nobody waits: a peer that never stops sending would otherwise keep this task running for ever.
    let mut busy = false;
    while !shard.is_drained() {
        let mut ready = None;
        if busy {
            tokio::task::yield_now().await;
        } else {
            tokio::select! {
                _ = receiver.recv_many(&mut scratch.deliveries, MESSAGES_PER_TURN) => {}
                guard = watch.readable() => ready = Some(guard?),
                () = shard.0.wake.notified() => {}
                () = sleep_until(&shard) => {}
            }
        }
        // What arrives while a big broadcast is being written joins the queues of those who still wait for it.
        while scratch.deliveries.len() < MESSAGES_PER_TURN
            && let Ok(delivery) = receiver.try_recv()
        {
            scratch.deliveries.push(delivery);
        }
        sort_out(&shard, &inbox, &mut scratch, &http);
        let sockets_were_ready = turn(&shard, &mut scratch);
        if let (Some(mut guard), false) = (ready, sockets_were_ready) {
            guard.clear_ready();
        }
        busy = sockets_were_ready || shard.0.service.borrow_mut().sockets().has_dirty();
    }
    Ok(())
}

/// Starts what was accepted, and collects what is for the service.
fn sort_out<S: Service>(
    shard: &Shard<S>,
    inbox: &Inbox<S::Message>,
    scratch: &mut Scratch<S::Message>,
    http: &HttpSettings,
) {
    for delivery in scratch.deliveries.drain(..) {
        match delivery {
            Delivery::Accepted(stream, peer, place) => serve_http(shard, stream, peer, place, http.clone()),
            Delivery::Message(message, bytes) => {
                inbox.taken(bytes);
                scratch.messages.push(message);
            }
            Delivery::Stop => {
                shard.0.stopping.send_replace(true);
            }
        }
    }
}

fn serve_http<S: Service>(
    shard: &Shard<S>,
    stream: TcpStream,
    peer: SocketAddr,
    mut place: Place,
    settings: HttpSettings,
) {
    let shard = shard.clone();
    shard.0.http_connections.update(|open| open + 1);
    let stopping = shard.0.stopping.subscribe();
    tokio::task::spawn_local(async move {
        serve_connection(&shard, stream, peer, &mut place, settings, stopping).await;
        drop(place);
        shard.0.http_connections.update(|open| open - 1);
        shard.0.wake.notify_one();
    });
}

async fn serve_connection<S: Service>(
    shard: &Shard<S>,
    stream: TcpStream,
    peer: SocketAddr,
    place: &mut Place,
    settings: HttpSettings,
    mut stopping: watch::Receiver<bool>,
) {
    let HttpSettings { header_timeout, proxies, tls, .. } = settings;
    let opened = tokio::select! {
        opened = open(stream, peer.ip(), &proxies, tls.as_ref(), header_timeout, place.address()) => opened,
        // It has not asked for anything yet.
        () = http::asked_to_stop(&mut stopping) => return,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return shard.refused(peer.ip(), &error),
    };
    shard.count(|counters| {
        counters.proxy_ok.add(u64::from(proxies.expects_header));
        counters.tls_ok.add(u64::from(tls.is_some()));
    });
    let respond = |mut request: Request<Incoming>| {
        let client = proxies.client(opened.peer, request.headers());
        request.extensions_mut().insert(ClientAddress(client));
        S::respond(shard.clone(), request, peer)
    };
    if http::serve(opened.stream, header_timeout, stopping, respond).await {
        shard.count(|counters| counters.limit_http_header_timeout.add(1));
    }
}

/// One turn: messages, ready sockets, timers, then the writes of all that came of it. True: sockets were ready, and
/// may be still.
fn turn<S: Service>(shard: &Shard<S>, scratch: &mut Scratch<S::Message>) -> bool {
    let now_ms = shard.now_ms();
    let mut service = shard.0.service.borrow_mut();
    let service = &mut *service;
    if !scratch.messages.is_empty() {
        service.on_messages(&mut scratch.messages, now_ms);
        scratch.messages.clear();
    }
    service.sockets().ready(&mut scratch.events);
    for event in &scratch.events {
        match service.sockets().serve(event, &mut scratch.input) {
            Readiness::Input { id, decoder, bytes } => {
                decode(service, id, decoder, &mut scratch.input[..bytes], now_ms);
            }
            Readiness::Ended { id, tag, cause } => service.on_closed(id, tag, cause, now_ms),
            Readiness::Nothing => {}
        }
    }
    if service.next_timer_ms().is_some_and(|at_ms| at_ms <= now_ms) {
        service.on_timers(now_ms);
    }
    service.sockets().expire(now_ms);
    service.on_turn_end(now_ms);
    service.sockets().flush(WRITES_PER_TURN);
    while let Some((id, tag)) = service.sockets().take_failed() {
        service.on_closed(id, tag, CloseCause::Error, now_ms);
    }
    service.sockets().measure(now_ms);
    !scratch.events.is_empty()
}

/// Hands the events in `input` to the service, until the input is used up or the connection is closed.
fn decode<S: Service>(
    service: &mut S,
    id: ConnectionId,
    mut decoder: Decoder,
    input: &mut [u8],
    now_ms: u64,
) {
    let (max_message_bytes, tag) = (service.sockets().max_message_bytes(), service.sockets().tag(id));
    let mut rest = input;
    loop {
        let is_used_up = match decoder.next(Role::Server, max_message_bytes, &mut rest) {
            Ok(None) => true,
            Ok(Some(event)) => {
                service.on_event(id, tag, event, now_ms);
                false
            }
            Err(violation) => {
                service.sockets().close(id, Some(violation.close_code()), now_ms);
                return service.on_closed(id, tag, CloseCause::Violation(violation.close_code()), now_ms);
            }
        };
        let fragments = decoder.take_tiny_fragments();
        if fragments > 0 {
            service.on_fragments(id, tag, fragments, now_ms);
        }
        if is_used_up {
            if !service.sockets().restore(id, decoder) {
                service.sockets().close(id, Some(CLOSE_TRY_AGAIN_LATER), now_ms);
                service.on_closed(id, tag, CloseCause::NoRoom, now_ms);
            }
            return;
        }
        if !service.sockets().is_open(id) {
            return;
        }
    }
}

/// Lets tokio wait for the set as for one descriptor.
#[expect(deprecated, reason = "an `OwnedFd` keeps the promise that the newer, unsafe constructor asks for")]
fn watch_set(set: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(set, tokio::io::Interest::READABLE)
}

async fn sleep_until<S: Service>(shard: &Shard<S>) {
    let next_ms = {
        let mut service = shard.0.service.borrow_mut();
        let expiry_ms = service.sockets().next_expiry_ms();
        match (service.next_timer_ms(), expiry_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    };
    shard.0.sleeps_until_ms.set(next_ms.unwrap_or(u64::MAX));
    match next_ms {
        Some(at_ms) => {
            tokio::time::sleep_until((shard.0.started + Duration::from_millis(at_ms)).into()).await;
        }
        None => std::future::pending().await,
    }
}
