//! Ids of sessions and sockets: 20 URL-safe base64 characters (wire.md 1.4) that name their owner. Whoever gets a
//! request reads from the id where the session lives; nobody is asked.
//!
//! | characters | bits | |
//! |---|---|---|
//! | 0-4 | 30 | the node |
//! | 5 | 6 | the shard |
//! | 6-9 | 24 | the place in the shard's table |
//! | 10-19 | 60 | a secret; that of a session ends in 40 bits which other nodes can check, see [`IdKey`] |

use std::{fmt, hash::Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Length of every id.
pub const ID_CHARS: usize = 20;
const NODE_CHARS: usize = 5;
const INDEX_BITS: u32 = 24;
const SECRET_BITS: u32 = 60;
const SEAL_BITS: u32 = 40;
const NONCE_BITS: u32 = SECRET_BITS - SEAL_BITS;
/// Shards that an id can name.
pub const MAX_SHARDS: usize = 64;

/// What the ids of one node's sessions and sockets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; NODE_CHARS]);

impl NodeId {
    /// Makes a new one; two nodes of a cluster of 100 share one with a chance of 1 in 200,000.
    ///
    /// # Errors
    /// The system has no random source.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self(encode_bits(u64::from(getrandom::u32()?))))
    }

    /// Reads a node's name; `None` where it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        decode_bits(text.as_bytes())?;
        Some(Self(text.as_bytes().try_into().ok()?))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("of the alphabet")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node seals the ids of its sessions with. The other nodes of the cluster know it and forward no request whose
/// id it has not sealed, so whoever makes ids up does not reach Redis. To take a session over needs its whole secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdKey(pub u128);

impl IdKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// The system has no random source.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_le_bytes(bytes)))
    }

    /// A new id for a session's place.
    ///
    /// # Errors
    /// The system has no random source.
    pub fn mint(self, node: NodeId, shard: u8, index: u32) -> Result<Id, getrandom::Error> {
        let nonce = u64::from(getrandom::u32()? >> (32 - NONCE_BITS));
        Ok(Id { shard, index, secret: nonce << SEAL_BITS | self.seal(node, shard, index, nonce) })
    }

    /// Was this made with the key?
    pub fn has_sealed(self, id: IdText) -> bool {
        let (node, id) = id.parts();
        let seal = id.secret & ((1 << SEAL_BITS) - 1);
        // Its time tells nothing of use: what it guards is a message over Redis.
        seal == self.seal(node, id.shard, id.index, id.secret >> SEAL_BITS)
    }

    fn seal(self, node: NodeId, shard: u8, index: u32, nonce: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0.to_le_bytes());
        hasher.write(&node.0);
        hasher.write(&[shard]);
        hasher.write(&index.to_le_bytes());
        hasher.write(&nonce.to_le_bytes());
        hasher.finish() >> (64 - SEAL_BITS)
    }
}

/// A secret has no place in a log.
impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(..)")
    }
}

/// An id in its parts, without the node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// The shard that owns what the id names.
    pub shard: u8,
    /// The place in the shard's table.
    pub index: u32,
    /// What makes it unguessable, and tells it from an earlier id with the same place.
    pub secret: u64,
}

impl Id {
    /// A new id for a place.
    ///
    /// # Errors
    /// The system has no random source.
    pub fn random(shard: u8, index: u32) -> Result<Self, getrandom::Error> {
        Ok(Self { shard, index, secret: getrandom::u64()? >> (64 - SECRET_BITS) })
    }

    /// As text; the places above 2^24 that an id can't name are never given out.
    pub fn encode(&self, node: NodeId) -> IdText {
        let mut text = [0; ID_CHARS];
        text[..5].copy_from_slice(&node.0);
        text[5..6].copy_from_slice(&encode_bits::<1>(u64::from(self.shard)));
        text[6..10].copy_from_slice(&encode_bits::<4>(u64::from(self.index)));
        text[10..].copy_from_slice(&encode_bits::<10>(self.secret));
        IdText(text)
    }

    /// Reads an id of any node. `None`: it can't be one.
    pub fn parse(text: &str) -> Option<(NodeId, Self)> {
        IdText::parse(text).map(|text| text.parts())
    }

    /// Reads an id of `node`. `None`: another node's, or none at all.
    pub fn decode(node: NodeId, text: &str) -> Option<Self> {
        Self::parse(text).filter(|(named, _)| *named == node).map(|(_, id)| id)
    }

    /// Can an id name this place?
    pub const fn fits(index: usize) -> bool {
        index < 1 << INDEX_BITS
    }
}

/// A secret has no place in a log.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({}/{})", self.shard, self.index)
    }
}

/// An id as text, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IdText([u8; ID_CHARS]);

impl IdText {
    /// Reads an id of any node. `None`: it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        text.bytes().all(|byte| decode_bits(&[byte]).is_some()).then_some(())?;
        Some(Self(text.as_bytes().try_into().ok()?))
    }

    /// The node that made the id, and the rest.
    pub fn parts(&self) -> (NodeId, Id) {
        let bits = |from, to| decode_bits(&self.0[from..to]).expect("of the alphabet");
        let [a, b, c, d, e, ..] = self.0;
        let id = Id { shard: bits(5, 6) as u8, index: bits(6, 10) as u32, secret: bits(10, ID_CHARS) };
        (NodeId([a, b, c, d, e]), id)
    }

    /// The 20 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("of the alphabet")
    }
}

impl From<IdText> for String {
    fn from(id: IdText) -> Self {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for IdText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an id has 20 characters of URL-safe base64")
    }
}

/// Holds a secret.
impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, id) = self.parts();
        write!(f, "{node:?}/{id:?}")
    }
}

fn encode_bits<const CHARS: usize>(bits: u64) -> [u8; CHARS] {
    std::array::from_fn(|place| ALPHABET[(bits >> (6 * (CHARS - 1 - place)) & 63) as usize])
}

fn decode_bits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |bits, &character| {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        Some(bits << 6 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_20_url_safe_characters_and_names_its_owner() {
        let node = NodeId::random().unwrap();
        for (shard, index) in [(0, 0), (63, (1 << 24) - 1), (5, 77_777)] {
            let id = Id::random(shard, index).unwrap();
            let text = id.encode(node);
            assert_eq!(text.as_str().len(), 20);
            assert!(text.as_str().starts_with(node.as_str()));
            assert_eq!(Id::decode(node, text.as_str()), Some(id));
        }
    }

    #[test]
    fn what_is_not_an_id_of_this_node_is_none() {
        let node = NodeId(*b"AAAAA");
        for text in [
            "",
            "AAAAA",
            "BAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAA!",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAé",
        ] {
            assert_eq!(Id::decode(node, text), None, "{text}");
        }
        let other = Id::parse("BAAAAAAAAAAAAAAAAAAB");
        assert_eq!(other, Some((NodeId(*b"BAAAA"), Id { shard: 0, index: 0, secret: 1 })));
    }

    #[test]
    fn a_node_has_five_characters_of_the_alphabet() {
        for (text, is_one) in
            [("aB3-_", true), ("", false), ("aB3-", false), ("aB3-_x", false), ("aB3-!", false)]
        {
            assert_eq!(NodeId::parse(text).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn only_ids_that_a_node_made_bear_its_seal() {
        let (node, key) = (NodeId(*b"AAAAA"), IdKey(7));
        let id = key.mint(node, 3, 5).unwrap();
        assert!(key.has_sealed(id.encode(node)));
        assert!(!IdKey(8).has_sealed(id.encode(node)));
        assert!(!key.has_sealed(id.encode(NodeId(*b"BAAAA"))));
        for other in [
            Id { shard: 4, ..id },
            Id { index: 6, ..id },
            Id { secret: id.secret ^ 1, ..id },
            Id { secret: id.secret ^ 1 << SEAL_BITS, ..id },
        ] {
            assert!(!key.has_sealed(other.encode(node)), "{other:?}");
        }
        assert_ne!(key.mint(node, 3, 5).unwrap().secret, key.mint(node, 3, 5).unwrap().secret);
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", IdKey(0xdead_beef)), "IdKey(..)");
        let id = Id { shard: 1, index: 2, secret: 0xdead_beef };
        assert_eq!(format!("{id:?}"), "Id(1/2)");
    }
}
