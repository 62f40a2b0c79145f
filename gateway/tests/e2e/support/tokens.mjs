// Tokens (JWT, RFC 7519) signed with a shared secret, and nodes that take them.

import { createHmac } from "node:crypto";

import { startGateway } from "./gateway.mjs";

const KEY = "0123456789abcdef0123456789abcdef";

/** For `[[auth.issuers]]`. */
export const ISSUER = `[[auth.issuers]]\nkey = "${KEY}"\n`;

/** A token with these claims that lasts for `seconds`. */
export function tokenOf(claims, seconds = 3600) {
  const payload = { exp: Math.floor(Date.now() / 1000) + seconds, ...claims };
  const [head, body] = [{ alg: "HS256", typ: "JWT" }, payload].map((part) =>
    Buffer.from(JSON.stringify(part)).toString("base64url"),
  );
  const signature = createHmac("sha256", KEY).update(`${head}.${body}`).digest("base64url");
  return `${head}.${body}.${signature}`;
}

/** One entry of `[[rooms]]`. */
export const rule = (match, join, publish) =>
  `[[rooms]]\nmatch = "${match}"\njoin = "${join}"\npublish = "${publish}"\n`;

/** A node that wants tokens. `auth` are keys of that section, `more` is whatever else. */
export function startGuarded(t, { redis, auth = "", more = "" } = {}) {
  const config = `[server]\nshards = 2\n[auth]\nleeway_ms = 0\n${auth}\n${ISSUER}${more}`;
  return startGateway(t, { redis, config });
}
