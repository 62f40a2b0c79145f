// Waiting. Everything here waits for a condition, with a deadline that only a broken system reaches.

export const DEADLINE_MS = 20_000;
const LOOK_EVERY_MS = 10;

/** Resolves to the first truthy value of `condition`, which may be asynchronous and may throw until it holds. */
export async function until(what, condition, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    let failure;
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      failure = error;
    }
    if (Date.now() > end) {
      const why = failure ? `; at last: ${failure.message}` : "";
      throw new Error(`not within ${deadlineMs} ms: ${what}${why}`, { cause: failure });
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Resolves to the arguments of the emitter's next `event`. */
export function nextEvent(emitter, event, deadlineMs = DEADLINE_MS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      emitter.off(event, listener);
      reject(new Error(`no "${event}" within ${deadlineMs} ms`));
    }, deadlineMs);
    const listener = (...args) => {
      clearTimeout(timer);
      resolve(args);
    };
    emitter.once(event, listener);
  });
}

const stacks = new WeakMap();

/** Runs `release` when the test ends, the last one given first: clients go before the nodes they talk to. */
export function atEnd(t, release) {
  if (!stacks.has(t)) {
    const stack = [];
    stacks.set(t, stack);
    t.after(async () => {
      const failures = [];
      while (stack.length > 0) {
        try {
          await stack.pop()();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    });
  }
  stacks.get(t).push(release);
}
