//! The slots of a Redis Cluster, and who serves them. Pure.

use std::ops::RangeInclusive;

use super::super::{driver::Reply, endpoint::Address};

const SLOTS: u16 = 16_384;
const CRC16_POLYNOMIAL: u16 = 0x1021;

/// The slot of a key (Redis Cluster specification, "Key distribution model" and "Hash tags").
pub(super) fn slot(key: &str) -> u16 {
    let key = key.as_bytes();
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

/// What is between the first `{` and the first `}` after it, unless it is nothing.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|&byte| byte == b'{')? + 1;
    let length = key[start..].iter().position(|&byte| byte == b'}')?;
    (length > 0).then(|| &key[start..start + length])
}

/// CRC16 in the form of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ CRC16_POLYNOMIAL }
        })
    })
}

/// Who serves what, as one of the servers sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClusterMap {
    shards: Vec<Shard>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shard {
    slots: RangeInclusive<u16>,
    /// The master first; at least that one.
    servers: Vec<Address>,
}

impl ClusterMap {
    /// Reads the answer to `CLUSTER SLOTS`; `None` where it is none. `asked` is the host that gave it: a server that
    /// does not know its own host leaves it out.
    pub(super) fn read(reply: &Reply, asked: &str) -> Option<Self> {
        let Reply::Array(ranges) = reply else { return None };
        let shards = ranges.iter().map(|range| Shard::read(range, asked));
        Some(Self { shards: shards.collect::<Option<_>>()? })
    }

    /// The server to meet at, where the slot is served.
    pub(super) fn master_of(&self, slot: u16) -> Option<&Address> {
        self.shards.iter().find(|shard| shard.slots.contains(&slot)).map(|shard| &shard.servers[0])
    }

    /// Every server, once.
    pub(super) fn servers(&self) -> Vec<&Address> {
        let mut servers = Vec::new();
        for server in self.shards.iter().flat_map(|shard| &shard.servers) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers
    }
}

impl Shard {
    fn read(reply: &Reply, asked: &str) -> Option<Self> {
        let Reply::Array(items) = reply else { return None };
        let [Reply::Int(first), Reply::Int(last), servers @ ..] = items.as_slice() else { return None };
        let slots = u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?;
        let servers: Vec<_> =
            servers.iter().map(|server| read_server(server, asked)).collect::<Option<_>>()?;
        (!servers.is_empty()).then_some(Self { slots, servers })
    }
}

/// Host, port, and what newer servers add.
fn read_server(reply: &Reply, asked: &str) -> Option<Address> {
    let Reply::Array(items) = reply else { return None };
    let [host, Reply::Int(port), ..] = items.as_slice() else { return None };
    let host = match host {
        Reply::Text(host) if !host.is_empty() && host != b"?" => String::from_utf8(host.clone()).ok()?,
        Reply::Text(_) | Reply::Nil => asked.to_owned(),
        _ => return None,
    };
    Some(Address::Tcp { host, port: u16::try_from(*port).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    fn server(host: Reply, port: i64) -> Reply {
        Reply::Array(vec![host, Reply::Int(port), text("an id"), Reply::Array(Vec::new())])
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn slots_are_those_that_redis_gives() {
        for (key, expected) in [
            // `CLUSTER KEYSLOT` of redis-server 7.0.15.
            ("", 0),
            ("foo", 12_182),
            ("bar", 5061),
            ("socket.io", 9972),
            ("123456789", 12_739),
            ("{socket.io}.chat", 9972),
            ("chat{socket.io}{foo}", 9972),
            ("chat{}{foo}", 13_241),
            ("chat{", 3109),
        ] {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn a_map_tells_who_serves_a_slot_and_who_is_there() {
        let range = |first, last, servers: &[Reply]| {
            Reply::Array([&[Reply::Int(first), Reply::Int(last)], servers].concat())
        };
        let map = ClusterMap::read(
            &Reply::Array(vec![
                range(0, 99, &[server(text("10.0.0.1"), 1), server(text("10.0.0.2"), 2)]),
                range(100, 199, &[server(Reply::Nil, 3), server(text(""), 4), server(text("?"), 5)]),
                range(300, 399, &[server(text("10.0.0.1"), 1)]),
            ]),
            "asked",
        )
        .expect("it is a map");
        let (first, third) = (tcp("10.0.0.1", 1), tcp("asked", 3));
        for (slot, expected) in [
            (0, Some(&first)),
            (99, Some(&first)),
            (100, Some(&third)),
            (200, None),
            (350, Some(&first)),
            (16_383, None),
        ] {
            assert_eq!(map.master_of(slot), expected, "{slot}");
        }
        let servers = [first.clone(), tcp("10.0.0.2", 2), third.clone(), tcp("asked", 4), tcp("asked", 5)];
        assert_eq!(map.servers(), servers.iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_answer_of_another_form_is_no_map() {
        let range = |items: &[Reply]| Reply::Array(vec![Reply::Array(items.to_vec())]);
        for reply in [
            Reply::Nil,
            Reply::Int(1),
            Reply::Error("ERR This instance has cluster support disabled".to_owned()),
            Reply::Array(vec![Reply::Nil]),
            range(&[]),
            range(&[Reply::Int(0), Reply::Int(1)]),
            range(&[Reply::Int(-1), Reply::Int(1), server(text("h"), 1)]),
            range(&[Reply::Int(0), Reply::Int(70_000), server(text("h"), 1)]),
            range(&[Reply::Int(0), Reply::Int(1), server(text("h"), 70_000)]),
            range(&[Reply::Int(0), Reply::Int(1), server(Reply::Text(vec![0xff]), 1)]),
            range(&[Reply::Int(0), Reply::Int(1), Reply::Array(vec![text("h")])]),
        ] {
            assert_eq!(ClusterMap::read(&reply, "asked"), None, "{reply:?}");
        }
    }
}
