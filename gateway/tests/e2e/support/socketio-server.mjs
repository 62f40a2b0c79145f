// A Node.js socket.io server with the Redis adapter, as applications run it: `node socketio-server.mjs REDIS_URL PORT`.
// Its clients join, leave and publish by the same events as Broadgate's.

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const [redisUrl, port] = process.argv.slice(2);
const publisher = new Redis(redisUrl);
const subscriber = publisher.duplicate();
const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, subscriber) });

for (const namespace of [io.of("/"), io.of("/custom")]) {
  namespace.on("connection", (socket) => {
    socket.on("join", (room, ack) => {
      socket.join(room);
      ack({ ok: true });
    });
    socket.on("leave", (room, ack) => {
      socket.leave(room);
      ack({ ok: true });
    });
    socket.on("publish", (room, event, ...args) => {
      const ack = args.pop();
      socket.to(room).emit(event, ...args);
      ack({ ok: true });
    });
    socket.on("everyone", (event, ...args) => namespace.emit(event, ...args));
    socket.on("except", (room, event, ...args) => namespace.except(room).emit(event, ...args));
    socket.on("rooms", (rooms, event, ...args) => namespace.to(rooms).emit(event, ...args));
  });
}

// The adapter does not say when it is subscribed. Commands of one connection take effect in order, so this one does.
await subscriber.subscribe("the end of the subscriptions");
http.listen(Number(port), "127.0.0.1");
