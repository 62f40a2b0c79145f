//! Who is in which room on this shard: clients by session, rooms by name. Pure: knows no socket, no adapter, no clock.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::client::{Client, Membership, NamespaceId, RoomId, Socket};
use crate::engineio::SessionId;

/// A join whose room is not subscribed yet.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) session: SessionId,
    pub(super) ack_id: Box<str>,
    pub(super) deadline_ms: u64,
    /// Is this the join that made the socket a member?
    pub(super) is_new: bool,
}

/// A room with its members, as the indices of their sessions.
pub(super) struct Room {
    pub(super) namespace: NamespaceId,
    pub(super) name: Arc<str>,
    pub(super) members: Vec<u32>,
    /// Does what other nodes publish arrive?
    pub(super) subscribed: bool,
    pub(super) waiters: Vec<Waiter>,
    /// When the waiters are to be looked at.
    pub(super) deadline_ms: Option<u64>,
    /// How many are about to join, and want it subscribed before; it lives as long as there are any.
    pub(super) holds: u32,
    /// Those of them that are to be told when it is.
    pub(super) holders: Vec<SessionId>,
}

/// What a join did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// The socket is in the room now, which was there before.
    Room(RoomId),
    /// The socket is the first member.
    NewRoom(RoomId),
    /// It was in already.
    Already(RoomId),
}

/// What went with a membership.
#[derive(Default)]
pub(super) struct Left {
    /// The socket's joins that waited for the room's subscription.
    pub(super) waiters: Vec<Waiter>,
    /// The room, where that was its last member; it is gone.
    pub(super) gone: Option<Room>,
}

/// See the module.
pub(super) struct Directory {
    clients: Vec<Option<Client>>,
    rooms: Slab<Room>,
    names: HashTable<RoomId>,
    hasher: RandomState,
    everyone: Vec<RoomId>,
    /// The round in which a session was last looked at by a broadcast; a dense list of its own, since a broadcast to
    /// several rooms touches nothing else of most sessions.
    stamps: Vec<u32>,
    round: u32,
    memberships: usize,
}

impl Directory {
    pub(super) fn new(namespaces: usize) -> Self {
        let mut directory = Self {
            clients: Vec::new(),
            rooms: Slab::new(),
            names: HashTable::new(),
            hasher: RandomState::default(),
            everyone: Vec::new(),
            stamps: Vec::new(),
            round: 0,
            memberships: 0,
        };
        for namespace in 0..namespaces {
            let namespace = NamespaceId(u16::try_from(namespace).expect("bounded by the configuration"));
            let room = directory.insert_room(namespace, "".into());
            directory.everyone.push(room);
        }
        directory
    }

    /// Rooms that clients joined.
    pub(super) fn room_count(&self) -> usize {
        self.rooms.len() - self.everyone.len()
    }

    /// The names of the rooms of a namespace that clients joined.
    pub(super) fn room_names(&self, namespace: NamespaceId) -> impl Iterator<Item = &str> {
        let joined = self.rooms.iter().filter(move |(index, room)| {
            room.namespace == namespace && *index != self.everyone(namespace).0 as usize
        });
        joined.map(|(_, room)| &*room.name)
    }

    /// Memberships in such rooms.
    pub(super) fn membership_count(&self) -> usize {
        self.memberships
    }

    pub(super) fn add_client(&mut self, session: SessionId, now_ms: u64) {
        let index = session.index as usize;
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
            self.stamps.resize(index + 1, 0);
        }
        self.clients[index] = Some(Client::new(session, now_ms));
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().flatten()
    }

    pub(super) fn client(&self, index: u32) -> Option<&Client> {
        self.clients.get(index as usize)?.as_ref()
    }

    pub(super) fn client_mut(&mut self, index: u32) -> Option<&mut Client> {
        self.clients.get_mut(index as usize)?.as_mut()
    }

    /// Takes a client out that has no sockets any more.
    pub(super) fn remove_client(&mut self, index: u32) -> Option<Client> {
        self.clients.get_mut(index as usize)?.take()
    }

    /// Adds a socket to a client, and it to everyone in its namespace.
    pub(super) fn connect(&mut self, index: u32, namespace: NamespaceId, secret: u64, connected_at_s: u32) {
        let Some(client) = self.client_mut(index) else { return };
        client.sockets.push(Socket { namespace, connected_at_s, secret, memberships: SmallVec::new() });
        self.insert_member(index, namespace, self.everyone(namespace));
    }

    /// Takes a socket out of its namespace and its rooms.
    pub(super) fn disconnect(&mut self, index: u32, namespace: NamespaceId) -> Vec<Left> {
        let mut left = Vec::new();
        let Some(client) = self.client_mut(index) else { return left };
        let Some(place) = client.sockets.iter().position(|socket| socket.namespace == namespace) else {
            return left;
        };
        let memberships: SmallVec<[RoomId; 8]> =
            client.sockets[place].memberships.iter().map(|membership| membership.room).collect();
        for room in memberships {
            left.extend(self.remove_member(index, namespace, room));
        }
        if let Some(client) = self.client_mut(index) {
            client.sockets.remove(place);
        }
        left
    }

    /// Puts a socket into a room, which is made if need be. `None`: there is no such socket.
    pub(super) fn join(&mut self, index: u32, namespace: NamespaceId, name: &str) -> Option<Joined> {
        self.client(index)?.socket(namespace)?;
        let Some(room) = self.find(namespace, name) else {
            let room = self.insert_room(namespace, name.into());
            self.insert_member(index, namespace, room);
            self.memberships += 1;
            return Some(Joined::NewRoom(room));
        };
        let socket = self.client(index)?.socket(namespace)?;
        if socket.memberships.iter().any(|membership| membership.room == room) {
            return Some(Joined::Already(room));
        }
        self.insert_member(index, namespace, room);
        self.memberships += 1;
        Some(Joined::Room(room))
    }

    /// Takes a socket out of a room; `None` where it was not in.
    pub(super) fn leave(&mut self, index: u32, namespace: NamespaceId, name: &str) -> Option<Left> {
        let room = self.find(namespace, name)?;
        let socket = self.client(index)?.socket(namespace)?;
        socket.memberships.iter().find(|membership| membership.room == room)?;
        self.remove_member(index, namespace, room)
    }

    /// Keeps a room for somebody who is about to join it; made if need be, which the flag says.
    pub(super) fn hold(&mut self, namespace: NamespaceId, name: &str, holder: SessionId) -> (RoomId, bool) {
        let (id, is_new) = match self.find(namespace, name) {
            Some(id) => (id, false),
            None => (self.insert_room(namespace, name.into()), true),
        };
        let room = self.room_mut(id);
        room.holds += 1;
        if !room.subscribed {
            room.holders.push(holder);
        }
        (id, is_new)
    }

    /// Ends a hold; the room, where nobody is in it or about to be: it is gone.
    pub(super) fn release(&mut self, namespace: NamespaceId, name: &str, holder: SessionId) -> Option<Room> {
        let id = self.find(namespace, name)?;
        let room = self.room_mut(id);
        room.holds -= 1;
        if let Some(place) = room.holders.iter().position(|waiting| *waiting == holder) {
            room.holders.remove(place);
        }
        self.remove_unused(id)
    }

    pub(super) fn find(&self, namespace: NamespaceId, name: &str) -> Option<RoomId> {
        let hash = self.hasher.hash_one((namespace, name));
        self.names.find(hash, |&id| self.is_named(id, namespace, name)).copied()
    }

    pub(super) fn everyone(&self, namespace: NamespaceId) -> RoomId {
        self.everyone[usize::from(namespace.0)]
    }

    pub(super) fn room(&self, id: RoomId) -> &Room {
        &self.rooms[id.0 as usize]
    }

    pub(super) fn room_mut(&mut self, id: RoomId) -> &mut Room {
        &mut self.rooms[id.0 as usize]
    }

    /// What other nodes publish arrives in no room any more.
    pub(super) fn all_unsubscribed(&mut self) {
        self.rooms.iter_mut().for_each(|(_, room)| room.subscribed = false);
    }

    /// Begins a broadcast that looks at each session once.
    pub(super) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            // After 4 billion broadcasts an old stamp could pass for a new one.
            self.stamps.fill(0);
            self.round = 1;
        }
    }

    /// Was the session not looked at in this round yet? It is from now on.
    pub(super) fn first_look(&mut self, index: u32) -> bool {
        let Some(stamp) = self.stamps.get_mut(index as usize) else { return false };
        std::mem::replace(stamp, self.round) != self.round
    }

    /// Looks at the members of a room who were not looked at in this round.
    pub(super) fn look_at_members(&mut self, room: RoomId, mut look: impl FnMut(u32)) {
        for &member in &self.rooms[room.0 as usize].members {
            let stamp = &mut self.stamps[member as usize];
            if std::mem::replace(stamp, self.round) != self.round {
                look(member);
            }
        }
    }

    fn is_named(&self, id: RoomId, namespace: NamespaceId, name: &str) -> bool {
        let room = &self.rooms[id.0 as usize];
        room.namespace == namespace && &*room.name == name
    }

    fn insert_room(&mut self, namespace: NamespaceId, name: Arc<str>) -> RoomId {
        let hash = self.hasher.hash_one((namespace, &*name));
        let index = u32::try_from(self.rooms.vacant_key()).expect("bounded by memberships");
        self.rooms.insert(Room {
            namespace,
            name,
            members: Vec::new(),
            subscribed: false,
            waiters: Vec::new(),
            deadline_ms: None,
            holds: 0,
            holders: Vec::new(),
        });
        let (rooms, hasher) = (&self.rooms, &self.hasher);
        self.names.insert_unique(hash, RoomId(index), |id| {
            let room = &rooms[id.0 as usize];
            hasher.hash_one((room.namespace, &*room.name))
        });
        RoomId(index)
    }

    fn insert_member(&mut self, index: u32, namespace: NamespaceId, room: RoomId) {
        let members = &mut self.rooms[room.0 as usize].members;
        let position = u32::try_from(members.len()).expect("fewer than 2^32 sessions");
        members.push(index);
        let socket = self.client_mut(index).and_then(|client| client.socket_mut(namespace));
        socket.expect("checked by the caller").memberships.push(Membership { room, position });
    }

    /// The last member takes the place of the one that goes.
    fn remove_member(&mut self, index: u32, namespace: NamespaceId, room: RoomId) -> Option<Left> {
        let memberships = &mut self.client_mut(index)?.socket_mut(namespace)?.memberships;
        let place = memberships.iter().position(|membership| membership.room == room)?;
        let position = memberships.remove(place).position;
        let members = &mut self.rooms[room.0 as usize].members;
        members.swap_remove(position as usize);
        if let Some(&moved) = members.get(position as usize) {
            let socket = self.client_mut(moved).and_then(|client| client.socket_mut(namespace));
            let moved = socket.expect("members have a socket").memberships.iter_mut();
            moved
                .filter(|membership| membership.room == room)
                .for_each(|membership| membership.position = position);
        }
        if room == self.everyone(namespace) {
            return Some(Left::default());
        }
        self.memberships -= 1;
        let state = &mut self.rooms[room.0 as usize];
        let waiters = state.waiters.extract_if(.., |waiter| waiter.session.index == index).collect();
        Some(Left { waiters, gone: self.remove_unused(room) })
    }

    /// Takes a room out that nobody is in or about to join.
    fn remove_unused(&mut self, id: RoomId) -> Option<Room> {
        let room = self.room(id);
        if !room.members.is_empty() || room.holds > 0 {
            return None;
        }
        let hash = self.hasher.hash_one((room.namespace, &*room.name));
        self.names.find_entry(hash, |&other| other == id).expect("every room has an entry").remove();
        Some(self.rooms.remove(id.0 as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const MAIN: NamespaceId = NamespaceId(0);
    const OTHER: NamespaceId = NamespaceId(1);

    fn session(index: u32) -> SessionId {
        SessionId::for_tests(index)
    }

    fn members(directory: &Directory, namespace: NamespaceId, name: &str) -> BTreeSet<u32> {
        let room = directory.find(namespace, name);
        room.map(|room| directory.room(room).members.iter().copied().collect()).unwrap_or_default()
    }

    #[test]
    fn a_room_lives_from_its_first_member_to_its_last() {
        let mut directory = Directory::new(2);
        for index in 0..3 {
            directory.add_client(session(index), 0);
            directory.connect(index, MAIN, 0, 0);
        }
        assert!(matches!(directory.join(0, MAIN, "news"), Some(Joined::NewRoom(_))));
        assert!(matches!(directory.join(1, MAIN, "news"), Some(Joined::Room(_))));
        assert!(matches!(directory.join(1, MAIN, "news"), Some(Joined::Already(_))));
        assert_eq!(directory.join(1, OTHER, "news"), None, "no socket in that namespace");
        assert_eq!((directory.room_count(), directory.membership_count()), (1, 2));
        assert!(directory.leave(0, MAIN, "news").unwrap().gone.is_none());
        assert!(directory.leave(0, MAIN, "news").is_none());
        let left = directory.disconnect(1, MAIN);
        let gone = left.iter().filter_map(|left| left.gone.as_ref());
        assert_eq!(gone.map(|room| &*room.name).collect::<Vec<_>>(), ["news"]);
        assert_eq!((directory.room_count(), directory.membership_count()), (0, 0));
        assert_eq!(directory.room(directory.everyone(MAIN)).members, [0, 2]);
    }

    #[test]
    fn a_join_that_waits_goes_with_the_membership_that_it_is_for() {
        let mut directory = Directory::new(1);
        for index in 0..2 {
            directory.add_client(session(index), 0);
            directory.connect(index, MAIN, 0, 0);
            directory.join(index, MAIN, "news");
        }
        let room = directory.find(MAIN, "news").unwrap();
        for (index, ack_id) in [(0, "a"), (1, "b"), (0, "c")] {
            let waiter =
                Waiter { session: session(index), ack_id: ack_id.into(), deadline_ms: 0, is_new: true };
            directory.room_mut(room).waiters.push(waiter);
        }
        let left = directory.leave(0, MAIN, "news").unwrap();
        assert_eq!(left.waiters.iter().map(|waiter| &*waiter.ack_id).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(directory.room(room).waiters.len(), 1);
    }

    #[test]
    fn a_room_that_is_held_outlives_its_members_and_tells_who_waits_for_it() {
        let mut directory = Directory::new(1);
        directory.add_client(session(0), 0);
        directory.connect(0, MAIN, 0, 0);
        let (room, is_new) = directory.hold(MAIN, "news", session(1));
        assert!(is_new);
        assert!(!directory.hold(MAIN, "news", session(2)).1);
        assert_eq!(directory.room(room).holders, [session(1), session(2)]);
        directory.room_mut(room).subscribed = true;
        directory.hold(MAIN, "news", session(3));
        assert_eq!(directory.room(room).holders.len(), 2, "one that is subscribed need not be waited for");
        assert!(matches!(directory.join(0, MAIN, "news"), Some(Joined::Room(_))));
        for holder in [1, 3] {
            assert!(directory.release(MAIN, "news", session(holder)).is_none());
        }
        assert!(directory.leave(0, MAIN, "news").unwrap().gone.is_none());
        assert_eq!(directory.room(room).holders, [session(2)]);
        let gone = directory.release(MAIN, "news", session(2));
        assert_eq!(gone.map(|room| room.name), Some("news".into()));
        assert_eq!(directory.room_count(), 0);
    }

    #[test]
    fn each_session_is_looked_at_once_in_a_round() {
        let mut directory = Directory::new(1);
        directory.add_client(session(0), 0);
        directory.begin_round();
        assert!(directory.first_look(0));
        assert!(!directory.first_look(0));
        directory.round = u32::MAX;
        directory.begin_round();
        assert!(directory.first_look(0));
        assert!(!directory.first_look(9), "no such session");
    }

    #[test]
    fn it_agrees_with_a_naive_model_after_any_sequence_of_steps() {
        let mut directory = Directory::new(2);
        let mut model: BTreeMap<(u16, String), BTreeSet<u32>> = BTreeMap::new();
        let mut connected: BTreeSet<(u32, u16)> = BTreeSet::new();
        (0..20).for_each(|index| directory.add_client(session(index), 0));
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let (index, namespace) = ((seed >> 8) as u32 % 20, NamespaceId((seed >> 16) as u16 % 2));
            let name = format!("room{}", (seed >> 24) % 7);
            let is_connected = connected.contains(&(index, namespace.0));
            let room = model.entry((namespace.0, name.clone())).or_default();
            match seed % 4 {
                0 if !is_connected => {
                    directory.connect(index, namespace, seed, 0);
                    connected.insert((index, namespace.0));
                }
                1 if is_connected && seed.is_multiple_of(3) => {
                    directory.disconnect(index, namespace);
                    connected.remove(&(index, namespace.0));
                    model.iter_mut().filter(|(key, _)| key.0 == namespace.0).for_each(|(_, room)| {
                        room.remove(&index);
                    });
                }
                2 => assert_eq!(directory.leave(index, namespace, &name).is_some(), room.remove(&index)),
                _ => {
                    let joined = directory.join(index, namespace, &name);
                    assert_eq!(joined.is_some(), is_connected);
                    let added = is_connected && room.insert(index);
                    assert_eq!(matches!(joined, Some(Joined::Room(_) | Joined::NewRoom(_))), added);
                }
            }
            assert_eq!(directory.membership_count(), model.values().map(BTreeSet::len).sum::<usize>());
        }
        for ((namespace, name), expected) in &model {
            assert_eq!(&members(&directory, NamespaceId(*namespace), name), expected, "{name}");
        }
        assert_eq!(directory.room_count(), model.values().filter(|room| !room.is_empty()).count());
    }
}
