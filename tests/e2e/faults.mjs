// What clients see when an instance fails, by the clock, beside nginx and HAProxy: a table for people.
//
//   node tests/e2e/faults.mjs --help
//
// stickyd runs with its defaults; the others as well configured for this job as they can be (`support/peers.mjs`). Every
// fault has instances and proxies of its own. Namespaces need root; nothing outlives the run.

import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { cpus, loadavg } from 'node:os';
import { spawnSync } from 'node:child_process';
import { FAULTS, observe } from './faults/faults.mjs';
import { merge, table } from './faults/table.mjs';
import { PEERS } from './support/peers.mjs';
import { callersDirectory } from './support/processes.mjs';
import { begin, say } from './support/program.mjs';
import { binary } from './support/proxy.mjs';

const USAGE = `usage: node tests/e2e/faults.mjs [OPTION ...]

  --only FAULT,...       ${Object.keys(FAULTS).join(', ')}
  --proxies PROXY,...    ${Object.keys(PEERS).join(', ')}; default: stickyd,nginx,haproxy
  --tunnels N            held at the instance that fails (100)
  --runs N               of each fault; medians are shown (1)
  --json FILE            everything that was seen, run by run
  --help

STICKYD_BIN names the build that is measured (target/debug/stickyd). Faults on which clocks matter run alone, the others
for all proxies at once. Everything with one run takes about eight minutes.
`;

const { values, proxies, usage, among } = begin(USAGE, {
  only: { type: 'string', default: Object.keys(FAULTS).join(',') },
  tunnels: { type: 'string', default: '100' },
  runs: { type: 'string', default: '1' },
});
const faults = among(values.only, FAULTS);
const [tunnels, runs] = [values.tunnels, values.runs].map((text) => (/^[1-9]\d{0,3}$/.test(text) ? Number(text) : usage(`not a number from 1 to 9999: ${text}`)));
if (tunnels < 8) usage('at least 8 tunnels: their addresses are those of the other clients');

/** `{ fault: { proxy: [run] } }`, or why not. */
const results = {};
for (const fault of faults) {
  const why = FAULTS[fault].needs?.();
  if (why) {
    say(`${fault}: SKIPPED, ${why}`);
    results[fault] = why;
    continue;
  }
  results[fault] = Object.fromEntries(proxies.map((proxy) => [proxy, []]));
  for (let run = 1; run <= runs; run += 1) {
    const one = async (proxy) => {
      const began = Date.now();
      results[fault][proxy].push(await observe(fault, proxy, { tunnels }));
      say(`${fault}, ${proxy}: run ${run} of ${runs}, ${Math.round((Date.now() - began) / 1_000)} s, load ${loadavg()[0].toFixed(1)}`);
    };
    if (FAULTS[fault].alone) for (const proxy of proxies) await one(proxy);
    else await Promise.all(proxies.map(one));
  }
}

const version = (command, ...args) => {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] ?? '?';
};
const versions = { stickyd: () => version(binary, '--version'), nginx: () => version('nginx', '-v'), haproxy: () => version('haproxy', '-v'), 'haproxy-as-written': () => version('haproxy', '-v') };
const titles = Object.fromEntries(proxies.map((proxy) => [proxy, `${PEERS[proxy].title} ${versions[proxy]()}`]));
if (values.json) {
  const about = { at: new Date().toISOString(), runs, tunnels, cpus: cpus().length, load: loadavg()[0], titles };
  writeFileSync(resolve(callersDirectory, values.json), `${JSON.stringify({ about, results }, null, 1)}\n`);
}
const merged = Object.fromEntries(faults.map((fault) => [fault, typeof results[fault] === 'string' ? results[fault] : Object.fromEntries(proxies.map((proxy) => [proxy, merge(results[fault][proxy])]))]));
console.log(`${tunnels} tunnels at the instance that fails; times after the fault, ${runs === 1 ? 'one run' : `medians of ${runs} runs`}; ${cpus().length} CPUs, load ${loadavg()[0].toFixed(1)} at the end.
A held WebSocket: first / median / last to be told, and how; FIN and RST: without a Close frame. Clients that
arrive: of an address, or with a cookie, that belongs to the instance, in a loop until another one answers; the median of three / the slowest.
`);
console.log(table(merged, proxies, titles, Object.fromEntries(faults.map((fault) => [fault, FAULTS[fault].title]))));
process.exit(0);
