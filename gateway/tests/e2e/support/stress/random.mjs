// Randomness that a seed repeats. Each part of a run has a stream of its own, so that what one does, or when, does not
// change what another one draws.

/** Mulberry32 (public domain): a full-period generator over 32 bits of state, more than good enough to pick by. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A stream of its own for a part of the run. */
  fork(label) {
    let hash = this.#state ^ 0x9e3779b9;
    for (const character of String(label)) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
    return new Random(hash);
  }

  /** At least 0, below 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  between(least, most) {
    return least + this.next() * (most - least);
  }

  pick(list) {
    return list[Math.floor(this.next() * list.length)];
  }

  /** One of `{name: weight}`. */
  weighted(weights) {
    let rest = this.next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0);
    for (const [name, weight] of Object.entries(weights)) {
      rest -= weight;
      if (rest < 0) return name;
    }
    return Object.keys(weights).at(-1);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
