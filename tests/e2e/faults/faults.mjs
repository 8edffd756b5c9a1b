// The faults, and what is looked at: each is struck at one of several instances, under clients of every kind.

import { connect } from 'node:net';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startMortal } from '../support/mortals.mjs';
import { Namespace, whyNot } from '../support/namespace.mjs';
import { startPeer } from '../support/peers.mjs';
import { pause, start, until } from '../support/processes.mjs';
import { Tunnel, address, arrive, ask, listen, now, park } from '../support/wire.mjs';

/**
 * Each fault:
 *   title      for people
 *   strike     does it to an instance
 *   patience   seconds that anything is waited for
 *   speaking   so many of the held tunnels say something every half second; none: it would make no difference
 *   namespace  the victim lives in one
 *   lives      it is not dead: whoever is there should be left alone
 *   spare      its listening socket must outlive its listening
 *   direct     so many tunnels beside the proxy, which show what the kernel does
 *   names, victims   instances; the first two by default, and the first
 *   lines      what stickyd's file says of it beyond the defaults
 *   alone      clocks matter: nothing else runs meanwhile
 *   run        instead of all that
 */
export const FAULTS = {
  kill: {
    title: 'its process is killed (SIGKILL)',
    strike: (victim) => victim.process.signal('SIGKILL'),
    patience: 15,
    direct: 5,
    alone: true,
  },
  stop: {
    title: 'it hangs (SIGSTOP)',
    strike: (victim) => victim.process.signal('SIGSTOP'),
    patience: 40,
    speaking: 10,
  },
  drop: {
    title: 'its packets vanish (network namespace)',
    namespace: true,
    strike: (victim) => victim.namespace.cut(),
    patience: 40,
    speaking: 10,
  },
  queue: {
    title: 'it accepts no more, and its queue is full; what is open works',
    spare: true,
    strike: (victim) => victim.deafen(),
    lives: true,
    patience: 40,
    speaking: 10,
  },
  unwell: {
    title: 'its health path says 500 (Redis is away); it works',
    lines: '[upstream.app.health]\ncheck = "http"\npath = "/health"',
    strike: (victim) => victim.order('/unwell'),
    lives: true,
    patience: 12,
    speaking: 10,
  },
  reset: {
    title: 'it resets every connection',
    strike: (victim) => victim.order('/reset'),
    patience: 15,
  },
  late: {
    title: 'it answers everything after 3 s',
    strike: (victim) => victim.order('/late?3000'),
    lives: true,
    patience: 20,
    speaking: 10,
  },
  busy: {
    title: 'its event loop is blocked for 3 s at a time',
    strike: (victim) => victim.order('/busy?3000'),
    lives: true,
    patience: 20,
    speaking: 10,
  },
  most: {
    title: 'two of three hang (SIGSTOP)',
    names: ['one', 'two', 'three'],
    victims: ['one', 'two'],
    strike: (victim) => victim.process.signal('SIGSTOP'),
    patience: 40,
    speaking: 10,
  },
  all: { title: 'all are killed, and come back after 8 s', alone: true, run: allDown },
  vanished: { title: 'the client vanishes, its instance pings it every 2 s', patience: 90, run: (...args) => vanished('2000', ...args) },
  'vanished-unasked': { title: 'the client vanishes, its instance says nothing', patience: 90, run: (...args) => vanished('', ...args) },
};

for (const name of ['drop', 'vanished', 'vanished-unasked']) FAULTS[name].needs = whyNot;

/** Clients of each kind that arrive. */
const SEVERAL = 3;
/** How long everything is left alone before the fault: the first checks are over, and what instances say at the begin is said. */
const SETTLE = 1_500;
/** A tunnel that was not told anything is asked this long whether it works. */
const WORKS_WITHIN = 8_000;

/**
 * Strikes once, at the instances behind one proxy; what each of those who look saw: `{ who: observation }`.
 * @param {string} name of the fault
 * @param {string} kind of the proxy
 * @param {{ tunnels: number }} options
 */
export async function observe(name, kind, options) {
  const fault = FAULTS[name];
  const ending = [];
  const atEnd = (close) => ending.push(close);
  try {
    return await (fault.run ?? strikeOne)(kind, { ...options, fault, atEnd });
  } finally {
    for (const close of ending.reverse()) await close();
  }
}

/** The instances of a fault, running. */
async function startInstances(names, atEnd, { fault = {}, env } = {}) {
  return Promise.all(names.map(async (name) => {
    const isVictim = (fault.victims ?? [names[0]]).includes(name);
    const namespace = fault.namespace && isVictim ? new Namespace() : undefined;
    if (namespace) atEnd(() => namespace.remove());
    const instance = await startMortal(name, { namespace, env });
    instance.namespace = namespace;
    atEnd(() => instance.stop());
    await (fault.spare && isVictim ? instance.startWithSpareSocket() : instance.start());
    return instance;
  }));
}

/** So many tunnels at the instances of these names; the others are closed again. `[{ tunnel, from, cookie }]`. */
async function crowd(to, count, names) {
  const held = [];
  for (let n = 1; held.length < count; n += 20) {
    if (n > 20 * count + 2_000) throw new Error('the proxy spreads nobody there');
    const some = await Promise.all(Array.from({ length: 20 }, (_, m) => Tunnel.open(to, { from: address(n + m) })));
    for (const tunnel of some) {
      if (names.includes(tunnel.instance) && held.length < count) held.push(tunnel);
      else tunnel.close();
    }
  }
  return held;
}

async function strikeOne(kind, { fault, tunnels, atEnd }) {
  const names = fault.names ?? ['one', 'two'];
  const victims = fault.victims ?? [names[0]];
  const instances = await startInstances(names, atEnd, { fault });
  const proxy = await startPeer(kind, instances, { lines: fault.lines });
  atEnd(() => proxy.stop());
  const { to } = proxy;

  const speaking = fault.speaking ?? 0;
  const held = await crowd(to, tunnels + speaking, victims);
  const direct = await Promise.all(Array.from({ length: fault.direct ?? 0 }, () => Tunnel.open(instances[0], {})));
  atEnd(() => [...held, ...direct].forEach((tunnel) => tunnel.close()));
  const as = ({ from, cookie }) => ({ from, cookie });
  const at = (client) => {
    if (!victims.includes(client.instance)) throw new Error(`${kind} sent a client of ${victims} to ${client.instance}`);
    atEnd(() => client.close());
    return client;
  };
  const poller = at(await park(to, as(held[0])));
  const stream = at(await listen(to, as(held[1])));
  held.slice(tunnels).forEach((tunnel) => tunnel.speak(500));
  await pause(SETTLE);

  const since = now();
  const deadline = since + fault.patience * 1_000;
  const struck = Promise.all(instances.filter(({ name }) => victims.includes(name)).map(fault.strike));
  const within = (ended) => Promise.race([ended, pause(deadline - now()).then(() => null)]);
  const arriving = (first, who) => Promise.all(held.slice(first, first + SEVERAL).map((tunnel) => arrive(to, { ...who(tunnel), not: victims, until: deadline })));
  const [closed, polled, streamed, fresh, bound] = await Promise.all([
    Promise.all(held.map(({ ended }) => within(ended))),
    within(poller.ended),
    within(stream.ended),
    arriving(2, ({ from }) => ({ from })),
    arriving(2 + SEVERAL, as),
    struck,
  ]);

  const works = await Promise.all(held.map((tunnel, n) => (closed[n] ? null : Promise.race([tunnel.ask().then(() => true), pause(WORKS_WITHIN).then(() => false)]))));
  const after = (moment) => moment - since;
  const told = (list, works) => {
    const ends = list.filter(Boolean).sort((a, b) => a.at - b.at);
    const times = ends.map(({ at }) => after(at));
    return {
      kind: 'tunnels', count: list.length, told: ends.length, hows: [...new Set(ends.map(({ how }) => how))],
      first: times[0] ?? null, median: times[times.length >> 1] ?? null, last: times.at(-1) ?? null,
      working: works.filter((yes) => yes === true).length,
      patience: fault.patience,
    };
  };
  const lives = fault.lives ?? false;
  const one = (end) => ({ kind: 'one', after: end && after(end.at), how: end?.how ?? null, patience: fault.patience, lives });
  const elsewhere = (arrived) => {
    const times = arrived.map(({ at }) => (at === null ? Infinity : after(at))).sort((a, b) => a - b);
    const seen = {};
    for (const { seen: some } of arrived) for (const [how, count] of Object.entries(some)) seen[how] = (seen[how] ?? 0) + count;
    return { kind: 'new', median: times[times.length >> 1], last: times.at(-1), seen, patience: fault.patience };
  };
  const result = {
    [speaking ? 'held WebSocket, silent' : 'held WebSocket']: told(closed.slice(0, tunnels), works.slice(0, tunnels)),
    ...(speaking && { 'held WebSocket, speaks': told(closed.slice(tunnels), works.slice(tunnels)) }),
    'parked poll': one(polled),
    'event stream': one(streamed),
    'new client from an address of it': elsewhere(fresh),
    'its client again, with its cookie': elsewhere(bound),
  };
  if (direct.length) {
    const ends = (await Promise.all(direct.map(({ ended }) => within(ended)))).filter(Boolean);
    result['(beside the proxy: the kernel ends the sockets)'] = told(ends, []);
  }
  return result;
}

/** Everything is killed; how soon after an instance listens again is a client served? */
async function allDown(kind, { atEnd }) {
  const instances = await startInstances(['one', 'two'], atEnd);
  const proxy = await startPeer(kind, instances);
  atEnd(() => proxy.stop());
  await pause(SETTLE);
  await Promise.all(instances.map(({ process }) => process.stop('SIGKILL')));
  // How it is refused meanwhile: never by silence.
  const waits = [];
  const seen = {};
  const down = now();
  for (let n = 0; now() - down < 8_000; n += 1) {
    const began = now();
    const { status, failed, at } = await ask(proxy.to, '/socket.io/?EIO=4&transport=polling', { from: address(n + 1) });
    waits.push(at - began);
    seen[status ?? failed] = (seen[status ?? failed] ?? 0) + 1;
    await pause(50);
  }
  // Not by their own word: when the kernel lets somebody in.
  const listens = async ({ host, port }) => {
    for (;;) {
      const socket = connect(port, host);
      const is = await once(socket, 'connect').then(() => true, () => false);
      const moment = now();
      socket.destroy();
      if (is) return moment;
      await pause(1);
    }
  };
  const starting = Promise.all(instances.map((instance) => instance.start()));
  const first = Promise.race(instances.map(listens));
  const deadline = now() + 30_000;
  const arrived = await Promise.all(Array.from({ length: 20 }, (_, n) => arrive(proxy.to, { from: address(200 + n), not: [], until: deadline })));
  const since = await first;
  await starting;
  const times = arrived.map(({ at }) => (at === null ? Infinity : at - since)).sort((a, b) => a - b);
  return {
    'refused meanwhile': { kind: 'refused', seen, slowest: Math.max(...waits) },
    'new client, after an instance listens again': { kind: 'new', first: times[0], median: times[times.length >> 1], last: times.at(-1), seen: {}, patience: 30 },
  };
}

const HOLDER = fileURLToPath(new URL('holder.mjs', import.meta.url));

/** Clients whose packets vanish: when does their instance hear that they are gone? */
async function vanished(sayEvery, kind, { fault, atEnd }) {
  const count = 20;
  // The heartbeats of Engine.IO would not do: after one that is not answered there is no other. So it pings by a message.
  const env = { PING_INTERVAL: '3600000', SAY_EVERY: sayEvery };
  const [instance] = await startInstances(['one'], atEnd, { env });
  const namespace = new Namespace();
  atEnd(() => namespace.remove());
  const proxy = await startPeer(kind, [instance], { host: namespace.outside });
  atEnd(() => proxy.stop());
  const [command, ...args] = [...namespace.enter, process.execPath, HOLDER, proxy.host, String(proxy.port), String(count)];
  const holder = start(`holder-${kind}-${namespace.name}`, command, args);
  atEnd(() => holder.stop('SIGKILL'));
  await until('the clients are there', () => holder.log().includes('open'));
  await pause(SETTLE);
  const { ended: before } = await instance.order('/');
  if (before.length > 0) throw new Error('a client was lost before it vanished');

  namespace.cut();
  const since = Date.now();
  let ended = [];
  while (ended.length < count && Date.now() - since < fault.patience * 1_000) {
    await pause(200);
    ({ ended } = await instance.order('/'));
  }
  const told = (times) => {
    times.sort((a, b) => a - b);
    return {
      kind: 'tunnels', count, told: times.length, hows: times.length ? ['gone'] : [],
      first: times[0] ?? null, median: times[times.length >> 1] ?? null, last: times.at(-1) ?? null, working: 0, patience: fault.patience,
    };
  };
  return {
    'its instance is told': told(ended.map(({ at }) => at - since)),
    ...(sayEvery && { 'the same, from the first ping that was lost': told(ended.map(({ at, said }) => at - said.find((moment) => moment > since))) }),
  };
}
