//! What a server of Engine.IO is for: the side of the sessions that clients' messages go to.

use axum::body::Body;
use hyper::{Request as HttpRequest, Response, body::Incoming};

use super::{EngineIo, Handshake, SessionId, peer::Gate, session::CloseReason};

/// What sessions are for. All calls come from the shard's thread.
pub trait Application: Sized + 'static {
    /// What other threads send to it.
    type Message: Send + 'static;

    /// A session is open; what is sent from here comes right behind its open packet.
    fn on_open(&mut self, io: &mut EngineIo, session: SessionId, handshake: Handshake, now_ms: u64);
    /// A text message.
    fn on_text(&mut self, io: &mut EngineIo, session: SessionId, text: &str, now_ms: u64);
    /// A binary message.
    fn on_binary(&mut self, io: &mut EngineIo, session: SessionId, data: &[u8], now_ms: u64);
    /// The session is over.
    fn on_close(&mut self, io: &mut EngineIo, session: SessionId, reason: CloseReason, now_ms: u64);
    /// The time of [`EngineIo::set_deadline`] has come.
    fn on_deadline(&mut self, io: &mut EngineIo, session: SessionId, now_ms: u64);
    /// Messages of a turn; all of them are to be taken out.
    fn on_messages(&mut self, io: &mut EngineIo, messages: &mut Vec<Self::Message>, now_ms: u64);
    /// The time of [`Self::next_timer_ms`] has come.
    fn on_timers(&mut self, io: &mut EngineIo, now_ms: u64);
    /// When the application wants [`Self::on_timers`].
    fn next_timer_ms(&self) -> Option<u64>;
    /// What another node has to have ready before it can take a session over. `None`: requests of the client are under
    /// way; it is asked again. By default, sessions don't move.
    fn plan(&self, _session: SessionId) -> Option<Vec<u8>> {
        None
    }
    /// A session of another node is coming, whose plan this is; called again where the plan has changed. It takes
    /// messages from now on, as far as its gate lets them through; [`Self::on_close`] follows where it does not come
    /// after all.
    ///
    /// # Errors
    /// The plan can't be read, or not be carried out here.
    fn on_arrival(
        &mut self,
        _io: &mut EngineIo,
        _session: SessionId,
        _plan: &[u8],
        _now_ms: u64,
    ) -> Result<(), BadState> {
        Err(BadState)
    }
    /// Is all ready that the plan asks for?
    fn is_ready(&self, _session: SessionId) -> bool {
        false
    }
    /// Which broadcasts a session takes; without a gate, all of them.
    fn set_gate(&mut self, _session: SessionId, _gate: Option<Gate>) {}
    /// A session goes to another node: this is what goes with it. The application has it no more.
    fn export(&mut self, _io: &mut EngineIo, _session: SessionId) -> Vec<u8> {
        Vec::new()
    }
    /// A session that was announced is here, with what [`Self::export`] gave.
    ///
    /// # Errors
    /// The state can't be read.
    fn import(
        &mut self,
        _io: &mut EngineIo,
        _session: SessionId,
        _state: &[u8],
        _now_ms: u64,
    ) -> Result<(), BadState> {
        Err(BadState)
    }
    /// What the application of another node has to say about a session that was this node's.
    fn on_peer_message(&mut self, _io: &mut EngineIo, _message: &[u8]) {}
    /// Answers a request that is not for Engine.IO.
    fn respond(&self, request: HttpRequest<Incoming>) -> Elsewhere;
}

/// What another node sent of a session is of no use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state of a session of another node is of no use here")]
pub struct BadState;

/// The answer to a request that is not for Engine.IO.
pub type Elsewhere = std::pin::Pin<Box<dyn Future<Output = Response<Body>>>>;
