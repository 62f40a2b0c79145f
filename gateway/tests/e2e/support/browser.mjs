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

/** A page in a context of its own. Whatever it logs as an error, or throws, fails the test unless taken out of
 *  `page.complaints`. */
export async function newPage(t, browser, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.complaints.push(message.text());
  });
  atEnd(t, async () => {
    const { complaints } = page;
    await context.close();
    assert.deepEqual(complaints, [], "the page complained");
  });
  return page;
}
