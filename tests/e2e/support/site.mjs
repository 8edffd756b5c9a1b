// Vocabulary that the scenarios share.

import assert from 'node:assert/strict';
import { Client, KINDS } from './clients.mjs';

/** What a client says of an instance that does not know its session: the instance's words, or what the client makes of them. */
export const UNKNOWN_SESSION = new RegExp([
  'Session ID unknown', 'Invalid session', // Node's and Python's instances
  'xhr (poll|post) error, 400', // version 2 in Node
  'error: 400', // version 2 in a browser
  'status code 400', // python-socketio
  'a (POST|poll) was answered 400', // our own
].join('|'));

/** The same, or what a scenario says of a client that came to another instance. */
export const MOVED_OR_UNKNOWN = new RegExp(`moved from \\w+ to \\w+|${UNKNOWN_SESSION.source}`);

/** The n-th client's address. */
export const address = (n) => `10.20.${n >> 8}.${n & 255}`;

export const addresses = (count, first = 1) => Array.from({ length: count }, (_, n) => address(first + n));

/**
 * Connects `count` clients of each of `kinds`, each with an address of its own, and further ones until every instance
 * of `over` has some: otherwise a scenario shows less than it says.
 */
export async function crowd(url, kinds, count, { over = ['one', 'two'], ...options } = {}) {
  const connect = (n) => Client.connect(url, { ...KINDS[kinds[n % kinds.length]], address: address(n + 1), ...options });
  const clients = await Promise.all(Array.from({ length: kinds.length * count }, (_, n) => connect(n)));
  while (clients.length < 100 && !isSpread(clients, over)) clients.push(await connect(clients.length));
  assertSpread(clients, over);
  return clients;
}

const isSpread = (clients, over) => over.every((name) => clients.some(({ instance }) => instance === name));

/** Every instance has some of `clients`, and nobody else has. */
export function assertSpread(clients, over = ['one', 'two']) {
  assert.deepEqual([...new Set(clients.map(({ instance }) => instance))].sort(), [...over].sort());
}

let rooms = 0;

/**
 * Everybody joins a room and says something several times; everybody hears each of it exactly once, whichever instance
 * it was said to.
 */
export async function chat(clients, { rounds = 3 } = {}) {
  // Nobody else is in it, whatever runs beside this.
  rooms += 1;
  const room = `room ${rooms}`;
  await Promise.all(clients.map((client) => client.join(room)));
  for (const client of clients) client.said.length = 0;

  const expected = clients.flatMap((client, n) => Array.from({ length: rounds }, (_, round) => {
    client.say(room, `${n}.${round}`);
    return `${n}.${round} by way of ${client.instance}`;
  }));
  const all = (count) => Promise.all(clients.map((client) => client.until(
    `everybody hears ${count} messages in ${room}`,
    () => client.said.length >= count,
  )));
  await all(expected.length);

  // What one instance publishes arrives in order: behind the last word of each, nothing doubled can still be on its way.
  const speakers = new Map(clients.map((client) => [client.instance, client]));
  for (const speaker of speakers.values()) speaker.say(room, 'last word');
  expected.push(...[...speakers.keys()].map((instance) => `last word by way of ${instance}`));
  await Promise.all(clients.map((client) => client.until(
    'everybody hears the last words',
    () => client.said.filter(({ text }) => text === 'last word').length >= speakers.size,
  )));

  for (const client of clients) {
    const heard = client.said.map(({ text, instance }) => `${text} by way of ${instance}`);
    assert.deepEqual(heard.sort(), expected.sort());
  }
}
