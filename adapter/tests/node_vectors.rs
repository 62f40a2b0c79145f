//! Messages that the real Node.js libraries wrote (`vectors/node_tuples.json`, made by `vectors/make_node_tuples.cjs`):
//! read as Node reads them, and written byte by byte the same.

use broadgate_adapter::{
    Broadcast, EventPacket, Flags, Origin, Stamp,
    wire::{Channels, Inbound, Limits, decode_tuple, encode_tuple},
};
use bytes::Bytes;
use serde::Deserialize;

/// One message: the bytes, and what Node makes of them for its clients.
#[derive(Deserialize)]
struct Vector {
    name: String,
    channel: String,
    hex: String,
    json: String,
    attachments: Vec<String>,
    rooms: Vec<Box<str>>,
    except: Vec<Box<str>>,
    flags: NodeFlags,
    nsp: String,
    uid: String,
    /// Whether the JSON says all that the message says (it does not of dates or NaN).
    survives_json: bool,
}

#[derive(Deserialize)]
struct NodeFlags {
    volatile: Option<bool>,
    compress: Option<bool>,
}

impl Vector {
    fn all() -> Vec<Self> {
        let vectors: Vec<Self> =
            serde_json::from_str(include_str!("vectors/node_tuples.json")).expect("valid vectors");
        assert!(vectors.len() > 20);
        vectors
    }

    fn broadcast(&self) -> Broadcast {
        Broadcast {
            namespace: self.nsp.as_str().into(),
            rooms: self.rooms.clone(),
            except: self.except.clone(),
            flags: Flags {
                volatile: self.flags.volatile == Some(true),
                no_compress: self.flags.compress == Some(false),
            },
            stamp: Stamp::default(),
            packet: EventPacket {
                json: self.json.as_str().into(),
                attachments: self.attachments.iter().map(|data| Bytes::from(bytes_of(data))).collect(),
            },
        }
    }
}

#[test]
fn what_node_writes_is_read_as_node_reads_it() {
    for vector in Vector::all() {
        let inbound = decode_tuple(&bytes_of(&vector.hex), "mine", &vector.nsp, &Limits::default());
        assert_eq!(
            inbound.expect(&vector.name),
            Inbound::Broadcast(vector.broadcast(), Origin::of(&vector.uid)),
            "{}",
            vector.name
        );
    }
}

#[test]
fn nodes_messages_are_published_where_node_publishes_them() {
    for vector in Vector::all() {
        let channels = Channels::new("socket.io");
        assert_eq!(channels.publish(&vector.nsp, &vector.rooms), vector.channel, "{}", vector.name);
        let name = channels.parse(&vector.channel).expect("a channel of a broadcast");
        assert_eq!(name.namespace, vector.nsp);
        assert_eq!(name.room, if vector.rooms.len() == 1 { Some(&*vector.rooms[0]) } else { None });
    }
}

#[test]
fn what_we_write_is_what_the_node_adapter_writes() {
    let mut whole = 0;
    for vector in Vector::all().into_iter().filter(|vector| vector.survives_json) {
        let written =
            hex_of(&encode_tuple(&vector.uid, &vector.broadcast(), &Limits::default()).expect("it is valid"));
        if vector.uid == "emitter" {
            // The emitter has another order of the options than the adapter, whose order is ours.
            let rooms = vector.hex.rfind("a5726f6f6d73").expect("it has the key rooms");
            assert_eq!(written[..rooms], vector.hex[..rooms], "{}", vector.name);
        } else {
            assert_eq!(written, vector.hex, "{}", vector.name);
            whole += 1;
        }
    }
    assert_eq!(whole, 3);
}

#[test]
fn a_nodes_own_message_is_recognised() {
    for vector in Vector::all() {
        let inbound = decode_tuple(&bytes_of(&vector.hex), &vector.uid, &vector.nsp, &Limits::default());
        assert_eq!(inbound.expect(&vector.name), Inbound::Own);
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
