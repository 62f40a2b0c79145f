//! Packets and their text (wire.md 2.1): `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`.

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// `0`: joins a namespace, or confirms it.
    Connect,
    /// `1`: leaves a namespace.
    Disconnect,
    /// `2`: an event.
    Event,
    /// `3`: the answer to an event.
    Ack,
    /// `4`: refuses a namespace.
    ConnectError,
    /// `5`: an event with attachments.
    BinaryEvent,
    /// `6`: an answer with attachments.
    BinaryAck,
}

impl PacketType {
    const fn digit(self) -> u8 {
        match self {
            Self::Connect => b'0',
            Self::Disconnect => b'1',
            Self::Event => b'2',
            Self::Ack => b'3',
            Self::ConnectError => b'4',
            Self::BinaryEvent => b'5',
            Self::BinaryAck => b'6',
        }
    }

    pub(super) const fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }

    /// Whether binary attachments follow.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// One packet, without its attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: PacketType,
    /// How many binary messages follow; 0 unless the type is a binary one.
    pub attachments: usize,
    /// The namespace with its slash; `/` where the text leaves it out.
    pub namespace: &'a str,
    /// The digits of the ack id. Kept as text, so that long ids are echoed as they came (wire.md 2.1).
    pub ack_id: Option<&'a str>,
    /// JSON text.
    pub payload: Option<&'a str>,
}

/// Appends the text of a packet, without the Engine.IO `4` before it. The caller picks the type that fits
/// `attachments`.
pub fn push_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    out.push(packet.kind.digit());
    if packet.kind.is_binary() {
        out.extend_from_slice(packet.attachments.to_string().as_bytes());
        out.push(b'-');
    }
    if packet.namespace != "/" {
        out.extend_from_slice(packet.namespace.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(packet.ack_id.unwrap_or_default().as_bytes());
    out.extend_from_slice(packet.payload.unwrap_or_default().as_bytes());
}
