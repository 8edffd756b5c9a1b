// A rolling deploy under clients: every instance is replaced by the README's own recipe, while real Socket.IO clients talk to them.
//
//   node tests/e2e/rolling.mjs --help

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const HELP = `usage: node tests/e2e/rolling.mjs [OPTION ...]

Replaces instances one after the other by the recipe of the README, under Socket.IO clients of all kinds, and says what those saw.
A client may move once, those of the first instance twice, and nobody may be without service for more than two seconds beyond
its own reconnect delay; otherwise the exit code is 1.

  --clients N      connected when it begins (3000)
  --instances N    (6)
  --spread D       drain.spread of the upstream (10s)
  --arrivals N     new clients a second meanwhile (2)
  --processes N    that carry the clients (2)
  --recipe FILE    another recipe, a shell script with a line "set -- NAME ..."
  --boot MS        what a new process needs until it listens; its restart is not waited for (it is, until it listens)
  --json FILE      everything that was seen
  STICKYD_BIN=path the build that is tested (target/debug/stickyd)
`;

const { values: options } = parseArgs({
  options: {
    clients: { type: 'string', default: '3000' },
    instances: { type: 'string', default: '6' },
    spread: { type: 'string', default: '10s' },
    arrivals: { type: 'string', default: '2' },
    processes: { type: 'string', default: '2' },
    recipe: { type: 'string' },
    boot: { type: 'string' },
    json: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (options.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const PROCESSES = Number(options.processes);
// Socket.IO's own: thousands of clients on a few CPUs have something better to do than to answer a ping each second.
process.env.PING_INTERVAL = '25000';

const { deploy, judge, recipe } = await import('./support/deploy.mjs');
const { startCluster } = await import('./support/cluster.mjs');
const { callersDirectory, pause, until } = await import('./support/processes.mjs');
const { startProxy } = await import('./support/proxy.mjs');

/** Clients in a process of their own: calls become messages. */
async function startRiders(url, first) {
  const child = fork(fileURLToPath(new URL('support/riders-process.mjs', import.meta.url)), [url, String(first), String(PROCESSES)], { serialization: 'advanced' });
  child.setMaxListeners(0);
  const gone = once(child, 'exit').then(([code, signal]) => { throw new Error(`a process of clients ended: ${code ?? signal}`); });
  gone.catch(() => {}); // It is looked at when somebody waits.
  const answer = async () => {
    const [{ result, error }] = await Promise.race([once(child, 'message'), gone]);
    if (error) throw new Error(error);
    return result;
  };
  await answer();
  return (call, ...args) => {
    child.send({ call, args });
    return answer();
  };
}

const began = Date.now();
const say = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`);
const names = recipe().names.slice(0, Number(options.instances));
while (names.length < Number(options.instances)) names.push(`more-${names.length + 1}`);
const cluster = await startCluster(names, { prefix: 'rolling-' });
const proxy = await startProxy('rolling', cluster.instances, { sections: `[upstream.socketio.drain]\nspread = "${options.spread}"` });
const riders = await Promise.all(Array.from({ length: PROCESSES }, (_, n) => startRiders(proxy.url, n + 1)));
const all = async (call, ...args) => (await Promise.all(riders.map((rider) => rider(call, ...args)))).flat();

await all('connect', Math.ceil(Number(options.clients) / PROCESSES));
say(`${options.clients} clients are connected`);
await pause(3_000);
await all('late');
if (Number(options.arrivals) > 0) await all('arrive', (1_000 * PROCESSES) / Number(options.arrivals));

const boot = options.boot === undefined ? null : Number(options.boot);
const replace = async (name) => {
  say(`${name} is replaced`);
  await cluster.killInstance(name);
  const start = () => cluster.startInstance(name);
  if (boot === null) await start();
  else setTimeout(start, boot);
};
const text = options.recipe && readFileSync(resolve(callersDirectory, options.recipe), 'utf8');
let done;
try {
  done = await deploy({ names, home: proxy.home, replace, ...(text && { text }) });
} catch (error) {
  console.error(error.message);
  console.error(proxy.log().split('\n').filter((line) => /WARN|ERROR|panicked/.test(line)).slice(-20).join('\n'));
  process.exit(1);
}
say('the recipe is through');
await all('noMore');
await until('everybody is back', async () => (await all('away')).every((away) => away === 0)).catch(({ message }) => say(message));
await pause(2_000);
await all('hush');
const late = await all('late');
const reports = await all('reports');
const { figures, problems } = judge(reports, done, names);

const seconds = (ms) => (ms / 1000).toFixed(1);
const part = (list, share) => list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? '-';
const rows = (table) => Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}: ${value}`).join(', ') || 'none';
const { beyond, delays } = figures;
console.log(`
${names.length} instances, ${reports.length} clients (${reports.length - Number(options.clients)} of them came meanwhile), drain.spread ${options.spread}: ${seconds(done.took)} s

| | |
| --- | --- |
| clients by moves | ${rows(figures.moves)} |
| those of the first instance | ${rows(figures.ofFirst)} |
| without service beyond the own delay | median ${part(beyond, 0.5)} ms, p99 ${part(beyond, 0.99)} ms, longest ${beyond.at(-1) ?? '-'} ms |
| the own delay (a client's own, before it tries) | median ${part(delays, 0.5)} ms, longest ${delays.at(-1) ?? '-'} ms |
| attempts that failed | ${rows(figures.failures)} |
| moves to an instance that was still to come, after the first cordon | ${figures.backwards.length} |
| messages | ${figures.sent}, ${figures.cut} of them under way when their connection ended, ${figures.lost} lost while connected; slowest answer ${figures.slowest} ms |
| clients by instance in the end | ${names.map((name) => `${name}: ${figures.instances[name] ?? 0}`).join(', ')} |
| by transport | ${rows(figures.transports)} |
| the clients' own processes were late by | ${late.join(', ')} ms at most |
`);
console.log('| command | after | took |\n| --- | --- | --- |');
for (const { command, at, took } of done.steps) console.log(`| ${command} | ${seconds(at - done.began)} s | ${seconds(took)} s |`);
figures.backwards.slice(0, 5).forEach((line) => console.log(`moved backwards: ${line}`));
if (/panicked/.test(proxy.log())) problems.push('the proxy panicked');
if (options.json) writeFileSync(resolve(callersDirectory, options.json), JSON.stringify({ options, names, done, figures, problems, reports, proxy: proxy.log().split('\n') }));
console.log(problems.length === 0 ? '\nEvery promise was kept.' : `\nBROKEN, ${problems.length} times:\n${problems.slice(0, 20).join('\n')}`);
await all('close').catch(() => {});
await proxy.stop();
await cluster.stop();
process.exit(problems.length === 0 ? 0 : 1);
