//! What goes to sessions: a run of messages that is encoded at most once for each encoding in use, however many
//! sessions get it.

use std::{cell::OnceCell, rc::Rc};

use broadgate_protocol::{
    engineio::payload,
    websocket::{OpCode, push_frame, push_header},
};
use bytes::Bytes;

use crate::net::Frame;

/// One Engine.IO packet.
#[derive(Debug, Clone)]
pub enum Part {
    /// A text message, without the packet type.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// Another packet, whole.
    Control(Bytes),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Text(data) | Self::Binary(data) | Self::Control(data) => data.len(),
        }
    }
}

/// Messages that go out together and in this order, with their lazily made encodings. Used by one shard.
#[derive(Debug)]
pub struct Outgoing {
    parts: Vec<Part>,
    messages: u32,
    compress: bool,
    frame: OnceCell<Rc<Frame>>,
    chunk: OnceCell<Box<[u8]>>,
}

impl Outgoing {
    /// Takes messages that go out together. `messages`: how many the counters should see (an event with its
    /// attachments is one). `compress`: may a poll that holds them be compressed?
    pub fn new(parts: Vec<Part>, messages: u32, compress: bool) -> Rc<Self> {
        Rc::new(Self { parts, messages, compress, frame: OnceCell::new(), chunk: OnceCell::new() })
    }

    /// One text message.
    pub fn text(text: impl Into<Bytes>) -> Rc<Self> {
        Self::new(vec![Part::Text(text.into())], 1, true)
    }

    /// One binary message.
    pub fn binary(data: impl Into<Bytes>) -> Rc<Self> {
        Self::new(vec![Part::Binary(data.into())], 1, true)
    }

    pub(super) fn control(packet: impl Into<Bytes>) -> Rc<Self> {
        Self::new(vec![Part::Control(packet.into())], 0, false)
    }

    /// How many messages the counters see.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(super) fn may_compress(&self) -> bool {
        self.compress
    }

    /// Server frames are not masked, so these bytes serve every session on WebSocket (RFC 6455 section 5.1).
    pub(super) fn frame(&self) -> &Rc<Frame> {
        self.frame.get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.parts.iter().map(|part| part.len() + 11).sum());
            for part in &self.parts {
                match part {
                    Part::Text(text) => {
                        push_header(&mut bytes, OpCode::Text, text.len() + 1);
                        bytes.push(b'4');
                        bytes.extend_from_slice(text);
                    }
                    Part::Binary(data) => push_frame(&mut bytes, OpCode::Binary, data),
                    Part::Control(packet) => push_frame(&mut bytes, OpCode::Text, packet),
                }
            }
            Frame::new(bytes, self.messages)
        })
    }

    /// The packets of a polling payload (wire.md 1.5).
    pub(crate) fn chunk(&self) -> &[u8] {
        self.chunk.get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.parts.iter().map(|part| part.len() * 4 / 3 + 6).sum());
            for part in &self.parts {
                if !bytes.is_empty() {
                    bytes.push(payload::SEPARATOR);
                }
                match part {
                    Part::Text(text) => {
                        bytes.push(b'4');
                        bytes.extend_from_slice(text);
                    }
                    Part::Binary(data) => payload::push_binary(&mut bytes, data),
                    Part::Control(packet) => bytes.extend_from_slice(packet),
                }
            }
            bytes.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transport_gets_its_encoding_of_the_same_messages() {
        let header = Part::Text("51-[\"a\",{\"_placeholder\":true,\"num\":0}]".into());
        let outgoing = Outgoing::new(vec![header, Part::Binary(Bytes::from_static(&[1, 2, 3]))], 1, true);
        assert_eq!(outgoing.chunk(), b"451-[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID");
        let frame = outgoing.frame().bytes();
        assert_eq!(frame[..3], [0x81, 39, b'4']);
        assert_eq!(frame[41..], [0x82, 3, 1, 2, 3]);
        assert!(Rc::ptr_eq(outgoing.frame(), outgoing.frame()));
    }

    #[test]
    fn a_control_packet_is_not_a_message() {
        let ping = Outgoing::control("2");
        assert_eq!(
            (ping.chunk(), ping.frame().bytes(), ping.messages()),
            (&b"2"[..], &[0x81, 1, b'2'][..], 0)
        );
    }
}
