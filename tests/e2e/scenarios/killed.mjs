// An instance dies without a word: its clients are elsewhere after one new handshake, and the rest notices nothing.

import assert from 'node:assert/strict';
import { Client, KINDS } from '../support/clients.mjs';
import { pythonClients, rustClients } from '../support/programs.mjs';
import { kind } from '../support/proxy.mjs';
import { UNKNOWN_SESSION, address, addresses, assertSpread, chat, crowd } from '../support/site.mjs';

const ALL = ['one', 'two', 'three'];

const dies = (kinds, needs) => ({
  name: `one of three instances is killed under ${kinds.join(', ')} clients: they are back elsewhere, at the first try, and rooms go on`,
  alone: true,
  needs,
  otherwise: UNKNOWN_SESSION,

  async run({ url, cluster, isUp }) {
    const clients = await crowd(url, kinds, 6, { over: ALL, reconnection: true });
    await chat(clients);

    const victims = clients.filter(({ instance }) => instance === 'one');
    const others = clients.filter(({ instance }) => instance !== 'one');
    await cluster.killInstance('one');
    await Promise.all(victims.map((client) => client.until('it lost its connection', () => client.losses.length > 0)));
    await Promise.all(victims.map((client) => client.settled()));
    await chat(clients);
    for (const client of victims) {
      assert.notEqual(client.instance, 'one');
      assert.equal(client.losses.length, 1, `more than one failure: ${client.losses.join('; ')}`);
    }
    for (const client of others) {
      assert.deepEqual(client.losses, [], 'a client of a living instance lost its connection');
      assert.equal(client.instance, client.home);
    }

    // It comes back: whoever is placed there finds it working, and the room is one again.
    const up = isUp('one');
    await cluster.startInstance('one');
    // By the address alone a session that begins just before would not be found after.
    await up();
    const fresh = await crowd(url, kinds, 6, { over: ALL, reconnection: true });
    const everybody = [...clients, ...fresh];
    await Promise.all(everybody.map((client) => client.settled()));
    await chat(everybody);
  },
});

const reissued = {
  name: 'a cookie of a killed instance: its client is elsewhere with the first request, and stays there with its new cookie',
  alone: true,
  needs: ['cookie'],
  otherwise: /a client got no cookie|Session ID unknown/,
  not: () => kind === 'nginx',

  async run({ url, cluster }) {
    const kind = KINDS['polling with cookies'];
    // Each connection from somewhere else: nothing but the cookie leads back.
    let places = 100;
    const again = async (cookie) => {
      places += 1;
      const client = await Client.connect(url, { ...kind, address: address(places), cookie });
      const { instance } = client;
      const cookies = client.cookies;
      client.close();
      return { instance, cookies };
    };
    const clients = await crowd(url, ['polling with cookies'], 12, { over: ALL });
    const first = clients.map(({ instance, cookies }) => ({ instance, cookies }));
    for (const client of clients) client.close();
    if (first.some(({ cookies }) => !cookies)) throw new Error('a client got no cookie');

    await cluster.killInstance('one');
    const second = await Promise.all(first.map(({ cookies }) => again(cookies)));
    second.forEach(({ instance, cookies }, n) => {
      assert.notEqual(instance, 'one');
      // Whoever stays needs no new one, and got none.
      if (first[n].instance === 'one') assert.ok(cookies && cookies !== first[n].cookies, 'the cookie was not issued anew');
      else assert.deepEqual({ instance, cookies }, { instance: first[n].instance, cookies: '' });
    });

    // Also once the dead instance is back: whoever had to move stays where it moved to.
    const latest = second.map(({ cookies }, n) => cookies || first[n].cookies);
    for (const then of [() => {}, () => cluster.startInstance('one')]) {
      await then();
      const third = await Promise.all(latest.map(again));
      assert.deepEqual(third.map(({ instance }) => instance), second.map(({ instance }) => instance));
    }
  },
};

/**
 * Programs do it by themselves too, each as its library comes back.
 * @param {string} client for the name
 * @param {(url: string, addresses: string[]) => object} start
 * @param {object} keeps
 * @param {string[]} keeps.needs
 * @param {boolean} [keeps.cookies] it keeps cookies over reconnections
 */
const under = (client, start, { needs, cookies }) => ({
  name: `one of three instances is killed under ${client} clients: they are back elsewhere, at the first try`,
  alone: true,
  needs,
  otherwise: new RegExp(`${UNKNOWN_SESSION.source}|EngineIO Error|not all have started`),

  async run({ url, cluster, by }) {
    const all = addresses(12, 40);
    const program = start(url, all);
    const of = (events, n, wanted) => events.filter(({ client: number, event }) => number === n && event === wanted);
    await program.until('all have started', (events) => all.every((_, n) => of(events, n, 'hello').length > 0));
    const before = program.events;
    const homes = all.map((_, n) => of(before, n, 'hello')[0].instance);
    assertSpread(homes.map((instance) => ({ instance })), ALL);
    assert.deepEqual(before.filter(({ event }) => event === 'lost'), []);

    await cluster.killInstance('one');
    const victims = [...homes.keys()].filter((n) => homes[n] === 'one');
    await program.until('all are back', (events) => victims.every((n) => of(events, n, 'hello').length === 2));
    const after = program.events;
    for (const n of homes.keys()) {
      const losses = of(after, n, 'lost').map(({ reason }) => reason);
      assert.equal(losses.length, homes[n] === 'one' ? 1 : 0, losses.join('; '));
    }
    for (const n of victims) {
      const [first, second] = of(after, n, 'hello');
      assert.notEqual(second.instance, 'one');
      if (cookies && kind !== 'nginx' && by.includes('cookie')) assert.notDeepEqual(second.cookies, first.cookies, 'the cookie was not issued anew');
    }
  },
});

const python = (transport) => under(
  `python-socketio (${transport})`,
  (url, all) => pythonClients('stay', url, transport === 'upgrade' ? undefined : [transport], all),
  { needs: ['sid', 'cookie', 'ip_hash'], cookies: true },
);

const rust = (transport) => under(
  `rust_socketio (${transport})`,
  (url, all) => rustClients('stay', url, transport, all),
  { needs: ['sid', 'ip_hash'] },
);

export const killed = [
  dies(['websocket'], undefined),
  dies(['websocket', 'polling with cookies', 'upgrading with cookies'], ['sid', 'cookie', 'ip_hash']),
  dies(['websocket', 'polling', 'upgrading', 'version 2 polling', 'version 2 upgrading'], ['sid', 'ip_hash']),
  dies(['roaming polling', 'roaming upgrading'], ['sid']),
  reissued,
  python('polling'),
  python('upgrade'),
  rust('polling'),
  rust('upgrade'),
];
