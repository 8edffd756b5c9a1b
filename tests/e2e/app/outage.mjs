// A Redis that stops in the middle of traffic and comes back: who notices, and for how long.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pause, until } from '../support/processes.mjs';
import { atEnd, scoped } from '../support/scope.mjs';
import { Client, startApp, startRedis } from './instances.mjs';

/** As long as a restart with something to load takes. */
const AWAY = 5_000;

/** Between two messages. */
const PACE = 20;

/** Says numbers to a room from an instance, one after the other, until it is told to stop; returns how many. */
function talk(client) {
  let number = 0;
  const timer = setInterval(() => {
    number += 1;
    client.socket.emit('say', { room: 'live', event: 'tick', data: { number, at: Date.now() } });
  }, PACE);
  atEnd(() => clearInterval(timer));
  return () => {
    clearInterval(timer);
    return number;
  };
}

/** What a client has heard of it: `{ numbers, gap }`, with the longest time in which it heard nothing. */
function listen(client) {
  const heard = { numbers: [], at: [], gap: 0 };
  client.socket.on('tick', ({ number }) => {
    const now = Date.now();
    heard.gap = Math.max(heard.gap, now - (heard.at.at(-1) ?? now));
    heard.numbers.push(number);
    heard.at.push(now);
  });
  return heard;
}

const status = async (url) => (await fetch(url)).status;

async function metric(instance, name) {
  const page = await (await fetch(`${instance.url}/metrics`)).text();
  return Number(new RegExp(`^stickyd_app_${name} (\\d+)$`, 'm').exec(page)[1]);
}

/** How a Redis goes away, and how it comes back. */
const WAYS = {
  'stops and is started again': { go: (redis) => redis.stop(), back: (redis) => redis.start(), noticed: 1_000 },
  // No connection ends; nobody answers.
  'hangs and goes on': { go: (redis) => redis.process.signal('SIGSTOP'), back: (redis) => redis.process.signal('SIGCONT'), noticed: 4_000 },
};

/** A Redis goes away amid traffic between two instances. */
async function away({ go, back, noticed }) {
  const redis = await startRedis();
  const [a, b] = await Promise.all(['a', 'b'].map((name) => startApp(name, ['--redis', redis.url])));
  const speaker = await new Client(a, '/', 'speaker').connected();
  const [near, far] = await Promise.all([new Client(a, '/', 'near').connected(), new Client(b, '/', 'far').connected()]);
  await Promise.all([near, far].map((client) => client.join('live')));
  const [here, there] = [near, far].map(listen);
  const stop = talk(speaker);
  await until('both hear', () => here.numbers.length > 20 && there.numbers.length > 20);
  const ready = async (expected) => (await status(`${a.url}/readyz`)) === expected && (await status(`${b.url}/readyz`)) === expected;

  await go(redis);
  const [before, gone] = [there.numbers.length, Date.now()];
  await until('that it is away is known', () => ready(503), { within: noticed });
  assert.equal(await status(`${a.url}/healthz`), 200, 'a proxy that checks it must not take every instance out of service');
  await pause(gone + AWAY - Date.now());
  assert.ok(there.numbers.length - before < 5, 'nothing can cross');
  await back(redis);
  const returned = Date.now();
  await until('it crosses again', () => there.at.at(-1) >= returned, { within: 5_000 });
  const took = there.at.find((at) => at >= returned) - returned;
  assert.ok(took <= 1_000, `cross-instance delivery was back ${took} ms after Redis`);
  await until('that it is back is known', () => ready(200), { within: 1_000 });
  await pause(1_000);

  const said = stop();
  await until('all has arrived', () => here.numbers.at(-1) === said && there.numbers.at(-1) === said, { within: 3_000 });
  const all = Array.from({ length: said }, (_, at) => at + 1);
  assert.deepEqual(here.numbers, all, 'each once and in order, where it was said');
  assert.ok(here.gap < 500, `a silence of ${here.gap} ms`);
  assert.deepEqual(there.numbers, [...new Set(there.numbers)].sort((x, y) => x - y), 'each at most once and in order, elsewhere');
  // What was on its way when the connection broke is lost, and counted; what was said meanwhile has waited.
  const lost = said - there.numbers.length;
  assert.ok(lost <= await metric(a, 'bus_lost_total') + 1, `${lost} are missing`);
  assert.equal(await metric(a, 'bus_dropped_total'), 0);
  assert.ok(await metric(b, 'bus_connections_total') >= 2);
}

export function outage() {
  for (const [way, how] of Object.entries(WAYS)) {
    it(`it ${way}: nobody here misses a word, the others are back within a second, nothing comes twice`, () => scoped(() => away(how)));
  }

  it('an instance that is started without Redis serves its own, and finds it', () => scoped(async () => {
    const redis = await startRedis();
    await redis.stop();
    const [a, b] = await Promise.all(['a', 'b'].map((name) => startApp(name, ['--redis', redis.url])));
    const [first, second, far] = await Promise.all([new Client(a, '/', 'first').connected(), new Client(a, '/', 'second').connected(), new Client(b, '/', 'far').connected()]);
    for (const client of [first, second, far]) await client.join('live');
    const say = (data) => first.socket.timeout(5_000).emitWithAck('say', { room: 'live', event: 'tick', data });
    await say('alone');
    assert.deepEqual(await second.until('tick'), []);
    await redis.start();
    await until('both have found it', async () => (await status(`${a.url}/readyz`)) === 200 && (await status(`${b.url}/readyz`)) === 200);
    await say('together');
    await far.until('tick');
  }));
}
