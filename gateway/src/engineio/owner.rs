//! Requests for a session, at its owner (wire.md 1.6 and 1.8).

use std::sync::Arc;

use broadgate_protocol::engineio::{Packet, RequestError, Transport, check_session, payload};
use tokio::sync::oneshot;

use super::{
    Application, Id, Server, SessionId,
    io::answer,
    polling::PollReply,
    request::{PushTicket, Refused, Request, RoutedRequest, UpgradeVerdict},
    session::{Carrier, CloseReason},
};

impl<A: Application> Server<A> {
    pub(super) fn on_request(&mut self, routed: RoutedRequest, now_ms: u64) {
        let RoutedRequest { session: id, request } = routed;
        match request {
            Request::Poll { eio4, reply } => match self.check(id, Transport::Polling, false, eio4) {
                Ok(session) => self.on_poll(session, reply),
                Err(error) => reply.send(Err(Refused::Error(error))),
            },
            Request::PollAborted => self.on_poll_aborted(id),
            Request::BeginPush { eio4, binary, reply } => {
                let begun = match self.check(id, Transport::Polling, false, eio4) {
                    Ok(session) => self.begin_push(session, binary),
                    Err(error) => Err(Refused::Error(error)),
                };
                tell(reply, begun);
            }
            Request::Push { body, reply } => {
                if let Some(session) = self.io.find(id) {
                    self.on_push(session, &body, now_ms);
                }
                tell(reply, ());
            }
            Request::PushFailed { keep_session } => self.on_push_failed(id, keep_session),
            Request::Check { eio4, reply } => {
                let checked = self.check(id, Transport::Polling, false, eio4);
                tell(reply, checked.map(drop).map_err(Refused::Error));
            }
            Request::CheckUpgrade { eio4, reply } => {
                let checked = self.check(id, Transport::WebSocket, true, eio4);
                tell(reply, checked.map(|session| self.verdict(session)).map_err(Refused::Error));
            }
            Request::Upgrade { socket, early } => {
                let session = self.io.find(id);
                self.begin_upgrade(session, socket, early, now_ms);
            }
        }
        self.settle(now_ms);
    }

    /// The second half of the checks of wire.md 1.3. A session that is on its way to another node takes no requests.
    pub(super) fn check(
        &self,
        id: Id,
        requested: Transport,
        is_upgrade: bool,
        eio4: bool,
    ) -> Result<SessionId, RequestError> {
        let session = self.io.find(id);
        let transport =
            session.and_then(|session| self.io.session(session)).map(super::session::Session::transport);
        check_session(transport, requested, is_upgrade, eio4)?;
        let session = session.ok_or(RequestError::SessionUnknown)?;
        match self.io.session(session).map(|state| &state.carrier) {
            Some(Carrier::Polling(polling)) if polling.leave.is_some() => Err(RequestError::BadRequest),
            _ => Ok(session),
        }
    }

    pub(super) fn verdict(&self, session: SessionId) -> UpgradeVerdict {
        match self.io.session(session).map(|state| &state.carrier) {
            Some(Carrier::Polling(polling))
                if polling.probe.is_none() && polling.closing_until_ms.is_none() =>
            {
                UpgradeVerdict::Probe
            }
            _ => UpgradeVerdict::AcceptAndClose,
        }
    }

    /// Lets a poll wait, without the checks: for a session that was just made.
    pub(super) fn take_poll(&mut self, session: SessionId, reply: PollReply) {
        if let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        {
            polling.poll = Some(reply);
            self.io.dirty_polls.push(session);
        }
    }

    fn on_poll(&mut self, session: SessionId, reply: PollReply) {
        let counters = Arc::clone(&self.io.spec.counters);
        let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        else {
            return;
        };
        if polling.closing_until_ms.is_some() {
            answer(polling, reply, Some("1"), &counters);
            return self.io.remove(session);
        }
        if polling.poll.is_some() {
            // The session ends; closing it answers the first poll (wire.md 1.6).
            reply.send(Err(Refused::Status(400)));
            return self.io.doom(session, CloseReason::TransportError);
        }
        self.take_poll(session, reply);
    }

    fn on_poll_aborted(&mut self, id: Id) {
        let Some(session) = self.io.find(id) else { return };
        // Also where the poll was answered in the meantime: the answer was lost on its way to the client.
        if let Some(Carrier::Polling(_)) = self.io.session(session).map(|state| &state.carrier) {
            self.io.doom(session, CloseReason::TransportError);
        }
    }

    pub(super) fn begin_push(&mut self, session: SessionId, binary: bool) -> Result<PushTicket, Refused> {
        let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        else {
            return Err(Refused::Error(RequestError::BadRequest));
        };
        if polling.closing_until_ms.is_some() {
            return Err(Refused::Error(RequestError::SessionUnknown));
        }
        if polling.push.is_some() || binary {
            // Closing the session cancels the first one.
            self.io.doom(session, CloseReason::TransportError);
            return Err(Refused::Status(400));
        }
        let (cancel, ticket) = oneshot::channel();
        polling.push = Some(cancel);
        Ok(ticket)
    }

    /// Packets before a bad one are processed; the bad one ends the session, and the answer is `ok` all the same.
    pub(super) fn on_push(&mut self, session: SessionId, body: &[u8], now_ms: u64) {
        self.io.spec.counters.bytes_received.add(body.len() as u64);
        if let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        {
            polling.push = None;
        }
        let Ok(text) = std::str::from_utf8(body) else { return self.on_parse_error(session) };
        for packet in payload::decode(text) {
            let bytes = packet.as_ref().map_or(0, payload_bytes);
            if !self.io.admit(session, 1, bytes, now_ms) {
                return;
            }
            match packet {
                Ok(packet) => self.on_packet(session, packet, Transport::Polling, now_ms),
                Err(_) => return self.on_parse_error(session),
            }
            if !self.io.is_open(session) {
                return;
            }
        }
    }

    fn on_push_failed(&mut self, id: Id, keep_session: bool) {
        let Some(session) = self.io.find(id) else { return };
        if let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        {
            polling.push = None;
            if !keep_session {
                self.io.doom(session, CloseReason::TransportError);
            }
        }
    }
}

fn payload_bytes(packet: &Packet<'_>) -> usize {
    match packet {
        Packet::Open(text) | Packet::Ping(text) | Packet::Pong(text) | Packet::Message(text) => text.len(),
        Packet::Binary(data) => data.len(),
        Packet::Close | Packet::Upgrade | Packet::Noop => 0,
    }
}

/// A client that went away needs no answer.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    let _gone = reply.send(answer);
}
