// The check that the tests behind a balancer rest on: it must see each kind of fault, and none where there is none.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DeliveryCheck, Publisher, monotonicMs } from "./support/sequences.mjs";

/** A member of "room" since before everything, what the check says of it, and ten messages of one publisher. */
function setUp({ own } = {}) {
  const violations = [];
  const check = new DeliveryCheck((text) => violations.push(text), { own });
  check.joining("room");
  check.joined("room", monotonicMs() - 1);
  const publisher = new Publisher("p");
  const messages = Array.from({ length: 10 }, () => publisher.next("room"));
  return { check, violations, publisher, messages };
}

const CASES = [
  ["all in order", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], undefined],
  ["the end is not here yet", [0, 1, 2], undefined],
  ["the first one is missing", [1, 2], /message 0 of p to room is missing/],
  ["one in the middle is missing", [0, 1, 3], /message 2 of p to room is missing/],
  ["one comes twice", [0, 1, 1, 2], /message 1 of p .* again or too late/],
  ["two change places", [0, 2, 1], /message 1 of p .* is missing/],
];

for (const [what, order, expected] of CASES) {
  test(`${what}: ${expected ?? "nothing to say"}`, () => {
    const { check, violations, messages } = setUp();
    for (const number of order) check.receive(messages[number]);
    if (!expected) return assert.deepEqual(violations, []);
    assert.match(violations[0], expected);
  });
}

test("what was begun before the ack of the join may be missing, what was begun after it may not", () => {
  const { check, violations, publisher } = setUp();
  check.leaving("room");
  check.left("room");
  check.joining("room");
  check.receive(publisher.next("room"));
  publisher.next("room");
  check.joined("room");
  check.receive(publisher.next("room"));
  assert.deepEqual(violations, []);
  publisher.next("room");
  check.receive(publisher.next("room"));
  assert.match(violations[0], /message 13 .* is missing/);
});

test("nothing arrives before a join is sent and after a leave is acked", () => {
  const { check, violations, publisher, messages } = setUp();
  check.receive(publisher.next("elsewhere"));
  assert.match(violations.pop(), /outside of the membership/);
  check.leaving("room");
  check.receive(messages[0]);
  assert.deepEqual(violations, []);
  check.left("room");
  check.receive(messages[1]);
  assert.match(violations.pop(), /outside of the membership/);
});

test("a payload is compared, and one's own messages do not come back", () => {
  const { check, violations, messages } = setUp({ own: "p" });
  check.receive(messages[0]);
  assert.match(violations.pop(), /came back/);
  check.own = undefined;
  check.receive(messages[0].with(5, Buffer.from([1])));
  assert.match(violations.pop(), /another payload: 1 bytes/);
});

test("at the end the last message of each publisher must be here, if it was begun as a member", () => {
  const { check, publisher, messages } = setUp();
  messages.slice(0, 9).forEach((message) => check.receive(message));
  assert.deepEqual(check.missing(publisher.sent()).map(({ number }) => number), [9]);
  check.receive(messages[9]);
  assert.deepEqual(check.missing(publisher.sent()), []);
  publisher.next("room");
  check.joined("room");
  assert.deepEqual(check.missing(publisher.sent()), [], "begun before the join");
});
