//! A shard's socket set: an epoll set of its own, which tokio watches as one descriptor. Every WebSocket of the shard
//! lives here without a task, a timer or a buffer. Owned by the shard; reads into the shard's one buffer and writes
//! with one system call per socket and turn. What is different with TLS is in [`encrypted`].

mod encrypted;
mod writes;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
};

use broadgate_protocol::websocket::{self, Decoder};
use rustix::{
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown},
};
use slab::Slab;

use super::{
    connection::{CloseCause, Connection, ConnectionId, Phase},
    frame::{Frame, FrameArena, Outbox},
    stream::PeerStream,
};
use crate::telemetry::ShardCounters;
use encrypted::TlsSessions;
pub use writes::DeliveryPath;
use writes::{Peak, Unwritten};

/// One read of a socket takes at most this much; what is left comes with the next turn, so that no peer starves others.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Ready sockets taken in one turn.
const READY_PER_TURN: usize = 256;
/// Frames put into one vectored write (the kernel's own limit is 1024).
const SLICES_PER_WRITE: usize = 64;
/// How long a closing connection may take until it is cut.
const CLOSE_TIMEOUT_MS: u64 = 3_000;

/// Bounds of the set.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// Largest message of a peer.
    pub max_message_bytes: usize,
    /// Bytes that may wait for one peer.
    pub max_queued_bytes: usize,
    /// Bytes of incomplete messages that all peers of the shard together may leave here.
    pub max_inbound_buffer_bytes: usize,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits for the next flush.
    Queued,
    /// It was volatile and the peer is behind.
    Dropped,
    /// The peer is so far behind that its queue is full; the caller should cut it.
    Full,
    /// There is no such connection any more, or it is closing.
    Gone,
}

/// What one ready socket gave.
pub(crate) enum Readiness {
    /// `bytes` of input are in the buffer.
    Input { id: ConnectionId, decoder: Decoder, bytes: usize },
    /// The connection is over; it is taken out of the set already.
    Ended { id: ConnectionId, tag: u32, cause: CloseCause },
    /// Nothing for the layer above.
    Nothing,
}

/// See the module.
pub struct SocketSet {
    epoll: OwnedFd,
    connections: Slab<Connection>,
    tls: TlsSessions,
    arena: FrameArena,
    /// Connections with something to write, in the order in which they got it.
    dirty: VecDeque<ConnectionId>,
    /// Connections that failed while they were written to.
    failed: Vec<ConnectionId>,
    /// Closing connections with the time at which they are cut; in order, since the delay is the same for all.
    closing: VecDeque<(u64, ConnectionId)>,
    /// Broadcasts whose latency is measured once they are written.
    unwritten: Unwritten,
    queued_peak: Peak,
    next_generation: u32,
    limits: SocketLimits,
    counters: Arc<ShardCounters>,
}

impl SocketSet {
    /// Makes an empty set.
    ///
    /// # Errors
    /// The kernel refused an epoll descriptor.
    pub fn new(limits: SocketLimits, counters: Arc<ShardCounters>) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Slab::new(),
            tls: TlsSessions::default(),
            arena: FrameArena::default(),
            dirty: VecDeque::new(),
            failed: Vec::new(),
            closing: VecDeque::new(),
            unwritten: Unwritten::default(),
            queued_peak: Peak::default(),
            next_generation: 0,
            limits,
            counters,
        })
    }

    /// Of the shard.
    pub(crate) fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// A second handle on the set, for tokio to watch.
    pub(crate) fn watch(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// A buffer for [`Self::serve`], one per shard.
    pub(crate) fn read_buffer() -> Box<[u8]> {
        vec![0; READ_BUFFER_BYTES].into()
    }

    /// Connections in the set, closing ones included.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Is the set empty?
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Takes in a connected, non-blocking socket. Its events carry `tag`.
    ///
    /// # Errors
    /// The kernel refused to watch it; it is closed then.
    pub fn insert(&mut self, stream: PeerStream, tag: u32) -> io::Result<ConnectionId> {
        let PeerStream { socket, tls } = stream;
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.connections.insert(Connection::new(socket, generation, tag));
        let id =
            ConnectionId { index: u32::try_from(index).expect("fewer than 2^32 descriptors"), generation };
        let connection = &self.connections[index];
        if let Err(error) =
            epoll::add(&self.epoll, &connection.socket, EventData::new_u64(id.token()), EventFlags::IN)
        {
            self.connections.remove(index);
            return Err(error.into());
        }
        self.counters.websockets.add(1);
        if let Some(session) = tls {
            self.insert_session(id, session);
        }
        Ok(id)
    }

    /// Queues a frame for the next flush. `volatile`: rather drop it than let it wait behind a full kernel buffer.
    pub fn enqueue(&mut self, id: ConnectionId, frame: &Rc<Frame>, volatile: bool) -> Enqueued {
        let Some(connection) = self.connections.get_mut(id.index as usize) else { return Enqueued::Gone };
        if connection.generation != id.generation || connection.phase != Phase::Open {
            return Enqueued::Gone;
        }
        if volatile && connection.blocked {
            return Enqueued::Dropped;
        }
        if !connection.outbox.is_empty() && !self.has_room(id, frame.bytes().len()) {
            return Enqueued::Full;
        }
        let connection = &mut self.connections[id.index as usize];
        self.arena.push(&mut connection.outbox, frame);
        if !connection.dirty && !connection.blocked {
            connection.dirty = true;
            self.dirty.push_back(id);
        }
        Enqueued::Queued
    }

    /// May this much more wait for a connection? One frame always may, however large; what a turn has queued for a peer
    /// that reads is written first.
    fn has_room(&mut self, id: ConnectionId, bytes: usize) -> bool {
        let max_queued_bytes = self.limits.max_queued_bytes;
        let connection = &self.connections[id.index as usize];
        if connection.outbox.queued_bytes() + bytes <= max_queued_bytes {
            return true;
        }
        if connection.blocked {
            return false;
        }
        if !self.flush_one(id) {
            self.failed.push(id);
            return false;
        }
        let outbox = &self.connections[id.index as usize].outbox;
        outbox.is_empty() || outbox.queued_bytes() + bytes <= max_queued_bytes
    }

    /// Ends a connection in order: what is queued, then a close frame (without a code where `code` is `None`), then the
    /// TCP connection once the peer has ended its side too, or after three seconds. No more events come of it.
    pub fn close(&mut self, id: ConnectionId, code: Option<u16>, now_ms: u64) {
        let mut bytes = Vec::with_capacity(8);
        websocket::push_close(&mut bytes, code.map(|code| (code, "")));
        self.close_with(id, &Frame::new(bytes, 0), now_ms);
    }

    fn close_with(&mut self, id: ConnectionId, frame: &Rc<Frame>, now_ms: u64) {
        // Beyond the queue's bound on purpose: a close frame is small and the last one.
        let Some(connection) = self.open(id) else { return };
        connection.phase = Phase::Closing;
        let (blocked, dirty) = (connection.blocked, connection.dirty);
        connection.dirty = !blocked;
        let mut outbox = std::mem::replace(&mut connection.outbox, Outbox::new());
        self.arena.push(&mut outbox, frame);
        self.connections[id.index as usize].outbox = outbox;
        if !blocked && !dirty {
            self.dirty.push_back(id);
        }
        self.closing.push_back((now_ms + CLOSE_TIMEOUT_MS, id));
    }

    /// Cuts a connection at once; what is queued for it is lost and counted.
    pub fn abort(&mut self, id: ConnectionId) {
        self.remove(id);
    }

    /// Bytes that wait for a connection.
    pub fn queued_bytes(&self, id: ConnectionId) -> usize {
        match self.connections.get(id.index as usize) {
            Some(connection) if connection.generation == id.generation => connection.outbox.queued_bytes(),
            _ => 0,
        }
    }

    /// Collects ready sockets without waiting.
    pub(crate) fn ready(&self, events: &mut Vec<epoll::Event>) {
        events.clear();
        events.reserve(READY_PER_TURN);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // EINTR is the only error that can come here; the next turn looks again.
        let _interrupted = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&at_once));
    }

    /// Serves one ready socket: writes what waited, reads once into `buffer`.
    pub(crate) fn serve(&mut self, event: &epoll::Event, buffer: &mut [u8]) -> Readiness {
        let id = ConnectionId::from_token(event.data.u64());
        let Some(connection) = self.connections.get_mut(id.index as usize) else { return Readiness::Nothing };
        if connection.generation != id.generation {
            return Readiness::Nothing;
        }
        let flags = event.flags;
        if flags.contains(EventFlags::OUT) && !self.flush_one(id) {
            return self.end(id, CloseCause::Error);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP) {
            return Readiness::Nothing;
        }
        let Some(connection) = self.connections.get_mut(id.index as usize) else { return Readiness::Nothing };
        if connection.is_encrypted {
            return self.serve_encrypted(id, buffer);
        }
        match rustix::net::recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => self.end(id, CloseCause::Peer),
            Ok((bytes, _)) if connection.phase == Phase::Open => {
                self.counters.bytes_received.add(bytes as u64);
                let decoder = std::mem::take(&mut connection.decoder);
                self.counters.inbound_buffer_bytes.sub(decoder.buffered_bytes() as u64);
                Readiness::Input { id, decoder, bytes }
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Readiness::Nothing,
            Err(_) => self.end(id, CloseCause::Error),
        }
    }

    /// The tag of a connection; what is said of one that is gone does not matter.
    pub(crate) fn tag(&self, id: ConnectionId) -> u32 {
        self.connections.get(id.index as usize).map_or(u32::MAX, |connection| connection.tag)
    }

    /// Takes the decoder out, for input that did not come from [`Self::serve`].
    pub(crate) fn take_decoder(&mut self, id: ConnectionId) -> Option<Decoder> {
        let decoder = std::mem::take(&mut self.open(id)?.decoder);
        self.counters.inbound_buffer_bytes.sub(decoder.buffered_bytes() as u64);
        Some(decoder)
    }

    /// Puts the decoder back after its events were handled. False: it holds more of an incomplete message than there is
    /// room for, and is not kept; the caller closes the connection.
    pub(crate) fn restore(&mut self, id: ConnectionId, decoder: Decoder) -> bool {
        let max_bytes = self.limits.max_inbound_buffer_bytes as u64;
        let counters = Arc::clone(&self.counters);
        let Some(connection) = self.open(id) else { return true };
        let bytes = decoder.buffered_bytes() as u64;
        if bytes > 0 && counters.inbound_buffer_bytes.get() + bytes > max_bytes {
            counters.inbound_buffer_refused.add(1);
            return false;
        }
        counters.inbound_buffer_bytes.add(bytes);
        connection.decoder = decoder;
        true
    }

    /// Does this connection still take messages?
    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.connections.get(id.index as usize).is_some_and(|connection| {
            connection.generation == id.generation && connection.phase == Phase::Open
        })
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        self.limits.max_message_bytes
    }

    /// Writes to at most `limit` connections; returns whether more wait. A connection that fails is kept for
    /// [`Self::take_failed`].
    pub(crate) fn flush(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(id) = self.dirty.pop_front() else { break };
            self.unwritten.written += 1;
            let Some(connection) = self.connections.get_mut(id.index as usize) else { continue };
            if connection.generation != id.generation {
                continue;
            }
            connection.dirty = false;
            if !self.flush_one(id) {
                self.failed.push(id);
            }
        }
        if self.dirty.is_empty() {
            self.arena.shrink();
        }
        !self.dirty.is_empty()
    }

    /// A broadcast was queued that was published at this time, in microseconds since 1970: its latency is measured when
    /// all that is queued by now was written once. A peer whose kernel buffer is full holds that up for nobody.
    pub fn published(&mut self, at_us: u64, path: DeliveryPath) {
        self.unwritten.push(at_us, path, self.dirty.len());
    }

    /// Is there a broadcast whose latency is still to be measured? Where only polls had members of it nothing else asks for
    /// a turn.
    pub(crate) fn has_unmeasured(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Measures what was written, and what still waits.
    pub(crate) fn measure(&mut self, now_ms: u64) {
        self.unwritten.measure(&self.counters);
        let queued_bytes = self.arena.queued_bytes();
        self.counters.send_queue_bytes.set(queued_bytes);
        self.counters.send_queue_peak_bytes.set(self.queued_peak.record(now_ms, queued_bytes));
    }

    /// Connections whose writing failed and that the layer above still counts as open.
    pub(crate) fn take_failed(&mut self) -> Option<(ConnectionId, u32)> {
        while let Some(id) = self.failed.pop() {
            let (was_open, tag) = (self.is_open(id), self.tag(id));
            self.remove(id);
            if was_open {
                return Some((id, tag));
            }
        }
        None
    }

    /// Cuts connections whose time to close is over.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some(&(deadline_ms, id)) = self.closing.front() {
            if deadline_ms > now_ms {
                break;
            }
            self.closing.pop_front();
            self.remove(id);
        }
    }

    /// When [`Self::expire`] wants to be called next.
    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        self.closing.front().map(|&(deadline_ms, _)| deadline_ms)
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.failed.is_empty()
    }

    #[cfg(test)]
    fn arena_is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    fn open(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.index as usize)?;
        (connection.generation == id.generation && connection.phase == Phase::Open).then_some(connection)
    }

    /// Writes until the queue is empty or the kernel's buffer is full. False: the connection failed.
    fn flush_one(&mut self, id: ConnectionId) -> bool {
        let connection = &mut self.connections[id.index as usize];
        if connection.is_encrypted {
            return self.flush_encrypted(id);
        }
        while !connection.outbox.is_empty() {
            let (result, asked) = write(connection.socket.as_fd(), &self.arena, &connection.outbox);
            match result {
                Ok(written) => {
                    self.counters.bytes_sent.add(written as u64);
                    self.counters.writes.add(1);
                    self.counters.messages_sent.add(self.arena.advance(&mut connection.outbox, written));
                    if written < asked {
                        return block(&self.epoll, connection, id);
                    }
                }
                Err(Errno::AGAIN) => return block(&self.epoll, connection, id),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        // Nearly always there is nothing more to do, and this is the way of every message.
        if !connection.blocked && connection.phase != Phase::Closing {
            return true;
        }
        self.flushed(id)
    }

    /// All is written: nothing waits for room any more, and our side ends where that was to come. False: the connection
    /// failed.
    fn flushed(&mut self, id: ConnectionId) -> bool {
        let connection = &mut self.connections[id.index as usize];
        if connection.blocked {
            connection.blocked = false;
            if register(&self.epoll, connection, id, EventFlags::IN).is_err() {
                return false;
            }
        }
        if connection.phase == Phase::Closing {
            connection.phase = Phase::Lingering;
            // Fails only where the peer is gone already; the next read tells.
            let _gone = rustix::net::shutdown(&connection.socket, Shutdown::Write);
        }
        true
    }

    /// Takes the connection out; tells the layer above only where it does not know yet.
    fn end(&mut self, id: ConnectionId, cause: CloseCause) -> Readiness {
        let (was_open, tag) = (self.is_open(id), self.tag(id));
        self.remove(id);
        if was_open { Readiness::Ended { id, tag, cause } } else { Readiness::Nothing }
    }

    fn remove(&mut self, id: ConnectionId) {
        let index = id.index as usize;
        if self.connections.get(index).is_none_or(|connection| connection.generation != id.generation) {
            return;
        }
        // Dropping the socket closes it, which also takes it out of the epoll set: no other descriptor refers to it.
        let mut connection = self.connections.remove(index);
        if connection.is_encrypted {
            self.tls.remove(index);
        }
        self.counters.websockets.sub(1);
        self.counters.inbound_buffer_bytes.sub(connection.decoder.buffered_bytes() as u64);
        let lost = self.arena.clear(&mut connection.outbox);
        self.counters.messages_lost_on_close.add(lost);
    }
}

fn write(socket: impl AsFd, arena: &FrameArena, outbox: &Outbox) -> (rustix::io::Result<usize>, usize) {
    if let Some(bytes) = arena.single(outbox) {
        return (rustix::net::send(socket, bytes, SendFlags::NOSIGNAL), bytes.len());
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let (count, total) = arena.gather(outbox, &mut slices);
    let mut control = SendAncillaryBuffer::default();
    (rustix::net::sendmsg(socket, &slices[..count], &mut control, SendFlags::NOSIGNAL), total)
}

/// Waits for room in the kernel's buffer. False: the connection failed.
fn block(epoll: &OwnedFd, connection: &mut Connection, id: ConnectionId) -> bool {
    if connection.blocked {
        return true;
    }
    connection.blocked = true;
    register(epoll, connection, id, EventFlags::IN | EventFlags::OUT).is_ok()
}

fn register(
    epoll: &OwnedFd,
    connection: &Connection,
    id: ConnectionId,
    flags: EventFlags,
) -> rustix::io::Result<()> {
    epoll::modify(epoll, &connection.socket, EventData::new_u64(id.token()), flags)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn set_with_a_peer(max_queued_bytes: usize) -> (SocketSet, ConnectionId, UnixStream) {
        let limits =
            SocketLimits { max_message_bytes: 1024, max_queued_bytes, max_inbound_buffer_bytes: 1024 };
        let mut set = SocketSet::new(limits, Arc::default()).unwrap();
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let id = set.insert(OwnedFd::from(ours).into(), 0).unwrap();
        (set, id, peer)
    }

    #[test]
    fn one_frame_may_be_larger_than_the_bound_of_the_queue() {
        let (mut set, id, _peer) = set_with_a_peer(1000);
        assert_eq!(set.enqueue(id, &Frame::new(vec![0; 5000], 1), false), Enqueued::Queued);
        assert_eq!(
            set.enqueue(id, &Frame::new(vec![0; 5000], 1), false),
            Enqueued::Queued,
            "a peer that reads"
        );
    }

    #[test]
    fn a_peer_that_does_not_read_gets_up_to_the_bound_and_no_volatile_messages() {
        let (mut set, id, _peer) = set_with_a_peer(100_000);
        let frame = Frame::new(vec![0; 10_000], 1);
        let mut queued = 0;
        while set.enqueue(id, &frame, false) == Enqueued::Queued {
            queued += 1;
            assert!(queued < 10_000, "the bound is never met");
        }
        assert!(set.queued_bytes(id) <= 100_000);
        assert_eq!(set.enqueue(id, &frame, true), Enqueued::Dropped);
        set.abort(id);
        assert_eq!(set.enqueue(id, &frame, false), Enqueued::Gone);
        assert!(set.counters.messages_lost_on_close.get() > 0 && set.arena_is_empty());
    }

    #[test]
    fn a_failed_write_is_told_once() {
        let (mut set, id, peer) = set_with_a_peer(1000);
        drop(peer);
        set.enqueue(id, &Frame::new(*b"x", 1), false);
        set.flush(1);
        assert_eq!(set.take_failed(), Some((id, 0)));
        assert!(set.take_failed().is_none() && set.is_empty());
    }
}
