// What clients see when an instance dies or hangs, by the clock: a table for people, against real Socket.IO instances.
//
//   STICKYD_BIN=target/release/stickyd node tests/e2e/faults.mjs [TUNNELS]
//
// Every setting is the default. Each fault has a cluster and a proxy of its own.

import { createRequire } from 'node:module';
import { startCluster } from './support/cluster.mjs';
import { pause } from './support/processes.mjs';
import { startProxy } from './support/proxy.mjs';
import { address } from './support/site.mjs';

const require = createRequire(new URL('node_modules/engine.io-client/package.json', import.meta.url));
// It is the client's dependency, not ours.
const { WebSocket } = require('ws');

const TUNNELS = Number(process.argv[2] ?? 100);
/** Nothing is waited for any longer. */
const PATIENCE = 15_000;

const FAULTS = {
  SIGKILL: (cluster) => cluster.killInstance('one'),
  SIGSTOP: (cluster) => cluster.stopInstance('one'),
};

/** A bare WebSocket of Socket.IO, past its CONNECT: `{ instance, closed: Promise<{ after, code }> }`. */
function open(url, n, since) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { headers: { 'x-forwarded-for': address(n) } });
    const closed = new Promise((resolve) => {
      socket.once('close', (code) => resolve({ after: Date.now() - since.at, code }));
    });
    socket.once('error', reject);
    socket.on('message', (data) => {
      const text = String(data);
      if (text.startsWith('0{')) socket.send('40');
      if (text === '2') socket.send('3');
      const [, name] = /^42\["hello","(\w+)"/.exec(text) ?? [];
      if (name) resolve({ instance: name, closed, socket });
    });
  });
}

/** From the fault until a client of that instance's address is answered by another one, first try or not. */
async function servedAgain(url, n, since) {
  for (;;) {
    const abort = AbortSignal.timeout(1_000);
    try {
      const answer = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers: { 'x-forwarded-for': address(n) }, signal: abort });
      if (answer.status === 200) return Date.now() - since.at;
    } catch {
      // Not yet.
    }
    if (Date.now() - since.at > PATIENCE) return 'never';
    await pause(20);
  }
}

console.log(`${TUNNELS} tunnels on each of two instances on the average; milliseconds after the fault\n`);
console.log('| fault | first Close | median | last Close | codes | not told | a new client of that instance is answered elsewhere |');
console.log('| --- | --- | --- | --- | --- | --- | --- |');
for (const [fault, strike] of Object.entries(FAULTS)) {
  const cluster = await startCluster(['one', 'two'], { prefix: `${fault}-` });
  const proxy = await startProxy(`proxy-${fault}`, cluster.instances, {});
  const since = { at: 0 };
  const clients = await Promise.all(Array.from({ length: 2 * TUNNELS }, (_, n) => open(proxy.url, n + 1, since)));
  const victims = [...clients.keys()].filter((n) => clients[n].instance === 'one');
  // Past the first checks, and past whatever the instance had to say.
  await pause(1_500);
  since.at = Date.now();
  const struck = strike(cluster);
  const again = servedAgain(proxy.url, victims[0] + 1, since);
  const ends = (await Promise.all(victims.map((n) => Promise.race([clients[n].closed, pause(PATIENCE)])))).filter(Boolean);
  await struck;
  const times = ends.map(({ after }) => after).sort((a, b) => a - b);
  const codes = [...new Set(ends.map(({ code }) => code))].join(' ');
  console.log(`| ${fault}, ${victims.length} tunnels | ${times[0]} | ${times[times.length >> 1]} | ${times.at(-1)} | ${codes} | ${victims.length - ends.length} | ${await again} |`);
  clients.forEach(({ socket }) => socket.terminate());
  await proxy.stop();
  await cluster.stop();
}
