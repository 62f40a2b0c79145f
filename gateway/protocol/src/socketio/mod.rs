//! Socket.IO protocol revision 5 as the default parser speaks it (wire.md, section 2).
//!
//! A packet is the text of one Engine.IO message; the attachments of a binary packet follow as binary messages of
//! their own, which an [`Assembler`] waits for. Arguments stay the JSON text that came: a gateway passes them on.

mod assembler;
mod decode;
mod event;
mod packet;
mod placeholders;

pub use assembler::Assembler;
pub use decode::{DecodeError, DecodeLimits, decode, is_reserved_event};
pub use event::{Event, EventName};
pub use packet::{Packet, PacketType, push_packet};
