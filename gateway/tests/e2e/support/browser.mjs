// Headless Chromium.

import assert from "node:assert/strict";

import { chromium } from "playwright-core";

import { atEnd } from "./conditions.mjs";

const EXECUTABLE = process.env.BROADGATE_CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export async function startBrowser(t) {
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
  atEnd(t, () => browser.close());
  return browser;
}

/** What Chromium says where the poll behind the last message arrives after the goodbye: the two are on connections of their
 *  own, so a client that disconnects while it polls may see it, with the reference, too. */
export const POLL_BEHIND_GOODBYE = "Failed to load resource: the server responded with a status of 400 (Bad Request)";

/** A page in a context of its own. Whatever it logs as an error, or throws, fails the test unless it is in
 *  `page.tolerated`, or taken out of `page.complaints`. */
export async function newPage(t, browser, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.complaints = [];
  page.tolerated = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.complaints.push(message.text());
  });
  atEnd(t, async () => {
    await context.close();
    const complaints = page.complaints.filter((text) => !page.tolerated.includes(text));
    assert.deepEqual(complaints, [], "the page complained");
  });
  return page;
}
