// Each kind of client on its own: what goes out comes back, and only as sent.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { KINDS } from '../support/clients.mjs';
import { pause } from '../support/processes.mjs';
import { UNKNOWN_SESSION, assertSpread, crowd } from '../support/site.mjs';

const MUST_FAIL = {
  websocket: {},
  polling: { cookie: UNKNOWN_SESSION, none: UNKNOWN_SESSION },
  upgrading: { cookie: UNKNOWN_SESSION, none: UNKNOWN_SESSION },
  'polling with cookies': { none: UNKNOWN_SESSION },
  'upgrading with cookies': { none: UNKNOWN_SESSION },
};

export const transports = Object.entries(KINDS).map(([kind, { transports }]) => ({
  name: `${kind}: events, acknowledgements, binary, 64 KiB, heartbeats`,
  mustFail: MUST_FAIL[kind],

  async run({ url }) {
    const clients = await crowd(url, [kind], 10);
    assertSpread(clients);
    await Promise.all(clients.map(exchange));
    if (transports.length > 1) await Promise.all(clients.map((client) => client.upgraded()));

    // Two heartbeats: polls that are parked and tunnels that are silent are still there after them.
    await pause(2_200);
    await Promise.all(clients.map(exchange));
    for (const client of clients) {
      const now = await client.ask('whoami');
      assert.equal(now.instance, client.home);
      assert.equal(now.transport, transports.at(-1));
    }
  },
}));

async function exchange(client) {
  for (const value of [0, -1.5, true, null, '', 'Grüße, 世界 🚀', [], { nested: { list: [1, 'two', null] } }]) {
    assert.deepEqual(await client.ask('echo', value), value);
  }
  assert.deepEqual(await client.ask('echo', 'several', 2, { three: 3 }), ['several', 2, { three: 3 }]);

  const bytes = randomBytes(1_000);
  assert.deepEqual(await client.ask('echo', bytes), bytes);
  assert.deepEqual(await client.ask('echo', { name: 'mixed', parts: [bytes, 'text', bytes] }), { name: 'mixed', parts: [bytes, 'text', bytes] });

  const large = randomBytes(64 * 1024);
  assert.deepEqual(await client.ask('echo', large), large);
  const text = randomBytes(32 * 1024).toString('hex');
  assert.equal(await client.ask('echo', text), text);
  const compressible = 'a'.repeat(64 * 1024);
  assert.equal(await client.ask('echo', compressible), compressible);

  const event = client.next('sent-back');
  client.socket.emit('send-back', 'an event', large);
  assert.deepEqual(await event, ['an event', large]);

  const order = [];
  await Promise.all(Array.from({ length: 30 }, async (_, n) => order.push(await client.ask('echo', n))));
  assert.deepEqual(order, Array.from({ length: 30 }, (_, n) => n));
}
