//! A binary packet that waits for its attachments (wire.md 2.1: they follow in order, with nothing between).

use super::packet::{Packet, PacketType};

/// Owns one binary packet and the attachments that have come. Lives only while it waits.
#[derive(Debug)]
pub struct Assembler {
    kind: PacketType,
    expected: usize,
    namespace: Box<str>,
    ack_id: Option<Box<str>>,
    payload: Option<Box<str>>,
    attachments: Vec<Box<[u8]>>,
    attachment_bytes: usize,
}

impl Assembler {
    /// Begins to wait for the attachments of `header`, of which it keeps a copy.
    pub fn new(header: &Packet<'_>) -> Self {
        Self {
            kind: header.kind,
            expected: header.attachments,
            namespace: header.namespace.into(),
            ack_id: header.ack_id.map(Into::into),
            payload: header.payload.map(Into::into),
            attachments: Vec::new(),
            attachment_bytes: 0,
        }
    }

    /// Takes the next attachment; true when it was the last. What comes after the last is not kept.
    pub fn add(&mut self, attachment: &[u8]) -> bool {
        if self.attachments.len() < self.expected {
            self.attachment_bytes += attachment.len();
            self.attachments.push(attachment.into());
        }
        self.attachments.len() >= self.expected
    }

    /// Bytes of the packet's text and of the attachments so far.
    pub fn buffered_bytes(&self) -> usize {
        let text_bytes = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        self.namespace.len() + text_bytes(&self.ack_id) + text_bytes(&self.payload) + self.attachment_bytes
    }

    /// The packet that waits.
    pub fn packet(&self) -> Packet<'_> {
        Packet {
            kind: self.kind,
            attachments: self.expected,
            namespace: &self.namespace,
            ack_id: self.ack_id.as_deref(),
            payload: self.payload.as_deref(),
        }
    }

    /// Takes out the attachments that have come, in order; the packet stays.
    pub fn take_attachments(&mut self) -> Vec<Box<[u8]>> {
        self.attachment_bytes = 0;
        std::mem::take(&mut self.attachments)
    }
}
