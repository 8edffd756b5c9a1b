// Headless Chromium, each person with a profile of their own.

import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { directory, start, until } from './processes.mjs';
import { atEnd } from './scope.mjs';

/** What a person may look at afterwards. */
const OUT = fileURLToPath(new URL('../out/', import.meta.url));

let launched;

/** One browser for the whole run, started when it is first wanted. */
function launch() {
  launched ??= (async () => {
    const profile = join(directory, 'chromium');
    const child = start('chromium', process.env.CHROMIUM ?? '/usr/bin/chromium', [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-crash-reporter', '--no-proxy-server',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
      `--user-data-dir=${profile}`, '--remote-debugging-port=0', 'about:blank',
    ]);
    // The port is the first line of a file that Chromium writes once it listens.
    const port = await until('Chromium listens', () => {
      const [line] = readFileSync(join(profile, 'DevToolsActivePort'), 'utf8').split('\n');
      return Number(line) || false;
    }, { within: 60_000 });
    return { child, browser: await chromium.connectOverCDP(`http://127.0.0.1:${port}`) };
  })();
  return launched;
}

/** Quits the browser, if one was started. */
export async function quit() {
  if (!launched) return;
  const { child, browser } = await launched;
  await browser.close();
  await child.stop();
}

/** Somebody with an own cookie jar, who opened the chat at `url`. */
export class Person {
  static async open(url, address) {
    const { browser } = await launch();
    const context = await browser.newContext({
      viewport: { width: 640, height: 720 },
      // Not on the WebSocket handshake: there the cookie decides, or the session.
      ...(address && { extraHTTPHeaders: { 'x-forwarded-for': address } }),
    });
    atEnd(() => context.close());
    context.setDefaultTimeout(30_000);
    const person = new this(context, await context.newPage());
    // Not its end: scripts of JSONP go on loading for ever.
    await person.page.goto(url, { waitUntil: 'commit' });
    return person;
  }

  constructor(context, page) {
    this.context = context;
    this.page = page;
  }

  /** One field of the page: instance, transport, first, connections, problems. */
  read(id) {
    return this.page.locator(`#${id}`).textContent();
  }

  /** Waits until the page shows all of `fields`; throws with the page's own problems when it does not. */
  async shows(fields) {
    try {
      await this.page.waitForFunction(
        (wanted) => Object.entries(wanted).every(([id, text]) => document.getElementById(id).textContent === text),
        fields,
      );
    } catch (error) {
      throw new Error(`the page does not show ${JSON.stringify(fields)}: ${await this.page.locator('body').innerText()}`, { cause: error });
    }
  }

  /** Waits for the first connection that is in the room; a page whose session is not known says so and tries for ever. */
  async connected() {
    await this.page.waitForFunction(() => (
      document.getElementById('connections').textContent !== '0' || document.getElementById('problems').textContent !== ''
    ));
    const problems = await this.read('problems');
    if (problems) throw new Error(`the page says: ${problems}`);
  }

  /** What each socket of a page of another origin has to say in the end; throws with its own words when something went wrong there. */
  async outcome() {
    await this.page.waitForFunction(() => 'outcome' in window);
    return this.page.evaluate(() => window.outcome);
  }

  /** What happened to a page of another origin that stays, once `check` holds for it. */
  async happened(what, check) {
    return until(what, async () => {
      const events = await this.page.evaluate(() => window.events ?? []);
      if (!check(events)) throw new Error(JSON.stringify(events));
      return events;
    });
  }

  async say(text) {
    await this.page.getByLabel('Message', { exact: true }).fill(text);
    await this.page.getByRole('button', { name: 'Say' }).click();
  }

  /** Waits until `text` is among the messages, and returns all of them. */
  async hears(text) {
    await this.page.locator('#said li', { hasText: text }).first().waitFor();
    return this.page.locator('#said li').allInnerTexts();
  }

  async screenshot(name) {
    mkdirSync(OUT, { recursive: true });
    await this.page.screenshot({ path: `${OUT}${name}.png` });
  }
}
