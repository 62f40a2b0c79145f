//! This node's own requests that wait for the answers of other nodes: a pure state machine.
//!
//! Owns what has been answered so far. It knows neither clock nor channel: who asks says how many nodes should answer,
//! and takes what there is when everyone has answered or the time is up. Node.js throws partial answers away; here they
//! are worth something (wire.md 9, row 4).

use std::collections::HashMap;

use crate::{Answers, Request, RequestError, Response};

/// Sockets or rooms of all answers to one request, at most.
pub const MAX_ITEMS: usize = 200_000;

/// Requests by their id. `W` is whatever wakes the one who waits.
#[derive(Debug)]
pub struct PendingRequests<W> {
    pending: HashMap<Box<str>, Pending<W>>,
    max_pending: usize,
}

#[derive(Debug)]
struct Pending<W> {
    kind: u8,
    answers: Answers,
    items: usize,
    clients: u64,
    client_acks: u64,
    waker: W,
}

impl<W> PendingRequests<W> {
    /// Nothing waits.
    #[must_use]
    pub fn new(max_pending: usize) -> Self {
        Self { pending: HashMap::new(), max_pending }
    }

    /// Requests that wait now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Does none wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a request in, for which `expected` other nodes should answer.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn begin(
        &mut self,
        id: &str,
        request: &Request,
        expected: usize,
        waker: W,
    ) -> Result<(), RequestError> {
        if self.pending.len() >= self.max_pending {
            return Err(RequestError::TooManyPending);
        }
        let answers = Answers { expected, ..Answers::default() };
        let kind = request.kind.number();
        let pending = Pending { kind, answers, items: 0, clients: 0, client_acks: 0, waker };
        self.pending.insert(id.into(), pending);
        Ok(())
    }

    /// The number of the request's kind; `None` for a request of another node, or one that is over.
    #[must_use]
    pub fn kind(&self, id: &str) -> Option<u8> {
        self.pending.get(id).map(|pending| pending.kind)
    }

    /// Takes an answer; gives the waker when nothing more is to come. An answer of another kind is ignored.
    pub fn answer(&mut self, id: &str, response: Response) -> Option<&W> {
        let pending = self.pending.get_mut(id)?;
        pending.add(response);
        pending.is_done().then_some(&pending.waker)
    }

    /// Takes a request out, with what was answered so far.
    pub fn finish(&mut self, id: &str) -> Option<Answers> {
        self.pending.remove(id).map(|pending| pending.answers)
    }
}

impl<W> Pending<W> {
    fn add(&mut self, mut response: Response) {
        match (self.kind, &mut response) {
            (0, Response::Sockets(names)) | (1, Response::Rooms(names)) => self.bound(names),
            (5, Response::Fetched(sockets)) => self.bound(sockets),
            (2..=4, Response::Done) | (6, Response::ServerSideAck(_)) => {}
            (7, Response::ClientCount(clients)) => self.clients = self.clients.saturating_add(*clients),
            (7, Response::ClientAck { .. }) => {
                self.client_acks += 1;
                if self.items >= MAX_ITEMS {
                    self.answers.truncated = true;
                    return;
                }
                self.items += 1;
                self.answers.responses.push(response);
                return;
            }
            _ => return,
        }
        self.answers.answered += 1;
        self.answers.responses.push(response);
    }

    fn bound<T>(&mut self, items: &mut Vec<T>) {
        let room = MAX_ITEMS - self.items;
        if items.len() > room {
            items.truncate(room);
            self.answers.truncated = true;
        }
        self.items += items.len();
    }

    fn is_done(&self) -> bool {
        self.answers.answered >= self.answers.expected && self.client_acks >= self.clients
    }
}
