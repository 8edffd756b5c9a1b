// Fifty clients of all kinds come and go: each is where it was before.

import assert from 'node:assert/strict';
import { Client, KINDS } from '../support/clients.mjs';
import { MOVED_OR_UNKNOWN, address, crowd } from '../support/site.mjs';

const ROUNDS = 4;

export const staying = [
  {
    name: '50 clients that keep their cookie stay where they started, whatever their address and transport become',
    needs: ['cookie'],
    otherwise: MOVED_OR_UNKNOWN,

    async run({ url }) {
      const kinds = ['polling with cookies', 'upgrading with cookies'];
      const clients = await crowd(url, kinds, 25);
      const transports = [KINDS.websocket, KINDS['polling with cookies'], KINDS['upgrading with cookies']];
      await stay(clients, (client, n, round) => Client.connect(url, {
        ...transports[(n + round) % transports.length],
        address: address(1_000 * round + n),
        cookie: client.cookies,
      }));
    },
  },
  {
    name: '50 clients without a cookie stay where they started, by their address',
    needs: ['ip_hash'],
    otherwise: MOVED_OR_UNKNOWN,

    async run({ url }) {
      const kinds = ['websocket', 'polling', 'upgrading', 'polling with cookies', 'upgrading with cookies'];
      const clients = await crowd(url, kinds, 10);
      await stay(clients, (client, n, round) => Client.connect(url, {
        ...KINDS[kinds[(n + round) % kinds.length]],
        address: address(n + 1),
      }));
    },
  },
  {
    name: '50 clients of one address are on one instance',
    needs: ['ip_hash'],
    otherwise: /on both instances/,

    async run({ url }) {
      const clients = await Promise.all(Array.from({ length: 50 }, () => (
        Client.connect(url, { ...KINDS.websocket, address: '10.9.9.9' })
      )));
      for (const client of clients) assert.match((await client.ask('whoami')).forwardedFor, /^10\.9\.9\.9\b/);
      if (new Set(clients.map(({ home }) => home)).size > 1) throw new Error('they are on both instances');
    },
  },
];

/** Closes each client and lets it come again, several times; `again` says how. */
async function stay(clients, again) {
  await Promise.all(clients.map(async (first, n) => {
    let client = first;
    const cookies = first.cookies;
    for (let round = 1; round <= ROUNDS; round += 1) {
      client.close();
      client = await again({ cookies }, n, round);
      assert.equal((await client.ask('whoami')).instance, client.home);
      if (client.home !== first.home) throw new Error(`client ${n} moved from ${first.home} to ${client.home}`);
    }
  }));
}
