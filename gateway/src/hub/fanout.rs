//! From a broadcast to the sessions of its members, each once (wire.md 3.1: the union of the rooms, minus those who are
//! in an excepted one).

use std::{rc::Rc, sync::Arc};

use broadgate_adapter::Broadcast;

use super::{
    client::{NamespaceId, RoomId},
    directory::Directory,
    packets, selection,
};
use crate::{
    engineio::{EngineIo, NodeId, Outgoing, Sent, Source},
    net::DeliveryPath,
};

/// Broadcasts that go to the same sockets one after the other are put together up to this size, and are then one
/// queue entry and one stretch of bytes for each member. With 64 messages in flight to 1,000 members that is worth 6 to
/// 10 M deliveries per CPU second instead of 4.9 M (`broadgate-loadtest broadcast`).
const MAX_RUN_BYTES: usize = 64 * 1024;

/// Sessions that are looked for in a list, member by member; more than that are marked instead.
const MAX_SKIP_LIST: usize = 8;

/// Names this shard in ids.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) shard: u8,
}

/// A broadcast that a shard got, and from where.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) broadcast: Arc<Broadcast>,
    pub(super) source: Source,
}

/// Splits a turn's broadcasts into runs with the same target; and `by_source`, where that makes a difference.
pub(super) fn runs(received: &[Received], by_source: bool) -> impl Iterator<Item = &[Received]> {
    let mut bytes = 0;
    received.chunk_by(move |first, second| {
        let (a, b) = (&first.broadcast, &second.broadcast);
        bytes += a.packet.json.len();
        let together = bytes < MAX_RUN_BYTES
            && (!by_source || first.source == second.source)
            && b.packet.attachments.is_empty()
            && a.rooms == b.rooms
            && a.except == b.except
            && a.namespace == b.namespace
            && a.flags == b.flags;
        if !together {
            bytes = 0;
        }
        together
    })
}

/// Queues a run for every member on this shard but the sessions in `skip`; returns how many sessions got it.
pub(super) fn deliver(
    directory: &mut Directory,
    io: &mut EngineIo,
    place: Place,
    namespace: NamespaceId,
    run: &[Received],
    skip: &[u32],
) -> usize {
    let Some(first) = run.first().map(|received| &received.broadcast) else { return 0 };
    let packets = run.iter().map(|received| &received.broadcast.packet);
    let mut fanout = Fanout {
        directory,
        io,
        place,
        namespace,
        outgoing: packets::events(&first.namespace, packets, !first.flags.no_compress),
        volatile: first.flags.volatile,
        reached: 0,
    };
    let is_simple = first.except.is_empty() && skip.len() <= MAX_SKIP_LIST;
    match (&first.rooms[..], is_simple) {
        ([room], true) => fanout.send_to_room(room, skip),
        ([], true) => fanout.send_to_members(fanout.directory.everyone(namespace), skip),
        (rooms, _) => fanout.send_to_selection(rooms, &first.except, skip),
    }
    let Fanout { io, reached, .. } = fanout;
    measure(io, run, reached as u64);
    reached
}

/// Once for a broadcast, and never for each of its members.
fn measure(io: &mut EngineIo, run: &[Received], reached: u64) {
    let counters = io.counters();
    counters.broadcasts.add(run.len() as u64);
    counters.deliveries.add(reached * run.len() as u64);
    counters.histograms.broadcast_fanout.observe_many(reached, run.len() as u64);
    if reached == 0 {
        return;
    }
    for Received { broadcast, source } in run {
        let attachments: usize = broadcast.packet.attachments.iter().map(bytes::Bytes::len).sum();
        let bytes = (broadcast.packet.json.len() + attachments) as u64;
        io.counters().histograms.message_size_sent.observe_many(bytes, reached);
        let Some(at_us) = broadcast.stamp.published_at_us else { continue };
        let path = match source {
            Source::OwnShard | Source::OwnNode => DeliveryPath::Local,
            Source::Cluster(_) => DeliveryPath::Redis,
        };
        io.published(at_us.get(), path);
    }
}

struct Fanout<'a> {
    directory: &'a mut Directory,
    io: &'a mut EngineIo,
    place: Place,
    namespace: NamespaceId,
    outgoing: Rc<Outgoing>,
    volatile: bool,
    reached: usize,
}

impl Fanout<'_> {
    fn send_to_room(&mut self, name: &str, skip: &[u32]) {
        if selection::own_room(self.directory, self.place, self.namespace, name).is_some() {
            return self.send_to_selection(&[name.into()], &[], skip);
        }
        if let Some(room) = self.directory.find(self.namespace, name) {
            self.send_to_members(room, skip);
        }
    }

    /// The straight walk over one list: what a broadcast is nearly always.
    fn send_to_members(&mut self, room: RoomId, skip: &[u32]) {
        for &member in &self.directory.room(room).members {
            if !skip.contains(&member)
                && self.io.send_at(member, &self.outgoing, self.volatile) == Sent::Queued
            {
                self.reached += 1;
            }
        }
    }

    fn send_to_selection(&mut self, rooms: &[Box<str>], except: &[Box<str>], skip: &[u32]) {
        let (io, outgoing, volatile, reached) =
            (&mut *self.io, &self.outgoing, self.volatile, &mut self.reached);
        let selected = (rooms, except);
        selection::for_each(self.directory, self.place, self.namespace, selected, skip, |member| {
            if io.send_at(member, outgoing, volatile) == Sent::Queued {
                *reached += 1;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use broadgate_adapter::{EventPacket, Flags, Origin, Stamp};

    use super::*;

    fn received(room: &str, size: usize, source: Source) -> Received {
        let broadcast = Arc::new(Broadcast {
            namespace: "/".into(),
            rooms: vec![room.into()],
            except: vec![],
            flags: Flags::default(),
            stamp: Stamp::default(),
            packet: EventPacket { json: "x".repeat(size).into(), attachments: vec![] },
        });
        Received { broadcast, source }
    }

    #[test]
    fn only_neighbours_with_the_same_target_go_together() {
        let list: Vec<_> =
            ["a", "a", "b", "a", "a", "a"].map(|room| received(room, 1, Source::OwnNode)).into();
        assert_eq!(runs(&list, false).map(<[_]>::len).collect::<Vec<_>>(), [2, 1, 3]);
    }

    #[test]
    fn a_run_ends_where_it_gets_long() {
        let list: Vec<_> = (0..4).map(|_| received("a", MAX_RUN_BYTES / 2, Source::OwnNode)).collect();
        assert_eq!(runs(&list, false).map(<[_]>::len).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn the_source_parts_them_only_where_it_matters() {
        let elsewhere = Source::Cluster(Origin::of("other"));
        let list: Vec<_> =
            [Source::OwnNode, elsewhere, elsewhere].map(|source| received("a", 1, source)).into();
        for (by_source, expected) in [(false, vec![3]), (true, vec![1, 2])] {
            assert_eq!(runs(&list, by_source).map(<[_]>::len).collect::<Vec<_>>(), expected);
        }
    }
}
