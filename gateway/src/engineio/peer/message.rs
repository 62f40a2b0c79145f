//! What nodes say to each other about sessions, and how it is written: a short header, by which the receiving node
//! finds the shard without reading on, and a body in MessagePack. Pure.
//!
//! | bytes | |
//! |---|---|
//! | 0 | the format's version |
//! | 1 | whom the message is for, see [`Direction`] |
//! | 2 | the shard that owns the session |
//! | 3 | the shard that asks, or that takes the session over |
//! | 4-8 | the node that sends |

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{IdText, NodeId};

/// Nodes of different versions share a cluster while an update rolls out: a change that older nodes can't read gets a
/// new number, and they refuse it instead of misreading it.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 9;

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The shard that owns the session.
    Owner,
    /// The shard that asks for the session, or takes it over.
    Asker,
    /// Both, at one place in the order of everything that Redis takes.
    Both,
}

/// What a node reads of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) direction: Direction,
    pub(crate) owner_shard: u8,
    pub(crate) asker_shard: u8,
    pub(crate) from: NodeId,
}

/// Why bytes are no message of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerDecodeError {
    #[error("version {0} of the messages between nodes is not known")]
    /// Of a newer node; or of something else.
    Version(u8),
    /// It ends early, or is something else.
    #[error("not a message between nodes")]
    Malformed,
}

impl Header {
    /// Reads the header of a message.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, PeerDecodeError> {
        let header = message.get(..HEADER_BYTES).ok_or(PeerDecodeError::Malformed)?;
        if header[0] != VERSION {
            return Err(PeerDecodeError::Version(header[0]));
        }
        let direction = match header[1] {
            0 => Direction::Owner,
            1 => Direction::Asker,
            2 => Direction::Both,
            _ => return Err(PeerDecodeError::Malformed),
        };
        let from = std::str::from_utf8(&header[4..]).ok().and_then(NodeId::parse);
        let from = from.ok_or(PeerDecodeError::Malformed)?;
        Ok(Self { direction, owner_shard: header[2], asker_shard: header[3], from })
    }

    /// The shard of `node` that a message is for.
    pub(crate) fn shard_on(&self, node: NodeId) -> u8 {
        match self.direction {
            Direction::Owner => self.owner_shard,
            // The owner sends it, to itself too.
            Direction::Both if self.from == node => self.owner_shard,
            Direction::Asker | Direction::Both => self.asker_shard,
        }
    }
}

/// A session on its way at the node that takes it over: the place in that shard's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct VisitId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The body of a message.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerMessage {
    /// A client's request came to another node than its session's.
    Ask { session: IdText, ask: u64, request: PeerRequest },
    /// The owner's answer to it.
    Answer { ask: u64, answer: PeerAnswer },
    /// A WebSocket at another node is about to take the session over.
    Visit { session: IdText, visit: VisitId, step: VisitStep },
    /// The owner's part in that.
    Move { visit: VisitId, step: MoveStep },
    /// From here on, messages are the other node's affair (ARCHITECTURE.md, "Moving a session").
    Cut { session: IdText, visit: VisitId },
    /// Of the application that took a session over, to the one that had it.
    Application { data: Bytes },
}

/// A request for a session; see `Request` for the same within a node.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerRequest {
    Poll {
        eio4: bool,
    },
    PollAborted,
    Push {
        eio4: bool,
        binary: bool,
        body: Bytes,
    },
    /// The client went away, or was too slow, in the middle of a body.
    PushAborted,
    /// The body was refused before it was complete; the checks come first, as ever.
    Check {
        eio4: bool,
    },
    CheckUpgrade {
        eio4: bool,
    },
    /// The node that holds the poll is going away: the poll is to be let go.
    ReleasePoll,
}

/// What the owner says to a request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerAnswer {
    /// To a poll.
    Body { bytes: Bytes, compress: bool },
    /// It was done, or nothing speaks against it.
    Done,
    /// To an upgrade: accept it, and close it at once.
    AcceptAndClose,
    /// The number of a documented error (wire.md 1.3).
    Error(u8),
    /// An empty answer with this status.
    Status(u16),
    /// The connection is to be dropped without an answer.
    Dropped,
}

/// What the node with the new WebSocket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VisitStep {
    /// The WebSocket is open.
    Begin,
    /// It got its `2probe`; polls are to be let go.
    Probed,
    /// It got its `5`: the session is to come here.
    Take,
    /// All that the plan names is subscribed here. Publishes of this node that come before this are still delivered by
    /// the owner, those behind it here.
    Ready,
    /// The WebSocket is gone.
    Abandon,
}

/// What the owner says to it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MoveStep {
    /// What is to be ready before the session comes: the application's.
    Plan { plan: Bytes },
    /// The session. The owner has it no more.
    State(Box<MovedSession>),
    /// There is no such session, or no more.
    Gone,
    /// It was disconnected by a server. That is to be told to the client, who is not to come back by itself.
    Over { waiting: Vec<MovedPacket> },
}

/// All that goes with a session to another node.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovedSession {
    /// Until the next ping, or until a pong is overdue.
    pub(crate) heartbeat_left_ms: u64,
    pub(crate) awaits_pong: bool,
    pub(crate) pong_put_off: bool,
    /// What waited for a poll.
    pub(crate) waiting: Vec<MovedPacket>,
    /// How many messages that is, for the counters.
    pub(crate) messages: u32,
    /// The application's.
    pub(crate) application: Bytes,
}

/// One Engine.IO packet that waits.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MovedPacket {
    Text(Bytes),
    Binary(Bytes),
    Control(Bytes),
}

impl PeerMessage {
    /// Writes the message behind its header.
    pub(crate) fn encode(&self, header: &Header) -> Bytes {
        let direction = match header.direction {
            Direction::Owner => 0,
            Direction::Asker => 1,
            Direction::Both => 2,
        };
        let mut message = vec![VERSION, direction, header.owner_shard, header.asker_shard];
        message.extend_from_slice(header.from.as_str().as_bytes());
        rmp_serde::encode::write(&mut message, self).expect("a vector takes everything");
        message.into()
    }

    /// Reads what stands behind the header.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, PeerDecodeError> {
        let body = message.get(HEADER_BYTES..).ok_or(PeerDecodeError::Malformed)?;
        rmp_serde::from_slice(body).map_err(|_| PeerDecodeError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(direction: Direction) -> Header {
        Header { direction, owner_shard: 3, asker_shard: 7, from: NodeId::parse("owner").expect("a name") }
    }

    fn messages() -> Vec<PeerMessage> {
        let session = IdText::parse("abcdefghijklmnopqrst").unwrap();
        let visit = VisitId { index: 9, generation: 4 };
        let bytes = Bytes::from_static(&[0, 0xff, 30]);
        vec![
            PeerMessage::Ask { session, ask: u64::MAX, request: PeerRequest::Poll { eio4: true } },
            PeerMessage::Ask { session, ask: 0, request: PeerRequest::PollAborted },
            PeerMessage::Ask {
                session,
                ask: 1,
                request: PeerRequest::Push { eio4: true, binary: false, body: bytes.clone() },
            },
            PeerMessage::Ask { session, ask: 0, request: PeerRequest::ReleasePoll },
            PeerMessage::Answer { ask: 1, answer: PeerAnswer::Body { bytes: bytes.clone(), compress: true } },
            PeerMessage::Answer { ask: 2, answer: PeerAnswer::Error(1) },
            PeerMessage::Answer { ask: 2, answer: PeerAnswer::Status(400) },
            PeerMessage::Visit { session, visit, step: VisitStep::Take },
            PeerMessage::Move { visit, step: MoveStep::Plan { plan: bytes.clone() } },
            PeerMessage::Move { visit, step: MoveStep::Gone },
            PeerMessage::Move {
                visit,
                step: MoveStep::Over { waiting: vec![MovedPacket::Text("1".into())] },
            },
            PeerMessage::Move {
                visit,
                step: MoveStep::State(Box::new(MovedSession {
                    heartbeat_left_ms: 17,
                    awaits_pong: true,
                    pong_put_off: false,
                    waiting: vec![MovedPacket::Text("2[\"a\"]".into()), MovedPacket::Binary(bytes.clone())],
                    messages: 1,
                    application: bytes.clone(),
                })),
            },
            PeerMessage::Cut { session, visit },
            PeerMessage::Application { data: bytes },
        ]
    }

    #[test]
    fn every_message_comes_back_as_it_went() {
        for message in messages() {
            for direction in [Direction::Owner, Direction::Asker, Direction::Both] {
                let bytes = message.encode(&header(direction));
                assert_eq!(Header::decode(&bytes), Ok(header(direction)));
                assert_eq!(PeerMessage::decode(&bytes).as_ref(), Ok(&message));
            }
        }
    }

    #[test]
    fn the_header_names_the_shard_of_each_node() {
        let (owner, asker) = (NodeId::parse("owner").unwrap(), NodeId::parse("asker").unwrap());
        for (direction, node, shard) in [
            (Direction::Owner, owner, 3),
            (Direction::Asker, asker, 7),
            (Direction::Both, owner, 3),
            (Direction::Both, asker, 7),
        ] {
            assert_eq!(header(direction).shard_on(node), shard, "{direction:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = messages()[0].encode(&header(Direction::Owner));
        for (place, value, expected) in [
            (0, 2, PeerDecodeError::Version(2)),
            (1, 3, PeerDecodeError::Malformed),
            (4, b'!', PeerDecodeError::Malformed),
            (5, 0xff, PeerDecodeError::Malformed),
        ] {
            let mut bad = good.to_vec();
            bad[place] = value;
            assert_eq!(Header::decode(&bad), Err(expected), "{place}");
        }
        for length in 0..good.len() {
            assert_eq!(PeerMessage::decode(&good[..length]), Err(PeerDecodeError::Malformed), "{length}");
        }
    }

    #[test]
    fn the_corpus_of_the_fuzz_target_is_read_and_written_again() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/peer_message");
        let mut read = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let Ok((header, message)) =
                Header::decode(&bytes).and_then(|header| Ok((header, PeerMessage::decode(&bytes)?)))
            else {
                continue;
            };
            assert_eq!(PeerMessage::decode(&message.encode(&header)), Ok(message));
            read += 1;
        }
        assert!(read >= messages().len(), "a seed for each kind of message, at least: {read}");
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for message in messages() {
            let good = message.encode(&header(Direction::Both));
            for _ in 0..2_000 {
                let mut bad = good.to_vec();
                for _ in 0..=seed % 3 {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let place = seed as usize % bad.len();
                    bad[place] = (seed >> 32) as u8;
                }
                let _ = (Header::decode(&bad), PeerMessage::decode(&bad));
            }
        }
    }
}
