// An instance dies without a word: its clients are on the other one, by themselves, and the rest notices nothing.

import assert from 'node:assert/strict';
import { UNKNOWN_SESSION, assertSpread, chat, crowd } from '../support/site.mjs';

const dies = (kinds, mustFail) => ({
  name: `an instance is killed under ${kinds.join(', ')} clients: they are back on the other, and rooms go on`,
  mustFail,

  async run({ url, cluster }) {
    const clients = await crowd(url, kinds, 6, { reconnection: true });
    assertSpread(clients);
    await chat(clients, 'before');

    const victims = clients.filter(({ instance }) => instance === 'one');
    const others = clients.filter(({ instance }) => instance === 'two');
    await cluster.killInstance('one');
    await Promise.all(victims.map((client) => client.settled('two')));
    await chat(clients, 'with one instance');
    for (const client of victims) assert.notEqual(client.losses.length, 0);
    for (const client of others) assert.deepEqual(client.losses, [], 'a client of the living instance lost its connection');

    // It comes back: whoever is placed there finds it working, and the room is one again.
    await cluster.startInstance('one');
    const fresh = await crowd(url, kinds, 6, { reconnection: true });
    assertSpread(fresh);
    const everybody = [...clients, ...fresh];
    await Promise.all(everybody.map((client) => client.settled()));
    await chat(everybody, 'after');
  },
});

export const killed = [
  dies(['websocket'], {}),
  dies(['websocket', 'polling with cookies', 'upgrading with cookies'], { none: UNKNOWN_SESSION }),
  dies(['websocket', 'polling', 'upgrading'], { cookie: UNKNOWN_SESSION, none: UNKNOWN_SESSION }),
];
