// Vocabulary that the scenarios share.

import assert from 'node:assert/strict';
import { Client, KINDS } from './clients.mjs';

/** What an instance answers to a request of a session that began elsewhere. */
export const UNKNOWN_SESSION = /Session ID unknown/;

/** The n-th client's address. */
export const address = (n) => `10.20.${n >> 8}.${n & 255}`;

/** Connects `count` clients of each of `kinds`, each with an address of its own. */
export function crowd(url, kinds, count, options = {}) {
  return Promise.all(Array.from({ length: kinds.length * count }, (_, n) => (
    Client.connect(url, { ...KINDS[kinds[n % kinds.length]], address: address(n + 1), ...options })
  )));
}

/** Both instances have some of `clients`; otherwise a scenario shows less than it says. */
export function assertSpread(clients, names = ['one', 'two']) {
  assert.deepEqual([...new Set(clients.map(({ instance }) => instance))].sort(), names);
}

/**
 * Everybody joins `room` and says something several times; everybody hears each of it exactly once, whichever instance
 * it was said to.
 */
export async function chat(clients, room, { rounds = 3 } = {}) {
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
