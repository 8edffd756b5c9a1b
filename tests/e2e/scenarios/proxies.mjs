// More than one proxy, and many clients behind one address.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, KINDS } from '../support/clients.mjs';
import { directory } from '../support/processes.mjs';
import { kind } from '../support/proxy.mjs';
import { MOVED_OR_UNKNOWN, UNKNOWN_SESSION, address, crowd } from '../support/site.mjs';

const ALL = ['one', 'two', 'three'];
const BOUND = 1.25;

let secrets = 0;

/** Two proxies that share a secret and know nothing else of each other. */
async function pair({ proxy }) {
  secrets += 1;
  const path = join(directory, `secret-${secrets}`);
  writeFileSync(path, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  const sticky = `secret_file = "${path}"`;
  return Promise.all([proxy({ sticky }), proxy({ sticky })]);
}

function assertStayed(client, before, n) {
  if (client.home !== before.home) throw new Error(`client ${n} moved from ${before.home} to ${client.home}`);
}

export const proxies = [
  {
    name: 'two proxies with one secret: who keeps a cookie is on the same instance behind both, wherever it comes from',
    needs: ['cookie'],
    otherwise: MOVED_OR_UNKNOWN,

    async run(site) {
      const [a, b] = await pair(site);
      const clients = await crowd(a.url, ['polling with cookies', 'upgrading with cookies'], 8);
      await Promise.all(clients.map(async (first, n) => {
        const cookie = first.cookies;
        for (const [round, { url }] of [b, a, b].entries()) {
          const transport = [KINDS.websocket, KINDS['polling with cookies'], KINDS['upgrading with cookies']][(n + round) % 3];
          const client = await Client.connect(url, { ...transport, cookie, address: address(1_000 * (round + 1) + n) });
          assertStayed(client, first, n);
          client.close();
        }
      }));

      // With a secret of its own a proxy believes none of these cookies.
      if (kind === 'nginx') return;
      const stranger = await site.proxy();
      const moved = await Promise.all(clients.map(async (first, n) => {
        const client = await Client.connect(stranger.url, { ...KINDS.websocket, cookie: first.cookies, address: address(5_000 + n) });
        return client.home !== first.home;
      }));
      assert.ok(moved.includes(true), 'the scenario cannot fail');
    },
  },
  {
    name: 'two proxies with one secret: who has no cookie is on the same instance behind both, by its address',
    needs: ['ip_hash'],
    otherwise: MOVED_OR_UNKNOWN,

    async run(site) {
      const [a, b] = await pair(site);
      const kinds = ['websocket', 'polling', 'upgrading', 'version 2 polling'];
      const clients = await crowd(a.url, kinds, 6);
      await Promise.all(clients.map(async (first, n) => {
        for (const [round, { url }] of [b, a, b].entries()) {
          const client = await Client.connect(url, { ...KINDS[kinds[(n + round) % kinds.length]], address: address(n + 1) });
          assertStayed(client, first, n);
          client.close();
        }
      }));
    },
  },
  {
    name: 'two proxies with one secret: a session that began at one goes on at the other, its upgrade too',
    needs: ['ip_hash'],
    otherwise: UNKNOWN_SESSION,

    async run(site) {
      const [a, b] = await pair(site);
      const kinds = ['polling', 'upgrading', 'polling with cookies', 'upgrading with cookies'];
      const clients = await crowd(a.url, kinds, 6, { thenBy: b.url });
      await Promise.all(clients.map(async (client, n) => {
        assert.equal(await client.ask('echo', n), n);
        if (kinds[n % kinds.length].startsWith('upgrading')) await client.upgraded();
        else {
          // And in the middle of it, from one to the other and back.
          for (const { url } of [a, b, a]) {
            client.goBy(url);
            await client.ask('heartbeats', 1);
          }
        }
        const now = await client.ask('whoami');
        assert.equal(now.instance, client.home);
      }));
    },
  },
  {
    name: '300 clients behind one address, with a bound: they are spread within it, and each stays',
    alone: true,
    needs: ['sid'],
    not: (by, isDefault) => !isDefault,

    async run(site) {
      const { url } = await site.proxy({ sticky: `ip_hash = { bound = ${BOUND} }` });
      const kinds = ['websocket', 'polling', 'upgrading', 'polling with cookies', 'upgrading with cookies'];
      const clients = await crowd(url, kinds, 60, { over: ALL, address: '10.9.9.9' });
      const shares = ALL.map((name) => clients.filter(({ instance }) => instance === name).length);
      // Workers that choose at the same moment see the same load: one too many of each.
      assert.ok(Math.max(...shares) <= BOUND * clients.length / 3 + 2, `shares of ${shares}`);
      // Their address leads all of them to one, beyond its bound to another: what remains for the third is less than its share.
      assert.ok(Math.min(...shares) < clients.length / 4, `shares of ${shares}: not by their address`);

      await Promise.all(clients.map(async (client, n) => {
        assert.equal(await client.ask('echo', n), n);
        if (kinds[n % kinds.length].startsWith('upgrading')) await client.upgraded();
        assert.equal((await client.ask('whoami')).instance, client.home);
      }));
      await Promise.all(clients.filter(({ cookies }) => cookies).map(async (first, n) => {
        const cookie = first.cookies;
        first.close();
        const client = await Client.connect(url, { ...KINDS['upgrading with cookies'], address: '10.9.9.9', cookie });
        assertStayed(client, first, n);
        await client.upgraded();
        assert.equal((await client.ask('whoami')).instance, client.home);
      }));
    },
  },
];
