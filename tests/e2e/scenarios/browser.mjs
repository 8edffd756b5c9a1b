// A real browser: two people who talk over two instances, with real cookies; and pages of other origins.

import assert from 'node:assert/strict';
import { Person } from '../support/chromium.mjs';
import { pageFor, servePages } from '../support/pages.mjs';
import { COOKIE } from '../support/proxy.mjs';
import { UNKNOWN_SESSION, address } from '../support/site.mjs';
import { SOFTWARE } from '../support/table.mjs';

// What a person sees.

const chat = {
  name: 'Chromium: the page polls, upgrades, chats across instances, survives a reload and the death of its instance',
  alone: true,
  needs: ['cookie'],
  otherwise: UNKNOWN_SESSION,
  // Its WebSocket handshakes cannot pretend an address, so everybody would be on one instance; and sessions alone bring
  // nobody back to where they were before a reload.
  not: (by) => by.length > 0 && !by.includes('cookie'),

  async run({ url, cluster, label }) {
    const people = [];
    try {
      const [anna, bert] = await apart(url, people);
      for (const person of [anna, bert]) await person.shows({ first: 'polling', transport: 'websocket', problems: '' });
      const [annas, berts] = [await anna.read('instance'), await bert.read('instance')];

      await anna.say('Hello from Anna');
      await bert.hears('Hello from Anna');
      await bert.say('Hello from Bert');
      const lines = [`Hello from Anna by way of ${annas}`, `Hello from Bert by way of ${berts}`];
      await anna.hears('Hello from Bert');
      assert.deepEqual(await heard(anna, 'Hello from Bert'), lines);
      assert.deepEqual(await heard(bert, 'Hello from Bert'), lines);
      await anna.screenshot(`${label}-1-chat`);

      await anna.page.reload();
      await anna.shows({ instance: annas, first: 'polling', transport: 'websocket', connections: '1', problems: '' });

      await cluster.killInstance(annas);
      await anna.shows({ transport: 'websocket', connections: '2' });
      const refuge = await anna.read('instance');
      assert.notEqual(refuge, annas);
      await anna.say('Still here');
      assert.deepEqual(await heard(bert, 'Still here'), [...lines, `Still here by way of ${refuge}`]);
      assert.equal(await bert.read('connections'), '1');
      assert.equal(await bert.read('problems'), '');
      await anna.screenshot(`${label}-2-after-the-death-of-an-instance`);

      await cluster.startInstance(annas);
      await anna.say('And again');
      await bert.hears('And again');
    } catch (error) {
      await Promise.all(people.map((person, n) => person.screenshot(`${label}-problem-${n}`)));
      throw error;
    }
  },
};

/** Opens pages until two are on different instances; the others stay, and listen. */
async function apart(url, people) {
  for (let n = 1; n <= 12; n += 1) {
    const person = await Person.open(url, address(n));
    people.push(person);
    await person.connected();
    const first = people[0];
    if (await person.read('instance') !== await first.read('instance')) return [first, person];
  }
  throw new Error('12 pages are all on one instance');
}

/** The messages that a person sees once `last` is among them. */
async function heard(person, last) {
  return (await person.hears(last)).map((line) => line.replace(/\s+/g, ' '));
}

// Pages that come from elsewhere: what they may send and keep is the browser's decision.

const VARIANTS = {
  polling: { transports: ['polling'] },
  websocket: { transports: ['websocket'] },
  upgrade: {},
};

/**
 * @param {object} page
 * @param {string} page.row the client in the README's table
 * @param {'origin' | 'site'} page.from a page of another origin of the same site, or of another site
 * @param {boolean} page.cookie whether the browser keeps the proxy's cookie and sends it along
 */
const elsewhere = (transport, { row, from, version = 4, options = {}, cookie }) => ({
  name: `Chromium: ${row}: ${transport}: events, acknowledgements, binary, 64 KiB, heartbeats`,
  cell: { client: row, instances: SOFTWARE.nodeInstance, transport },
  needs: transport === 'websocket' ? undefined : ['sid', 'ip_hash', ...(cookie ? ['cookie'] : [])],
  otherwise: UNKNOWN_SESSION,
  // It cannot pretend an address. And a browser takes its time: of what has to fail one of each sort is enough.
  not: (by) => by.join() === 'ip_hash' || (!by.includes('sid') && (transport !== 'polling' || (by.length === 0 && cookie))),

  async run({ url, by }) {
    const pages = await servePages();
    // By their address all are on one instance; by a cookie each page is; without one, sockets go their own ways.
    const sockets = by.includes('ip_hash') || by.includes('cookie') ? 1 : 3;
    const address = pageFor(pages[from], { url, version, sockets, options: { ...VARIANTS[transport], ...options } });
    const ends = [];
    do {
      const person = await Person.open(address);
      ends.push(...await person.outcome());
      const kept = (await person.context.cookies(url)).map(({ name }) => name);
      const polls = transport !== 'websocket';
      if (polls && by.includes('cookie')) assert.deepEqual(kept, cookie ? [COOKIE] : [], 'cookies that the browser keeps');
      assert.ok(ends.length < 20, 'all pages are on one instance');
    } while (!by.includes('ip_hash') && new Set(ends.map(({ instance }) => instance)).size < 2);
    for (const end of ends) {
      assert.equal(end.transport, transport === 'polling' ? 'polling' : 'websocket');
      assert.equal(end.protocol, version === 2 ? 3 : 4);
    }
  },
});

const CROSS_ORIGIN = { row: `${SOFTWARE.node} in Chromium, page of another origin`, from: 'origin', cookie: false };
const CREDENTIALS = {
  row: `${SOFTWARE.node} in Chromium, page of another origin, withCredentials`, from: 'origin', options: { withCredentials: true }, cookie: true,
};
// SameSite=Lax: over plain HTTP no cookie of another site can be kept.
const CROSS_SITE = {
  row: `${SOFTWARE.node} in Chromium, page of another site, withCredentials`, from: 'site', options: { withCredentials: true }, cookie: false,
};
// Script tags send and keep cookies without being asked.
const JSONP = {
  row: `${SOFTWARE.node2} in Chromium, JSONP, page of another origin`, from: 'origin', version: 2, options: { forceJSONP: true }, cookie: true,
};

// Whatever the proxy says itself has to be readable there too, or nobody learns why the session ended.

const orphan = {
  name: 'Chromium: the instance of a polling page of another origin is killed: it may read what it is told, and is back at the first try',
  alone: true,
  needs: ['sid'],
  not: (by) => !by.includes('sid'),

  async run({ url, cluster }) {
    const pages = await servePages();
    const people = await Promise.all([false, true].map((withCredentials) => (
      Person.open(pageFor(pages.origin, { url, version: 4, stay: true, options: { transports: ['polling'], withCredentials } }))
    )));
    const connected = (person) => person.happened('the page is connected', (events) => events.length > 0);
    // Both: a session that only begins when its instance dies has nothing that could be told.
    await Promise.all(people.map(connected));
    for (const person of people) {
      const [{ instance }] = await connected(person);
      await cluster.killInstance(instance);
      const events = await person.happened('it is back', (seen) => seen.filter(({ event }) => event === 'hello').length === 2);
      const [lost, ...more] = events.filter(({ event }) => event === 'lost').map(({ reason }) => reason);
      assert.deepEqual(more, [], 'more than one failure');
      assert.match(lost, /Session ID unknown|transport close/);
      await cluster.startInstance(instance);
    }
  },
};

export const browser = [
  ...Object.keys(VARIANTS).flatMap((transport) => [CROSS_ORIGIN, CREDENTIALS, CROSS_SITE].map((page) => elsewhere(transport, page))),
  elsewhere('polling', JSONP),
  chat,
  orphan,
];
