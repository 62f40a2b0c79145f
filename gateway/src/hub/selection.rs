//! Which sessions of a shard a set of rooms names: the union of the rooms, or everyone where there is none, minus those
//! who are in an excepted one (wire.md 3.1).

use super::{client::NamespaceId, directory::Directory, fanout::Place};
use crate::engineio::Id;

/// The session whose socket has `room` as its id, if it is one of this shard. A socket's own room is not kept as one:
/// its id says where it is.
pub(super) fn own_room(
    directory: &Directory,
    place: Place,
    namespace: NamespaceId,
    room: &str,
) -> Option<u32> {
    let id = Id::decode(place.node, room).filter(|id| id.shard == place.shard)?;
    let socket = directory.client(id.index)?.socket(namespace)?;
    (socket.secret == id.secret).then_some(id.index)
}

/// Calls `visit` with each selected session but those in `skip`, once.
pub(super) fn for_each(
    directory: &mut Directory,
    place: Place,
    namespace: NamespaceId,
    (rooms, except): (&[Box<str>], &[Box<str>]),
    skip: &[u32],
    mut visit: impl FnMut(u32),
) {
    directory.begin_round();
    for &skipped in skip {
        directory.first_look(skipped);
    }
    for name in except {
        leave_out(directory, place, namespace, name);
    }
    if rooms.is_empty() {
        return directory.look_at_members(directory.everyone(namespace), visit);
    }
    for name in rooms {
        if let Some(own) = own_room(directory, place, namespace, name)
            && directory.first_look(own)
        {
            visit(own);
        }
        // Others may have joined a room that has a socket's id for its name.
        if let Some(room) = directory.find(namespace, name) {
            directory.look_at_members(room, &mut visit);
        }
    }
}

fn leave_out(directory: &mut Directory, place: Place, namespace: NamespaceId, name: &str) {
    if let Some(own) = own_room(directory, place, namespace, name) {
        directory.first_look(own);
    }
    let Some(room) = directory.find(namespace, name) else { return };
    directory.look_at_members(room, |_| {});
}
