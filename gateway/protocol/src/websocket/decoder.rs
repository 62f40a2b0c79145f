//! From bytes to messages (RFC 6455 sections 5.4 to 5.6, 8.1).
//!
//! The [`Decoder`] owns what is incomplete between two reads and nothing else; the bytes belong to the caller's read
//! buffer. A complete unfragmented message is unmasked where it lies and handed out from there.

use super::frame::{Header, OpCode, Role};
use super::partial::Partial;
use super::{Violation, close, mask};

/// What a peer sent: a message, whole, or a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The closing handshake, with a code and reason where the frame has them. The code is one that may be echoed.
    Close(Option<(u16, &'a str)>),
}

impl<'a> Event<'a> {
    pub(super) fn new(opcode: OpCode, payload: &'a [u8]) -> Result<Self, Violation> {
        Ok(match opcode {
            OpCode::Text => {
                Self::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Violation::InvalidUtf8)?)
            }
            // A continuation never comes alone: it is handed out under the opcode of its message.
            OpCode::Binary | OpCode::Continuation => Self::Binary(payload),
            OpCode::Ping => Self::Ping(payload),
            OpCode::Pong => Self::Pong(payload),
            OpCode::Close => Self::Close(close::parse(payload)?),
        })
    }
}

/// Decodes one connection's stream of frames, in pieces of any size.
///
/// Eight bytes as long as nothing is incomplete; the rest is boxed and freed when it is no longer needed.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What one step over the input led to. Nothing here borrows from the decoder.
pub(super) enum Step<'i> {
    /// The input is used up.
    UsedUp,
    /// A fragment is taken in; there may be more.
    Taken,
    /// A message or control frame that lies whole in the input, unmasked.
    InInput(OpCode, &'i [u8]),
    /// A message or control frame that is now complete in the `Partial`.
    InPartial,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes the next event out of `input` and advances it; `None` when the input is used up, an incomplete tail
    /// being kept inside. Call it until it returns `None`: what an event was put together from is freed by the call
    /// after it.
    ///
    /// `max_message_bytes` bounds a whole message, over all its fragments. It is checked from the header, before
    /// anything of the frame is kept, and memory grows with what arrives, not with what was announced.
    ///
    /// # Errors
    /// The rule that was broken. Text is checked as it arrives, so a bad byte in a fragment is found without waiting
    /// for the rest. After an error, and after [`Event::Close`], the stream has no meaning: stop decoding it.
    pub fn next<'e, 'i: 'e>(
        &'e mut self,
        role: Role,
        max_message_bytes: usize,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'e>>, Violation> {
        self.release();
        loop {
            match self.step(role, max_message_bytes, input)? {
                Step::UsedUp => return Ok(None),
                Step::Taken => {}
                Step::InInput(opcode, payload) => return Event::new(opcode, payload).map(Some),
                Step::InPartial => break,
            }
        }
        self.partial.as_deref().map_or(Ok(None), Partial::complete_event)
    }

    /// Bytes of incomplete frames and messages that are kept.
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_deref().map_or(0, Partial::buffered_bytes)
    }

    /// How many frames came since the last call that did not end their message and held less than 1 KiB: next to no work
    /// for a peer, and as much as a message for us. Those of a message that is complete are counted, too, as long as it
    /// has not been followed by another call of [`Self::next`].
    pub fn take_tiny_fragments(&mut self) -> u32 {
        self.partial.as_deref_mut().map_or(0, Partial::take_tiny_fragments)
    }

    fn step<'i>(
        &mut self,
        role: Role,
        max_message_bytes: usize,
        input: &mut &'i mut [u8],
    ) -> Result<Step<'i>, Violation> {
        if let Some(partial) = &mut self.partial
            && partial.is_inside_frame()
        {
            return partial.take_payload(input);
        }
        let Some(header) = self.take_header(role, input)? else { return Ok(Step::UsedUp) };
        let payload_bytes = self.check_order_and_size(&header, max_message_bytes)?;

        let is_alone = header.fin && header.opcode != OpCode::Continuation;
        if is_alone && payload_bytes <= input.len() {
            let payload = take(input, payload_bytes);
            mask::apply(payload, header.mask);
            return Ok(Step::InInput(header.opcode, payload));
        }
        let partial = self.partial.get_or_insert_default();
        partial.begin_frame(&header, payload_bytes);
        partial.take_payload(input)
    }

    fn take_header(&mut self, role: Role, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        if !self.partial.as_deref().is_some_and(Partial::is_inside_header) {
            if let Some(header) = Header::parse(input, role)? {
                take(input, header.header_bytes);
                return Ok(Some(header));
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
        self.partial.get_or_insert_default().take_header(role, input)
    }

    /// Fragments in their order (section 5.4), and the limit; the length as one that fits in memory.
    fn check_order_and_size(&self, header: &Header, max_message_bytes: usize) -> Result<usize, Violation> {
        let open_bytes = self.partial.as_deref().and_then(Partial::message_bytes);
        let kept_bytes = match (header.opcode, open_bytes) {
            (OpCode::Continuation, None) => return Err(Violation::UnexpectedContinuation),
            (OpCode::Text | OpCode::Binary, Some(_)) => return Err(Violation::ExpectedContinuation),
            (OpCode::Continuation, Some(kept_bytes)) => kept_bytes,
            _ => 0,
        };
        let payload_bytes = usize::try_from(header.payload_bytes).map_err(|_| Violation::TooBig)?;
        let fits =
            header.opcode.is_control() || payload_bytes <= max_message_bytes.saturating_sub(kept_bytes);
        if fits { Ok(payload_bytes) } else { Err(Violation::TooBig) }
    }

    /// Lets go of what the last call handed out, and of the box when nothing is left in it.
    fn release(&mut self) {
        if let Some(partial) = &mut self.partial {
            partial.release();
            if partial.is_empty() {
                self.partial = None;
            }
        }
    }
}

/// Splits the first `bytes` off `input`.
pub(super) fn take<'i>(input: &mut &'i mut [u8], bytes: usize) -> &'i mut [u8] {
    let (head, tail) = std::mem::take(input).split_at_mut(bytes);
    *input = tail;
    head
}
