// Each kind of client on its own: what goes out comes back, and only as sent.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { KINDS, keeps, lastTransport } from '../support/clients.mjs';
import { pythonClients, rustClients } from '../support/programs.mjs';
import { RawSession } from '../support/raw.mjs';
import { UNKNOWN_SESSION, address, addresses, assertSpread, crowd } from '../support/site.mjs';
import { SOFTWARE } from '../support/table.mjs';

const WHAT = 'events, acknowledgements, binary, 64 KiB, heartbeats';
// Of what has to fail one of each sort is enough.
const NODE = { url: 'url', at: '', instances: SOFTWARE.nodeInstance };
const PYTHON = { url: 'pythonUrl', at: ' at Python instances', instances: SOFTWARE.pythonInstance, not: (by) => ['cookie', 'ip_hash'].includes(by.join()) };

// socket.io-client in Node.

const inNode = (kind, { url, at, instances, not }) => ({
  name: `${kind}${at}: ${WHAT}`,
  cell: { client: rowOf(KINDS[kind]), instances, transport: KINDS[kind].transports?.[0] ?? 'upgrade' },
  needs: keeps(kind),
  otherwise: UNKNOWN_SESSION,
  not,

  async run(site) {
    const clients = await crowd(site[url], [kind], 5);
    await Promise.all(clients.map(async (client) => {
      await exchange(client);
      if (lastTransport(kind) === 'websocket') await client.upgraded();
      // Polls that are parked and tunnels that are silent are still there after them.
      await client.ask('heartbeats', 2);
      await exchange(client);
      const now = await client.ask('whoami');
      assert.equal(now.instance, client.home);
      assert.equal(now.transport, lastTransport(kind));
      assert.equal(now.protocol, KINDS[kind].version === 2 ? 3 : 4);
    }));
  },
});

function rowOf({ version, withCredentials, roaming }) {
  const words = [version === 2 ? `${SOFTWARE.node2}, Engine.IO 3` : SOFTWARE.node];
  if (withCredentials) words.push('keeping cookies');
  if (roaming) words.push('from another address with each request');
  return words.join(', ');
}

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

  // Not more at once: an instance in Python reads 16 packets of a body, then gives up.
  const order = [];
  await Promise.all(Array.from({ length: 12 }, async (_, n) => order.push(await client.ask('echo', n))));
  assert.deepEqual(order, Array.from({ length: 12 }, (_, n) => n));
}

// JSONP: no client of version 4 has it any more, and that of version 2 only in a browser (see browser.mjs).

const byScript = (protocol, { url, at, instances, not }) => ({
  name: `JSONP, Engine.IO ${protocol}${at}: ${WHAT}`,
  cell: { client: `JSONP, Engine.IO ${protocol}`, instances, transport: 'polling' },
  needs: ['sid', 'ip_hash'],
  otherwise: UNKNOWN_SESSION,
  not,

  async run(site) {
    const sessions = [];
    const values = [0, 'Grüße, 世界 🚀', { nested: [1, 'two', null] }, 'x'.repeat(64 * 1024)];
    // Python escapes only half of what a script needs.
    if (instances === SOFTWARE.nodeInstance) values.push('a line\nand "another" \\ one\u2028');
    await Promise.all(addresses(5).map(async (from) => {
      const session = await RawSession.connect(site[url], { protocol, jsonp: true, address: from });
      sessions.push(session);
      await exchangeByScript(session, values);
      let counted = false;
      const heartbeats = session.ask('heartbeats', 2).finally(() => { counted = true; });
      // In version 3 they are the client's. The first may be there before the question, on another connection.
      while (protocol === 3 && !counted) await session.send('2');
      await heartbeats;
      await exchangeByScript(session, values);
      const now = await session.ask('whoami');
      assert.equal(now.instance, session.instance);
      assert.equal(now.transport, 'polling');
      assert.equal(now.protocol, protocol);
    }));
    while (!new Set(sessions.map(({ instance }) => instance)).has('two') || !sessions.some(({ instance }) => instance === 'one')) {
      sessions.push(await RawSession.connect(site[url], { protocol, jsonp: true, address: address(sessions.length + 1) }));
      assert.ok(sessions.length < 100, 'all sessions are on one instance');
    }
  },
});

async function exchangeByScript(session, values) {
  for (const value of values) assert.deepEqual(await session.ask('echo', value), value);
  for (const bytes of [randomBytes(1_000), randomBytes(64 * 1024)]) assert.deepEqual(await session.ask('echo', bytes), bytes);
}

/** Two requests, the handshake and the upgrade, may both come to the same instance without any affinity. */
const lucky = (transport, by) => transport === 'upgrade' && !by.includes('sid') && !by.includes('ip_hash');

// Programs of their own. They check what comes back by themselves.

const inPython = (transport, { url, at, instances, not }) => ({
  name: `python-socketio, ${transport}${at}: ${WHAT}`,
  cell: { client: SOFTWARE.python, instances, transport },
  // It keeps cookies, whether it wants to or not.
  needs: transport === 'websocket' ? undefined : ['sid', 'cookie', 'ip_hash'],
  otherwise: UNKNOWN_SESSION,

  not: (by) => lucky(transport, by) || not?.(by),

  run: (site) => spread((from) => (
    pythonClients('exchange', site[url], transport === 'upgrade' ? undefined : [transport], from).done()
  ), transport),
});

const inRust = (transport, { url, at, instances, not }, word = transport) => ({
  name: `rust_socketio, ${word}${at}: ${WHAT}`,
  cell: { client: SOFTWARE.rust, instances, transport },
  needs: transport === 'websocket' ? undefined : ['sid', 'ip_hash'],
  // It tells nothing but that something went wrong below it; or nothing at all, while it waits.
  otherwise: /EngineIO Error|nothing came/,

  not: (by) => lucky(transport, by) || not?.(by),

  run: (site) => spread((from) => rustClients('exchange', site[url], word, from).done(), transport),
});

/** Runs clients with further addresses until both instances had some. */
async function spread(run, transport) {
  const clients = [];
  for (let first = 1; first < 100; first += 4) {
    clients.push(...await run(addresses(4, first)));
    for (const client of clients) assert.equal(client.transport, transport === 'polling' ? 'polling' : 'websocket');
    if (new Set(clients.map(({ instance }) => instance)).size > 1) break;
  }
  assertSpread(clients);
}

// The instances in Python are others indeed: what is learned there has another form.

const otherForm = {
  name: 'an instance in Python answers in chunks, and with its keys in another order',
  needs: undefined,

  async run({ python }) {
    const [{ port }] = python.instances;
    const answer = await fetch(`http://127.0.0.1:${port}/socket.io/?EIO=4&transport=polling`);
    assert.equal(answer.headers.get('transfer-encoding'), 'chunked');
    assert.match(await answer.text(), /^0\{"sid":"[^"]+","upgrades":\["websocket"\],"pingTimeout":/);
  },
};

export const transports = [
  ...Object.keys(KINDS).map((kind) => inNode(kind, NODE)),
  byScript(4, NODE),
  byScript(3, NODE),
  ...['polling', 'websocket', 'upgrade'].map((transport) => inPython(transport, NODE)),
  ...['polling', 'websocket', 'upgrade'].map((transport) => inRust(transport, NODE)),
  inRust('upgrade', NODE, 'default'),
  otherForm,
  ...['polling', 'websocket', 'upgrading'].map((kind) => inNode(kind, PYTHON)),
  byScript(4, PYTHON),
  ...['polling', 'websocket', 'upgrade'].map((transport) => inPython(transport, PYTHON)),
  ...['polling', 'websocket', 'upgrade'].map((transport) => inRust(transport, PYTHON)),
];
