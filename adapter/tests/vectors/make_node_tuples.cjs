// Makes node_tuples.json with the real libraries: npm install @socket.io/redis-emitter@5 @socket.io/redis-adapter@8
// notepack.io@3, then: node make_node_tuples.cjs > node_tuples.json
const { Emitter } = require("@socket.io/redis-emitter");
const msgpack = require("notepack.io");
const out = [];
function client(name, extra) {
  return {
    publish(channel, msg) {
      out.push({ name, channel, hex: Buffer.from(msg).toString("hex"), ...extra });
    },
  };
}
function emit(name, extra, f) {
  const io = new Emitter(client(name, extra));
  f(io);
}
emit("a room", {}, (io) => io.to("news").emit("headline", { title: "hi" }));
emit("everyone", {}, (io) => io.emit("tick", 1));
emit("no arguments", {}, (io) => io.emit("ping"));
emit("several rooms and except", {}, (io) => io.to(["a", "b"]).except(["c", "sid"]).emit("e", "x"));
emit("a namespace", {}, (io) => io.of("/chat").to("r").emit("e", null, true, false));
emit("volatile", {}, (io) => io.volatile.emit("e"));
emit("not compressed", {}, (io) => io.to("r").compress(false).emit("e"));
emit("compressed", {}, (io) => io.to("r").compress(true).emit("e"));
emit("numbers", {}, (io) =>
  io.emit(
    "n",
    0,
    127,
    128,
    255,
    256,
    65535,
    65536,
    4294967295,
    4294967296,
    9007199254740991,
    -1,
    -32,
    -33,
    -128,
    -129,
    -32768,
    -32769,
    -2147483648,
    -2147483649,
    -9007199254740991,
    0.1,
    -1.5,
    123456.789,
    1e-6,
    1e-7,
    5e-324,
  ),
);
emit("numbers without JSON", {}, (io) => io.emit("n", NaN, Infinity, -Infinity, -0));
emit("undefined", {}, (io) => io.emit("u", undefined, [undefined, 1], { a: undefined, b: 1 }));
emit("dates", {}, (io) =>
  io.emit(
    "d",
    new Date(0),
    new Date(1700000000000),
    new Date(1700000000123),
    new Date(-1),
    new Date(17179869184000),
    new Date(8.64e15),
    new Date(-8.64e15),
  ),
);
emit("binary", {}, (io) =>
  io.to("r").emit("b", Buffer.from([0, 1, 255]), { file: new Uint8Array([7, 8]) }, Buffer.alloc(0)),
);
emit("text outside ASCII", {}, (io) => io.to("räum").emit("é", "日本", "😀", 'a"\\\n\t\u0001\u007f\u2028'));
emit("long text", {}, (io) => io.emit("s", "x".repeat(31), "x".repeat(32), "x".repeat(256)));
emit("nested", {}, (io) => io.emit("o", { a: [{ b: { c: [] } }, {}], 1: 2, "": 3 }));
emit("long array", {}, (io) =>
  io.emit(
    "l",
    Array.from({ length: 20 }, (_, i) => i),
  ),
);
emit("long map", {}, (io) => io.emit("m", Object.fromEntries(Array.from({ length: 17 }, (_, i) => ["k" + i, i]))));
// what Node sends to clients: decode, then JSON with binary taken out
function toJson(hex) {
  const [uid, packet, opts] = msgpack.decode(Buffer.from(hex, "hex"));
  const bufs = [];
  const de = (d) => {
    if (!d) return d;
    if (Buffer.isBuffer(d) || d instanceof ArrayBuffer || ArrayBuffer.isView(d)) {
      bufs.push(Buffer.from(d));
      return { _placeholder: true, num: bufs.length - 1 };
    }
    if (Array.isArray(d)) return d.map(de);
    if (typeof d === "object" && !(d instanceof Date)) {
      const o = {};
      for (const k in d) if (Object.prototype.hasOwnProperty.call(d, k)) o[k] = de(d[k]);
      return o;
    }
    return d;
  };
  const data = de(packet.data);
  return {
    json: JSON.stringify(data),
    attachments: bufs.map((b) => b.toString("hex")),
    rooms: opts.rooms,
    except: opts.except,
    flags: opts.flags,
    nsp: packet.nsp,
    uid,
  };
}
function revive(v, bufs) {
  if (Array.isArray(v)) return v.map((x) => revive(x, bufs));
  if (v && typeof v === "object") {
    if (v._placeholder) return bufs[v.num];
    return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, revive(x, bufs)]));
  }
  return v;
}
function survives(o) {
  const [uid, packet, opts] = msgpack.decode(Buffer.from(o.hex, "hex"));
  packet.data = revive(
    JSON.parse(o.json),
    o.attachments.map((h) => Buffer.from(h, "hex")),
  );
  return msgpack.encode([uid, packet, opts]).toString("hex") === o.hex;
}
for (const o of out) {
  Object.assign(o, toJson(o.hex));
  o.survives_json = survives(o);
}
// The adapter's own order of keys
const { RedisAdapter } = require("@socket.io/redis-adapter");
function adapter(name, nsp, packet, opts) {
  const pub = [];
  const c = {
    publish(ch, m) {
      pub.push({ name: "adapter: " + name, channel: ch, hex: Buffer.from(m).toString("hex") });
    },
    psubscribe() {},
    subscribe() {},
    on() {},
    pSubscribe() {},
    unsubscribe() {},
    punsubscribe() {},
  };
  const a = new RedisAdapter(
    {
      name: nsp,
      server: { encoder: { encode: () => [] }, httpServer: {} },
      adapter: {},
      sockets: new Map(),
      _ids: 0,
      fns: [],
    },
    c,
    c,
    {},
  );
  a.uid = "nodeA_";
  a.broadcast(packet, opts);
  for (const p of pub) {
    Object.assign(p, toJson(p.hex));
    p.survives_json = survives(p);
    out.push(p);
  }
}
try {
  adapter("a room", "/", { type: 2, data: ["e", 1] }, { rooms: new Set(["r"]), except: new Set(["sid"]), flags: {} });
  adapter(
    "volatile, not compressed",
    "/chat",
    { type: 2, data: ["e", { a: [1] }] },
    { rooms: new Set(), except: new Set(), flags: { volatile: true, compress: false } },
  );
  adapter(
    "binary",
    "/",
    { type: 2, data: ["e", Buffer.from([1, 2, 3])] },
    { rooms: new Set(["a", "b"]), except: new Set(), flags: {} },
  );
} catch (e) {
  console.error(e);
}
console.log("[\n" + out.map((o) => JSON.stringify(o)).join(",\n") + "\n]");
