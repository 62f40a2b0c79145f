//! What a [`Decoder`](super::Decoder) keeps between two reads: the start of a header, of a frame, of a message.

use super::decoder::{Event, Step, take};
use super::frame::{Header, MAX_MASKED_HEADER_BYTES, OpCode, Role};
use super::{Violation, mask};

/// Exists only while something is incomplete, or was handed out by the last call.
#[derive(Debug, Default)]
pub(super) struct Partial {
    header: [u8; MAX_MASKED_HEADER_BYTES],
    header_bytes: usize,
    frame: Option<Frame>,
    message: Option<Message>,
    /// Payload of a control frame: apart, as it may come between the fragments of a message.
    control: Vec<u8>,
    complete: Option<Complete>,
    /// Frames without the end of their message that held less than [`TINY_FRAGMENT_BYTES`].
    tiny_fragments: u32,
}

/// A sender that parts messages to some purpose sends more at a time.
const TINY_FRAGMENT_BYTES: usize = 1024;

/// The frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    fin: bool,
    /// As it applies to the next byte.
    mask: [u8; 4],
    remaining_bytes: usize,
}

/// The message that is being put together, unmasked.
#[derive(Debug)]
struct Message {
    opcode: OpCode,
    bytes: Vec<u8>,
    /// How much of a text is known to be whole, valid characters.
    valid_bytes: usize,
}

/// What stands complete in the buffers until the next call.
#[derive(Clone, Copy, Debug)]
enum Complete {
    Message,
    Control(OpCode),
}

impl Partial {
    pub(super) const fn is_inside_header(&self) -> bool {
        self.header_bytes > 0
    }

    pub(super) const fn is_inside_frame(&self) -> bool {
        self.frame.is_some()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.header_bytes == 0 && self.frame.is_none() && self.message.is_none() && self.complete.is_none()
    }

    /// Bytes of the open message so far; `None` when none is open.
    pub(super) fn message_bytes(&self) -> Option<usize> {
        self.message.as_ref().map(|message| message.bytes.len())
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.header_bytes + self.message_bytes().unwrap_or(0) + self.control.len()
    }

    /// Goes on with a header; `None` when it is still incomplete, all input then being kept.
    pub(super) fn take_header(
        &mut self,
        role: Role,
        input: &mut &mut [u8],
    ) -> Result<Option<Header>, Violation> {
        let kept_bytes = self.header_bytes;
        let new_bytes = input.len().min(MAX_MASKED_HEADER_BYTES - kept_bytes);
        let end = kept_bytes + new_bytes;
        self.header[kept_bytes..end].copy_from_slice(&input[..new_bytes]);
        let header = Header::parse(&self.header[..end], role)?;
        match &header {
            Some(header) => {
                self.header_bytes = 0;
                take(input, header.header_bytes - kept_bytes);
            }
            None => {
                self.header_bytes = end;
                take(input, new_bytes);
            }
        }
        Ok(header)
    }

    pub(super) fn begin_frame(&mut self, header: &Header, payload_bytes: usize) {
        let Header { opcode, fin, mask, .. } = *header;
        if matches!(opcode, OpCode::Text | OpCode::Binary) {
            self.message = Some(Message { opcode, bytes: Vec::new(), valid_bytes: 0 });
        }
        if !fin && payload_bytes < TINY_FRAGMENT_BYTES {
            self.tiny_fragments = self.tiny_fragments.saturating_add(1);
        }
        self.frame = Some(Frame { opcode, fin, mask, remaining_bytes: payload_bytes });
    }

    /// Takes what there is of the frame's payload.
    pub(super) fn take_payload<'i>(&mut self, input: &mut &mut [u8]) -> Result<Step<'i>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(Step::Taken) };
        let payload = take(input, frame.remaining_bytes.min(input.len()));
        mask::apply(payload, frame.mask);
        frame.mask = mask::rotated(frame.mask, payload.len());
        frame.remaining_bytes -= payload.len();

        match &mut self.message {
            Some(message) if !frame.opcode.is_control() => message.push(payload)?,
            _ => self.control.extend_from_slice(payload),
        }
        if frame.remaining_bytes > 0 {
            return Ok(Step::UsedUp);
        }
        let (opcode, fin) = (frame.opcode, frame.fin);
        self.frame = None;
        if !fin {
            return Ok(Step::Taken);
        }
        self.complete = Some(if opcode.is_control() { Complete::Control(opcode) } else { Complete::Message });
        Ok(Step::InPartial)
    }

    /// See [`Decoder::take_tiny_fragments`](super::Decoder::take_tiny_fragments).
    pub(super) fn take_tiny_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.tiny_fragments)
    }

    /// The event that stands complete in the buffers.
    pub(super) fn complete_event(&self) -> Result<Option<Event<'_>>, Violation> {
        match (self.complete, &self.message) {
            (Some(Complete::Control(opcode)), _) => Event::new(opcode, &self.control).map(Some),
            (Some(Complete::Message), Some(message)) => Event::new(message.opcode, &message.bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// Frees what stood complete.
    pub(super) fn release(&mut self) {
        match self.complete.take() {
            Some(Complete::Message) => self.message = None,
            Some(Complete::Control(_)) => self.control = Vec::new(),
            None => {}
        }
    }
}

impl Message {
    /// Appends a piece. The buffer grows by doubling, with what has come, never by what a header announces.
    fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        self.bytes.extend_from_slice(piece);
        if self.opcode == OpCode::Text { self.check_text() } else { Ok(()) }
    }

    /// Checks what is new; a character that is cut off at the end is left for the next piece.
    fn check_text(&mut self) -> Result<(), Violation> {
        match simdutf8::compat::from_utf8(&self.bytes[self.valid_bytes..]) {
            Ok(text) => self.valid_bytes += text.len(),
            Err(error) if error.error_len().is_none() => self.valid_bytes += error.valid_up_to(),
            Err(_) => return Err(Violation::InvalidUtf8),
        }
        Ok(())
    }
}
