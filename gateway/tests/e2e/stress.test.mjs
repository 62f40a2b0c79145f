// Hundreds of clients behind a balancer without affinity, while three nodes are killed and started again at random.
//
//     SEED=1 STRESS_SECONDS=600 node --test stress.test.mjs
//
// Unmodified socket.io-clients, a third each WebSocket only, polling only and polling with upgrade, join, leave, publish,
// disconnect and lose their connections at random. They publish, and so do emitters (to rooms and to single sockets) and
// callers of the ops API. The seed repeats what everyone intends and which node is killed after which pauses; how it all
// interleaves is the machine's. Each message tells when it was begun, on one monotonic clock for all processes, so that
// these invariants need no tolerance:
//
// 1. No message arrives twice, and none after a later one of the same publisher and room: a connection has one owner, and
//    all ways to it keep the order.
// 2. Within a connection no message is left out that was begun after the ack of the join had arrived and before the leave
//    was sent: the ack says that the node is subscribed, and an upgrade or a move loses nothing. (The connection's own
//    socket id is a room like this from its `connect` on.)
// 3. No message arrives before the join was sent or after the leave was acked, and none at its own publisher.
// 4. Each request gets its ack, and none is refused: Redis lives, and every node that the balancer offers is ready.
// 5. A connection ends only by its client, or if a node was killed that it needed. On a WebSocket that is the one node it
//    is connected to: once anything has come over it, no other matters. A polling client's request may be on any node when
//    that dies, and a session that moves needs two.
// 6. At the end all clients connect, join, and get every room's last messages once; all that was acked before has arrived.
//
// What may be lost, and is not looked for: what is sent to a client after its connection ended (the next connection starts
// anew), and publishes that were not acked when their publisher's connection ended.

import { test } from "node:test";

import { settingsFromEnvironment, stress } from "./support/stress/run.mjs";

test("nothing is lost, doubled or out of order while nodes are killed", (t) => stress(t, settingsFromEnvironment()));
