// Numbered messages, and the check of everything that one connection receives. Pure: no sockets, and time comes in.
//
// Each publisher numbers its messages in each room: 0, 1, 2 … A message says when its publisher began to send it, and when
// it began to send the one before. With one monotonic clock for all processes of the host the receiver then knows of each
// message that it did *not* get whether it had to: it had to if the message was begun after the ack of its join was here.

/** Milliseconds on the host's monotonic clock (CLOCK_MONOTONIC), the same in all processes. */
export const monotonicMs = () => Number(process.hrtime.bigint()) / 1e6;

/** The event that carries numbered messages. */
export const COUNT = "count";

const PAYLOAD_BYTES = 700;
const BINARY_EVERY = 5;

/** Whoever publishes: its name is its own, and its messages reach the nodes in the order in which it made them. */
export class Publisher {
  #rooms = new Map();

  constructor(name, { binary = true } = {}) {
    this.name = name;
    this.binary = binary;
  }

  /** The arguments of its next message to the room. */
  next(room) {
    const before = this.#rooms.get(room) ?? { number: -1, begunMs: 0 };
    const message = { number: before.number + 1, begunMs: monotonicMs() };
    this.#rooms.set(room, message);
    return [this.name, room, message.number, message.begunMs, before.begunMs, this.#payload(message.number)];
  }

  /** What it sent so far: `[{publisher, room, number, begunMs}]`, the last of each room. */
  sent() {
    return [...this.#rooms].map(([room, last]) => ({ publisher: this.name, room, ...last }));
  }

  #payload(number) {
    const bytes = payloadBytes(number);
    return this.binary && number % BINARY_EVERY === 0 ? Buffer.alloc(bytes, number) : "x".repeat(bytes);
  }
}

const payloadBytes = (number) => (number * 31) % PAYLOAD_BYTES;

function isPayloadOf(payload, number) {
  const bytes = payloadBytes(number);
  if (Buffer.isBuffer(payload)) return payload.equals(Buffer.alloc(bytes, number));
  return payload === "x".repeat(bytes);
}

/**
 * What one connection of one client receives. `violated(text)` is called for each breach of:
 * - a message of a room arrives only between the sending of its join and the ack of its leave;
 * - no message arrives twice, and none after a later one of the same publisher and room;
 * - none is left out that was begun after the ack of the join had arrived;
 * - a payload is what was sent, and nobody receives its own messages.
 */
export class DeliveryCheck {
  #rooms = new Map();
  #violated;

  constructor(violated, { own } = {}) {
    this.#violated = violated;
    this.own = own;
  }

  received = 0;

  /** The join is sent. */
  joining(room) {
    this.#rooms.set(room, { memberSinceMs: Infinity, last: new Map() });
  }

  /** The ack of the join is here; `memberSinceMs` is when. */
  joined(room, memberSinceMs = monotonicMs()) {
    this.#rooms.get(room).memberSinceMs = memberSinceMs;
  }

  /** The leave is sent: what is missing from now on may be missing. */
  leaving(room) {
    this.#rooms.get(room).memberSinceMs = Infinity;
  }

  /** The ack of the leave is here. */
  left(room) {
    this.#rooms.delete(room);
  }

  receive([publisher, room, number, begunMs, previousBegunMs, payload]) {
    this.received += 1;
    const message = `message ${number} of ${publisher} to ${room}`;
    const state = this.#rooms.get(room);
    if (!state) return this.#violated(`${message} arrived outside of the membership`);
    if (publisher === this.own) return this.#violated(`${message} came back to its publisher`);
    if (!isPayloadOf(payload, number)) this.#violated(`${message} has another payload: ${describe(payload)}`);
    const last = state.last.get(publisher) ?? -1;
    if (number <= last) return this.#violated(`${message} arrived again or too late: ${last} was before`);
    state.last.set(publisher, number);
    const missing = number - 1;
    if (missing > last && previousBegunMs > state.memberSinceMs) {
      const since = (previousBegunMs - state.memberSinceMs).toFixed(1);
      this.#violated(`message ${missing} of ${publisher} to ${room} is missing: begun ${since} ms after the join, ${number} is here (${(begunMs - previousBegunMs).toFixed(1)} ms later), ${last} was the last`);
    }
  }

  /** Of what was sent at last, `[{publisher, room, number, begunMs}]`, what had to arrive here and has not. */
  missing(sent) {
    return sent.filter(({ publisher, room, number, begunMs }) => {
      const state = this.#rooms.get(room);
      if (!state || publisher === this.own || begunMs <= state.memberSinceMs) return false;
      return (state.last.get(publisher) ?? -1) < number;
    });
  }
}

const describe = (value) => (Buffer.isBuffer(value) ? `${value.length} bytes` : (JSON.stringify(value) ?? "nothing").slice(0, 100));
