//! A session of this shard that goes to another node, where its WebSocket is. Until it is handed over, it is a session
//! on polling like any other, but for the requests that it takes.

use std::{collections::VecDeque, rc::Rc, sync::Arc};

use broadgate_adapter::Origin;

use super::{
    PeerMessage, Peers, Visitor,
    gate::{FromCluster, Gate},
    message::{MoveStep, MovedPacket, MovedSession, VisitStep},
    watch,
};
use crate::engineio::{
    Application, EngineMessage, IdText, Outgoing, Part, Server, SessionId,
    io::{answer, millis},
    polling::{NOOP_INTERVAL_MS, Polling, Probe, ProbeAt},
    session::{Carrier, CloseReason},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Requests of the client are under way; it sends no new ones.
    Settling,
    /// The other node subscribes.
    Planned,
    /// The cut is on its way through Redis.
    Cutting,
}

/// See the module.
pub(in crate::engineio) struct Leave {
    stage: Stage,
    gate: Gate,
    pub(in crate::engineio) deadline_ms: u64,
    /// What the other node was told to have ready, and how often it was told.
    plan: Vec<u8>,
    plans: u32,
}

/// Servers may change a session's rooms while it is on its way: then the other node is told again, but not for ever.
const MAX_PLANS: u32 = 4;

impl Polling {
    /// The other node, where one has the WebSocket that probes.
    pub(in crate::engineio) fn visitor(&self) -> Option<Visitor> {
        match self.probe.as_ref()?.at {
            ProbeAt::Here(_) => None,
            ProbeAt::Elsewhere(visitor) => Some(visitor),
        }
    }
}

impl<A: Application> Server<A> {
    /// What the node with the new WebSocket says.
    pub(super) fn on_visit(
        &mut self,
        peers: &Arc<Peers>,
        owned_as: IdText,
        visitor: Visitor,
        step: VisitStep,
        now_ms: u64,
    ) {
        let session = self.find_own(peers, owned_as);
        let polling = session.and_then(|session| self.polling_mut(session));
        let (Some(session), Some(polling)) = (session, polling) else {
            return self.tell_visitor_gone(visitor, step);
        };
        if step == VisitStep::Begin && polling.probe.is_none() && polling.closing_until_ms.is_none() {
            return self.begin_visit_of(session, visitor, now_ms);
        }
        if polling.visitor() != Some(visitor) {
            return self.tell_visitor_gone(visitor, step);
        }
        match (step, polling.leave.as_ref().map(|leave| leave.stage)) {
            (VisitStep::Probed, None) => {
                if let Some(probe) = &mut polling.probe {
                    probe.probed = true;
                    probe.next_noop_ms = now_ms + NOOP_INTERVAL_MS;
                }
                self.io.arm(session);
            }
            (VisitStep::Take, None) => self.begin_leave(session, now_ms),
            (VisitStep::Ready, Some(Stage::Planned)) => {
                self.hand_over_messages(now_ms);
                if !self.plan_again(session, visitor) {
                    self.cut(peers, session, owned_as, visitor);
                }
            }
            (VisitStep::Abandon, None) => self.abandon_upgrade(session, None, now_ms),
            // The client has given polling up, and its WebSocket is gone.
            (VisitStep::Abandon, Some(_)) => {
                self.forget_visitor(session);
                self.io.doom(session, CloseReason::TransportClose);
            }
            _ => self.io.doom(session, CloseReason::TransportError),
        }
    }

    fn polling_mut(&mut self, session: SessionId) -> Option<&mut Polling> {
        match &mut self.io.session_mut(session)?.carrier {
            Carrier::Polling(polling) => Some(polling),
            _ => None,
        }
    }

    fn begin_visit_of(&mut self, session: SessionId, visitor: Visitor, now_ms: u64) {
        let deadline_ms = now_ms + millis(self.io.spec.settings.upgrade_timeout);
        let Some(polling) = self.polling_mut(session) else { return };
        let at = ProbeAt::Elsewhere(visitor);
        polling.probe = Some(Probe { at, probed: false, deadline_ms, next_noop_ms: u64::MAX });
        self.io.arm(session);
    }

    /// The session takes no more requests; what is under way comes to its end first.
    fn begin_leave(&mut self, session: SessionId, now_ms: u64) {
        let deadline_ms = now_ms + self.move_timeout_ms();
        let counters = Arc::clone(&self.io.spec.counters);
        let Some(polling) = self.polling_mut(session) else { return };
        polling.leave = Some(Leave {
            stage: Stage::Settling,
            gate: Gate::LEAVING,
            deadline_ms,
            plan: Vec::new(),
            plans: 0,
        });
        polling.push = None;
        if let Some(reply) = polling.poll.take() {
            answer(polling, reply, Some("6"), &counters);
        }
        self.io.arm(session);
        self.moving.push(session);
    }

    /// Is nothing of the client under way any more? Then the other node may begin. False: it still waits.
    pub(super) fn check_leave(&mut self, session: SessionId) -> bool {
        let Some(polling) = self.polling_mut(session) else { return true };
        let is_settling = polling.leave.as_ref().is_some_and(|leave| leave.stage == Stage::Settling);
        let Some(visitor) = polling.visitor().filter(|_| is_settling) else { return true };
        let Some(plan) = self.application.plan(session) else { return false };
        self.tell_plan(session, visitor, plan);
        true
    }

    fn tell_plan(&mut self, session: SessionId, visitor: Visitor, plan: Vec<u8>) {
        if let Some(leave) = self.polling_mut(session).and_then(|polling| polling.leave.as_mut()) {
            leave.stage = Stage::Planned;
            leave.plan.clone_from(&plan);
            leave.plans += 1;
        }
        self.tell_visitor(session, visitor, MoveStep::Plan { plan: plan.into() });
    }

    /// Have servers changed the rooms since the plan? The other node is not subscribed to the new ones, and would lose
    /// what comes behind the cut; so it is told again.
    fn plan_again(&mut self, session: SessionId, visitor: Visitor) -> bool {
        let Some(plan) = self.application.plan(session) else { return false };
        let leave = self.polling_mut(session).and_then(|polling| polling.leave.as_ref());
        if leave.is_none_or(|leave| leave.plan == plan || leave.plans >= MAX_PLANS) {
            return false;
        }
        self.tell_plan(session, visitor, plan);
        true
    }

    fn tell_visitor(&self, session: SessionId, visitor: Visitor, step: MoveStep) {
        let Some(peers) = &self.http.peers else { return };
        let message = PeerMessage::Move { visit: visitor.visit, step };
        let sent = peers.to_asker((visitor.node, visitor.shard), self.http.shard, &message);
        watch(sent, &self.inbox(), session);
    }

    fn tell_visitor_gone(&self, visitor: Visitor, step: VisitStep) {
        if step != VisitStep::Abandon {
            self.on_leaver_closed(visitor, None);
        }
    }

    /// Everything is subscribed at the other node. What it published before this was delivered here; what comes of it
    /// now, it delivers itself. What this node publishes from now on, and what Redis takes behind the cut, is the other
    /// node's.
    fn cut(&mut self, peers: &Arc<Peers>, session: SessionId, owned_as: IdText, visitor: Visitor) {
        let message = PeerMessage::Cut { session: owned_as, visit: visitor.visit };
        {
            let _alone = peers.order.cut();
            watch(peers.to_both(visitor, self.http.shard, &message), &self.inbox(), session);
            self.inbox().send(EngineMessage::CutHere(session));
        }
        if let Some(leave) = self.polling_mut(session).and_then(|polling| polling.leave.as_mut()) {
            leave.stage = Stage::Cutting;
        }
        self.change_leave_gate(session, |gate| {
            gate.own_shard = false;
            gate.cluster = FromCluster::AllBut(Origin::of(visitor.node.as_str()));
        });
    }

    fn change_leave_gate(&mut self, session: SessionId, change: impl FnOnce(&mut Gate)) {
        let Some(leave) = self.polling_mut(session).and_then(|polling| polling.leave.as_mut()) else {
            return;
        };
        change(&mut leave.gate);
        let gate = leave.gate;
        self.application.set_gate(session, Some(gate));
    }

    /// What this node published before the cut was in the inbox before this.
    pub(in crate::engineio) fn on_leave_cut_here(&mut self, session: SessionId) {
        self.change_leave_gate(session, |gate| gate.own_node = false);
    }

    /// The cut has come back through Redis: all that was before it is in the session's queue. It goes.
    pub(super) fn hand_session_over(&mut self, peers: &Arc<Peers>, owned_as: IdText, now_ms: u64) {
        let Some(session) = self.find_own(peers, owned_as) else { return };
        let Some(state) = self.io.session_mut(session).filter(|state| !state.doomed) else { return };
        let rest = state.heartbeat.rest(now_ms);
        let Carrier::Polling(polling) = &mut state.carrier else { return };
        let is_cutting = polling.leave.as_ref().is_some_and(|leave| leave.stage == Stage::Cutting);
        let Some(visitor) = polling.visitor().filter(|_| is_cutting) else { return };
        let outgoing = polling.take_waiting();
        let messages = outgoing.iter().map(|outgoing| outgoing.messages()).sum();
        let waiting = moved_packets(&outgoing);
        let application = self.application.export(&mut self.io, session);
        let step = MoveStep::State(Box::new(MovedSession {
            heartbeat_left_ms: rest.left_ms,
            awaits_pong: rest.awaits_pong,
            pong_put_off: rest.is_put_off,
            waiting,
            messages,
            application: application.into(),
        }));
        let message = PeerMessage::Move { visit: visitor.visit, step };
        let sent = peers.to_asker((visitor.node, visitor.shard), self.http.shard, &message);
        let counters = Arc::clone(&self.io.spec.counters);
        counters.sessions_polling.sub(1);
        self.io.remove(session);
        tokio::task::spawn_local(async move {
            match sent.await {
                Ok(()) => counters.sessions_moved_out.add(1),
                // It is nobody's now: its client finds its WebSocket closed, and comes back.
                Err(_) => {
                    counters.sessions_moved_lost.add(1);
                    counters.messages_lost_on_close.add(u64::from(messages));
                }
            }
        });
    }

    /// The other node can't be reached. Before the client's `5`, the session lives on with polling.
    pub(in crate::engineio) fn on_visitor_lost(&mut self, session: SessionId, now_ms: u64) {
        let Some(polling) = self.polling_mut(session) else { return };
        if polling.leave.is_some() {
            return self.io.doom(session, CloseReason::TransportError);
        }
        // It may be that one direction only is lost.
        if let Some(visitor) = polling.visitor() {
            self.on_leaver_closed(visitor, None);
        }
        self.abandon_upgrade(session, None, now_ms);
    }

    fn forget_visitor(&mut self, session: SessionId) {
        if let Some(polling) = self.polling_mut(session) {
            polling.probe = None;
        }
    }

    /// A session ends that was about to go. `last_words` are for a client that polls no more.
    pub(in crate::engineio) fn on_leaver_closed(
        &self,
        visitor: Visitor,
        last_words: Option<VecDeque<Rc<Outgoing>>>,
    ) {
        let Some(peers) = &self.http.peers else { return };
        let step = match last_words {
            Some(waiting) => MoveStep::Over { waiting: moved_packets(&waiting) },
            None => MoveStep::Gone,
        };
        let message = PeerMessage::Move { visit: visitor.visit, step };
        // Where it does not arrive, the visit ends by its deadline.
        drop(peers.to_asker((visitor.node, visitor.shard), self.http.shard, &message));
    }

    /// What this node published before a cut was delivered.
    pub(in crate::engineio) fn on_cut_here(&mut self, session: SessionId) {
        match self.io.session(session).map(|state| &state.carrier) {
            Some(Carrier::Visiting(_)) => self.on_visit_cut_here(session),
            _ => self.on_leave_cut_here(session),
        }
    }

    /// A message about a session on its way did not arrive.
    pub(in crate::engineio) fn on_unreachable(&mut self, session: SessionId, now_ms: u64) {
        match self.io.session(session).map(|state| &state.carrier) {
            Some(Carrier::Visiting(_)) => self.drop_visit(session, now_ms),
            Some(Carrier::Polling(polling)) if polling.visitor().is_some() => {
                self.on_visitor_lost(session, now_ms);
            }
            _ => {}
        }
    }

    /// Sessions on their way that wait for something which is not a message of its own.
    pub(in crate::engineio) fn check_moves(&mut self) {
        for session in std::mem::take(&mut self.moving) {
            if !(self.check_leave(session) && self.check_visit(session)) {
                self.moving.push(session);
            }
        }
    }
}

fn moved_packets(waiting: &VecDeque<Rc<Outgoing>>) -> Vec<MovedPacket> {
    let parts = waiting.iter().flat_map(|outgoing| outgoing.parts());
    let packets = parts.map(|part| match part {
        Part::Text(text) => MovedPacket::Text(text.clone()),
        Part::Binary(data) => MovedPacket::Binary(data.clone()),
        Part::Control(packet) => MovedPacket::Control(packet.clone()),
    });
    packets.collect()
}
