//! All clients of a test on one thread and one epoll set. Owns their sockets and states, the one read buffer, and the
//! counts of what went wrong.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::{
    event::{Timespec, epoll},
    fd::OwnedFd,
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt},
};
use serde::Serialize;

use super::{
    connection::{Connection, Fault, Script},
    sequence::{Arrival, SequenceCheck},
};
use crate::plan;

/// One read of one socket.
const READ_BYTES: usize = 64 * 1024;
/// Ready sockets taken from the system at once.
const MAX_EVENTS: usize = 4096;
/// Texts of faults that are kept; the others are only counted.
const MAX_FAULT_TEXTS: usize = 5;

/// What went wrong over a whole test. All zero is the only good result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Connections that were refused or lost.
    pub(crate) connections: u64,
    /// Messages that a member never received.
    pub(crate) lost: u64,
    /// Messages that a member received more than once.
    pub(crate) duplicated: u64,
    /// Messages that arrived after a later one.
    pub(crate) out_of_order: u64,
    /// The first few reasons, and that of a test that was given up.
    pub(crate) reasons: Vec<String>,
}

impl Faults {
    /// Was everything as it should be?
    pub(crate) const fn is_clean(&self) -> bool {
        self.connections == 0
            && self.lost == 0
            && self.duplicated == 0
            && self.out_of_order == 0
            && self.reasons.is_empty()
    }

    /// The test cannot go on.
    pub(crate) fn abort(&mut self, error: &anyhow::Error) {
        self.reasons.push(format!("{error:#}"));
    }

    /// Adds those of another part of the test.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        let room = MAX_FAULT_TEXTS.saturating_sub(self.reasons.len());
        self.reasons.extend(other.reasons.iter().take(room).cloned());
    }

    /// A connection was refused or lost.
    pub(crate) fn connection_failed(&mut self, fault: &impl std::error::Error) {
        self.connections += 1;
        if self.reasons.len() < MAX_FAULT_TEXTS {
            self.reasons.push(fault.to_string());
        }
    }
}

/// One member: its socket (`None` once it failed), what it is doing, and the check of what it received.
#[derive(Debug)]
struct Member {
    socket: Option<OwnedFd>,
    connected: bool,
    connection: Connection,
    check: SequenceCheck,
}

/// All clients of a test.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    address: SocketAddr,
    /// `None`: clients of the bare loop, which say nothing.
    script: Option<Script>,
    first_sequence: u64,
    members: Vec<Member>,
    joined: usize,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    replies: Vec<u8>,
    faults: Faults,
}

impl Fleet {
    /// No clients yet. The first message that they will receive is number `first_sequence`.
    pub(crate) fn new(address: SocketAddr, script: Option<Script>, first_sequence: u64) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            address,
            script,
            first_sequence,
            members: Vec::new(),
            joined: 0,
            events: Vec::with_capacity(MAX_EVENTS),
            buffer: vec![0; READ_BYTES],
            replies: Vec::new(),
            faults: Faults::default(),
        })
    }

    /// Clients that were started, including those that failed.
    pub(crate) fn started(&self) -> usize {
        self.members.len()
    }

    /// Clients that are in the room.
    pub(crate) const fn joined(&self) -> usize {
        self.joined
    }

    /// Connections that were refused or lost so far.
    pub(crate) const fn failed(&self) -> u64 {
        self.faults.connections
    }

    /// All that went wrong, if `next_sequence` is the next message that would be published.
    pub(crate) fn faults(&self, next_sequence: u64) -> Faults {
        let mut faults = self.faults.clone();
        faults.lost = self.members.iter().map(|member| member.check.lost_before(next_sequence)).sum();
        faults
    }

    /// Starts one more client; what becomes of it is seen by [`Self::poll`].
    pub(crate) fn start(&mut self) {
        let index = self.members.len();
        let connection =
            self.script.as_ref().map_or_else(Connection::bare, |script| Connection::upgrading(script).0);
        let check = SequenceCheck::starting_at(self.first_sequence);
        let socket = match self.connect(index) {
            Ok(socket) => Some(socket),
            Err(error) => {
                self.faults.connection_failed(&Fault::Io(error));
                None
            }
        };
        self.members.push(Member { socket, connected: false, connection, check });
    }

    fn connect(&self, index: usize) -> rustix::io::Result<OwnedFd> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        if let Some(source) = plan::source_address(self.address.ip(), index) {
            net::bind(&socket, &source)?;
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        // Edge-triggered, registered once: a read that leaves room in the buffer has taken everything.
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), interest)?;
        match net::connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// Gives up on every client that is not in the room yet.
    pub(crate) fn abandon_unjoined(&mut self) {
        for member in &mut self.members {
            if member.socket.is_some() && !(member.connected && member.connection.is_joined()) {
                member.socket = None;
                self.faults.connection_failed(&Fault::TimedOut);
            }
        }
    }

    /// Waits for at most `timeout` and serves what is ready. `deliver` is called for every message that a member
    /// received for the first time, with its sequence number and time of arrival.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        deliver: &mut impl FnMut(u64, Instant),
    ) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            let index = usize::try_from(data.u64()).unwrap_or(usize::MAX);
            if let Err(fault) = self.serve(index, flags, deliver) {
                self.fail(index, &fault);
            }
        }
        self.events = events;
        match waited {
            // A signal: the caller looks at its flag.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn fail(&mut self, index: usize, fault: &Fault) {
        let member = &mut self.members[index];
        if member.connected && member.connection.is_joined() {
            self.joined -= 1;
        }
        member.socket = None;
        self.faults.connection_failed(fault);
    }

    fn serve(
        &mut self,
        index: usize,
        flags: epoll::EventFlags,
        deliver: &mut impl FnMut(u64, Instant),
    ) -> Result<(), Fault> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        let Some(socket) = &member.socket else { return Ok(()) };
        if !member.connected {
            sockopt::socket_error(socket)??;
            member.connected = true;
            match &self.script {
                Some(script) => send_whole(socket, Connection::upgrading(script).1)?,
                None => self.joined += 1,
            }
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Ok(());
        }
        loop {
            let (read, _) = match net::recv(socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((0, _)) => return Err(Fault::Closed),
                Ok(read) => read,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            let was_joined = member.connection.is_joined();
            let (check, faults) = (&mut member.check, &mut self.faults);
            let outcome = member.connection.receive(
                self.script.as_ref(),
                &mut self.buffer[..read],
                &mut self.replies,
                |sequence| match check.receive(sequence) {
                    Arrival::First => deliver(sequence, now),
                    Arrival::OutOfOrder => {
                        faults.out_of_order += 1;
                        deliver(sequence, now);
                    }
                    Arrival::Duplicate => faults.duplicated += 1,
                },
            );
            if !was_joined && member.connection.is_joined() {
                self.joined += 1;
            }
            outcome?;
            if !self.replies.is_empty() {
                let sent = send_whole(socket, &self.replies);
                self.replies.clear();
                sent?;
            }
            if read < READ_BYTES {
                return Ok(());
            }
        }
    }
}

/// What clients say is far smaller than a socket's buffer: anything but all of it is a fault.
fn send_whole(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Fault> {
    let sent = net::send(socket, bytes, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(rustix::io::Errno::AGAIN.into()) }
}
