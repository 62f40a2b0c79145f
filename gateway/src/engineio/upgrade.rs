//! Upgrades from polling to WebSocket (wire.md 1.8): the probe beside the poll, and the take-over.

use std::sync::Arc;

use broadgate_protocol::engineio::Packet;

use super::{
    Application, Server, SessionId,
    io::{answer, millis},
    polling::{NOOP_INTERVAL_MS, Probe, ProbeAt},
    session::{Carrier, CloseReason},
};
use crate::net::{ConnectionId, Enqueued, PeerStream};

impl<A: Application> Server<A> {
    /// A WebSocket for a session on polling starts to probe.
    pub(super) fn begin_upgrade(
        &mut self,
        session: Option<SessionId>,
        socket: PeerStream,
        early: Vec<u8>,
        now_ms: u64,
    ) {
        let tag = session.map_or(u32::MAX, |session| session.index);
        let connection = match self.io.sockets.insert(socket, tag) {
            Ok(connection) => connection,
            Err(error) => return tracing::error!(%error, "cannot watch a connection; it is closed"),
        };
        let deadline_ms = now_ms + millis(self.io.spec.settings.upgrade_timeout);
        let polling = session.and_then(|session| self.io.session_mut(session)).and_then(|state| {
            match &mut state.carrier {
                Carrier::Polling(polling)
                    if polling.probe.is_none() && polling.closing_until_ms.is_none() =>
                {
                    Some(polling)
                }
                _ => None,
            }
        });
        let (Some(session), Some(polling)) = (session, polling) else {
            // The session went away, or another WebSocket came first, while this one was on its way.
            self.io.spec.counters.upgrades_failed.add(1);
            return self.io.sockets.close(connection, None, now_ms);
        };
        let at = ProbeAt::Here(connection);
        polling.probe = Some(Probe { at, probed: false, deadline_ms, next_noop_ms: u64::MAX });
        self.io.arm(session);
        crate::runtime::feed(self, connection, early, now_ms);
    }

    /// A packet on a WebSocket that has not taken the session over yet (wire.md 1.8).
    pub(super) fn on_probe_packet(
        &mut self,
        session: SessionId,
        connection: ConnectionId,
        packet: Option<Packet<'_>>,
        now_ms: u64,
    ) {
        let Some(state) = self.io.session_mut(session) else { return };
        let Carrier::Polling(polling) = &mut state.carrier else { return };
        match (packet, &mut polling.probe) {
            (Some(Packet::Ping("probe")), Some(probe)) => {
                probe.probed = true;
                probe.next_noop_ms = now_ms + NOOP_INTERVAL_MS;
                self.io.send_control(connection, "3probe");
                self.io.arm(session);
            }
            (Some(Packet::Upgrade), Some(_)) => self.finish_upgrade(session, connection),
            _ => self.abandon_upgrade(session, Some(connection), now_ms),
        }
    }

    /// The WebSocket takes over: what waits for a poll goes out on it, in order, before anything newer.
    fn finish_upgrade(&mut self, session: SessionId, connection: ConnectionId) {
        let Some(state) = self.io.session_mut(session) else { return };
        let Carrier::Polling(mut polling) =
            std::mem::replace(&mut state.carrier, Carrier::WebSocket(connection))
        else {
            return;
        };
        let counters = Arc::clone(&self.io.spec.counters);
        counters.sessions_polling.sub(1);
        counters.sessions_websocket.add(1);
        counters.upgrades_done.add(1);
        let waiting = polling.take_waiting();
        if let Some(reply) = polling.poll.take() {
            answer(&mut polling, reply, Some("6"), &counters);
        }
        for outgoing in waiting {
            if self.io.sockets.enqueue(connection, outgoing.frame(), false) == Enqueued::Full {
                counters.slow_consumers.add(1);
                return self.io.doom(session, CloseReason::SlowConsumer);
            }
        }
    }

    /// Only the WebSocket ends; the session lives on with polling (wire.md 1.8).
    pub(super) fn abandon_upgrade(
        &mut self,
        session: SessionId,
        connection: Option<ConnectionId>,
        now_ms: u64,
    ) {
        if let Some(connection) = connection {
            self.io.sockets.close(connection, None, now_ms);
        }
        if let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        {
            polling.probe = None;
            self.io.spec.counters.upgrades_failed.add(1);
        }
    }

    /// Ends a probe that took too long, and lets a waiting poll go so that the client can stop polling.
    pub(super) fn on_probe_timer(&mut self, session: SessionId, now_ms: u64) {
        let counters = Arc::clone(&self.io.spec.counters);
        let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        else {
            return;
        };
        let Some(probe) = &mut polling.probe else { return };
        if polling.leave.as_ref().is_some_and(|leave| leave.deadline_ms <= now_ms) {
            return self.io.doom(session, CloseReason::TransportError);
        }
        if polling.leave.is_some() {
            return;
        }
        if probe.deadline_ms <= now_ms {
            let at = probe.at;
            return match at {
                ProbeAt::Here(connection) => self.abandon_upgrade(session, Some(connection), now_ms),
                ProbeAt::Elsewhere(visitor) => {
                    self.on_leaver_closed(visitor, None);
                    self.abandon_upgrade(session, None, now_ms);
                }
            };
        }
        if probe.next_noop_ms <= now_ms {
            probe.next_noop_ms = now_ms + NOOP_INTERVAL_MS;
            if let Some(reply) = polling.poll.take() {
                answer(polling, reply, Some("6"), &counters);
            }
        }
    }
}
