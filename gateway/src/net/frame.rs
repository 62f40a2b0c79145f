//! Encoded frames, shared by all the sockets they go to, and the queues in which they wait. Owned by a shard.

use std::{io::IoSlice, rc::Rc};

use slab::Slab;

/// Marks the end of a queue; a slab never grows that far.
const NONE: u32 = u32::MAX;

/// Bytes that are ready for the wire: one WebSocket frame, or several in a row.
#[derive(Debug)]
pub struct Frame {
    bytes: Box<[u8]>,
    messages: u32,
}

impl Frame {
    /// Wraps encoded frames that carry `messages` messages (for the counters; 0 for control frames).
    pub fn new(bytes: impl Into<Box<[u8]>>, messages: u32) -> Rc<Self> {
        Rc::new(Self { bytes: bytes.into(), messages })
    }

    /// The bytes for the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many messages they carry.
    pub fn messages(&self) -> u32 {
        self.messages
    }
}

struct Node {
    frame: Rc<Frame>,
    next: u32,
}

/// One connection's queue: 16 bytes whether it is idle or not. The nodes are in the shard's [`FrameArena`].
#[derive(Debug)]
pub(super) struct Outbox {
    head: u32,
    tail: u32,
    /// Bytes of the head frame that are written already.
    offset: u32,
    /// Bytes that wait.
    bytes: u32,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { head: NONE, tail: NONE, offset: 0, bytes: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(super) const fn queued_bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// The nodes of all queues of a shard, so that a queue costs its connection no allocation.
#[derive(Default)]
pub(super) struct FrameArena {
    nodes: Slab<Node>,
    /// Bytes of all queues.
    queued_bytes: u64,
}

impl FrameArena {
    pub(super) fn push(&mut self, outbox: &mut Outbox, frame: &Rc<Frame>) {
        let index = key(self.nodes.insert(Node { frame: Rc::clone(frame), next: NONE }));
        if outbox.tail == NONE {
            outbox.head = index;
        } else {
            self.nodes[outbox.tail as usize].next = index;
        }
        outbox.tail = index;
        outbox.bytes += key(frame.bytes.len());
        self.queued_bytes += frame.bytes.len() as u64;
    }

    /// The one frame that waits, if it is just one.
    pub(super) fn single(&self, outbox: &Outbox) -> Option<&[u8]> {
        if outbox.is_empty() || outbox.head != outbox.tail {
            return None;
        }
        Some(&self.nodes[outbox.head as usize].frame.bytes[outbox.offset as usize..])
    }

    /// Fills `slices` from the head of the queue; returns how many and their length.
    pub(super) fn gather<'a>(&'a self, outbox: &Outbox, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        let (mut index, mut skip, mut count, mut total) = (outbox.head, outbox.offset as usize, 0, 0);
        while index != NONE && count < slices.len() {
            let node = &self.nodes[index as usize];
            let bytes = &node.frame.bytes[skip..];
            slices[count] = IoSlice::new(bytes);
            total += bytes.len();
            count += 1;
            skip = 0;
            index = node.next;
        }
        (count, total)
    }

    /// Takes `written` bytes off the head; returns the messages that were completed.
    pub(super) fn advance(&mut self, outbox: &mut Outbox, mut written: usize) -> u64 {
        outbox.bytes -= key(written);
        self.queued_bytes -= written as u64;
        let mut messages = 0;
        while written > 0 {
            let node = &self.nodes[outbox.head as usize];
            let left = node.frame.bytes.len() - outbox.offset as usize;
            if written < left {
                outbox.offset += key(written);
                return messages;
            }
            written -= left;
            messages += u64::from(node.frame.messages);
            self.pop(outbox);
        }
        messages
    }

    /// Drops all that waits; returns the messages that are lost by it.
    pub(super) fn clear(&mut self, outbox: &mut Outbox) -> u64 {
        let mut messages = 0;
        self.queued_bytes -= u64::from(outbox.bytes);
        while !outbox.is_empty() {
            messages += u64::from(self.nodes[outbox.head as usize].frame.messages);
            self.pop(outbox);
        }
        outbox.bytes = 0;
        messages
    }

    /// Bytes that wait in all queues.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Gives back the memory of a burst once nothing waits any more.
    pub(super) fn shrink(&mut self) {
        const KEPT_NODES: usize = 1 << 14;
        if self.nodes.is_empty() && self.nodes.capacity() > KEPT_NODES {
            self.nodes = Slab::with_capacity(KEPT_NODES / 2);
        }
    }

    fn pop(&mut self, outbox: &mut Outbox) {
        let node = self.nodes.remove(outbox.head as usize);
        outbox.head = node.next;
        outbox.offset = 0;
        if outbox.head == NONE {
            outbox.tail = NONE;
        }
    }
}

/// Queue lengths are bounded far below 4 GiB by `max_queued_bytes`, and nodes by them.
fn key(value: usize) -> u32 {
    u32::try_from(value).expect("bounded by max_queued_bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(frames: &[&str]) -> (FrameArena, Outbox) {
        let (mut arena, mut outbox) = (FrameArena::default(), Outbox::new());
        for frame in frames {
            arena.push(&mut outbox, &Frame::new(frame.as_bytes(), 1));
        }
        (arena, outbox)
    }

    fn waiting(arena: &FrameArena, outbox: &Outbox) -> String {
        let mut slices = [IoSlice::new(&[]); 8];
        let (count, _) = arena.gather(outbox, &mut slices);
        slices[..count]
            .iter()
            .map(|slice| String::from_utf8_lossy(slice).into_owned())
            .collect::<Vec<_>>()
            .join("|")
    }

    #[test]
    fn a_queue_is_written_in_order_from_where_it_stopped() {
        let (mut arena, mut outbox) = queue(&["abc", "de", "f"]);
        assert_eq!(waiting(&arena, &outbox), "abc|de|f");
        assert_eq!(arena.advance(&mut outbox, 2), 0);
        assert_eq!(waiting(&arena, &outbox), "c|de|f");
        assert_eq!(arena.advance(&mut outbox, 3), 2);
        assert_eq!(waiting(&arena, &outbox), "f");
        assert_eq!(arena.single(&outbox), Some(&b"f"[..]));
        assert_eq!(outbox.queued_bytes(), 1);
        assert_eq!(arena.advance(&mut outbox, 1), 1);
        assert!(outbox.is_empty() && outbox.queued_bytes() == 0 && arena.queued_bytes() == 0);
    }

    #[test]
    fn clearing_tells_how_many_messages_are_lost() {
        let (mut arena, mut outbox) = queue(&["abc", "de", "f"]);
        arena.advance(&mut outbox, 4);
        let mut other = Outbox::new();
        arena.push(&mut other, &Frame::new(*b"of another", 1));
        assert_eq!(arena.queued_bytes(), 12, "two of the one and ten of the other");
        assert_eq!(arena.clear(&mut other), 1);
        assert_eq!(arena.clear(&mut outbox), 2);
        assert!(outbox.is_empty() && arena.nodes.is_empty() && arena.queued_bytes() == 0);
        arena.push(&mut outbox, &Frame::new(*b"again", 1));
        assert_eq!(waiting(&arena, &outbox), "again");
    }

    #[test]
    fn an_idle_queue_costs_16_bytes_and_a_node_16_more() {
        assert_eq!(size_of::<Outbox>(), 16);
        assert_eq!(size_of::<Node>(), 16);
    }
}
