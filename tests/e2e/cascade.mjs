// One of several instances near their capacity dies: do the survivors stay, or are they declared down and emptied in turn?
//
//   node tests/e2e/cascade.mjs --help
//
// An instance is one event loop. A handshake occupies it for some milliseconds, a message for some less; that is all that capacity is
// here, and it costs no CPU of the machine. Clients come back as Socket.IO's do: after 0.5 to 1.5 s, then twice as long, up to 5 s, and
// they give up an attempt after 20 s.

import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { startMortal } from './support/mortals.mjs';
import { PEERS, startPeer } from './support/peers.mjs';
import { callersDirectory, pause } from './support/processes.mjs';
import { begin, say } from './support/program.mjs';
import { Tunnel, address, now } from './support/wire.mjs';

const USAGE = `usage: node tests/e2e/cascade.mjs [OPTION ...]

  --proxies PROXY,...    ${Object.keys(PEERS).join(', ')}; default: stickyd,nginx,haproxy
  --instances N          3 to 8 (3)
  --clients N            at each of them (200)
  --handshake MS,...     that a handshake occupies an instance for: one run for each (20)
  --busy PERCENT         of each instance's time that messages take before the death (60)
  --every MS             that a client says something; then a message takes as long as makes up for it (a message takes 1 ms)
  --seconds N            that are looked at after the death (30)
  --stickyd LINES        of stickyd's upstream, e.g. 'max_handshakes = 16': without, its defaults
  --quiet                only the summary, without a line for each second
  --json FILE            everything that was seen
  --help

STICKYD_BIN names the build (target/debug/stickyd).
`;

const { values, proxies, usage } = begin(USAGE, {
  instances: { type: 'string', default: '3' },
  clients: { type: 'string', default: '200' },
  handshake: { type: 'string', default: '20' },
  busy: { type: 'string', default: '60' },
  every: { type: 'string', default: '0' },
  seconds: { type: 'string', default: '30' },
  stickyd: { type: 'string', default: '' },
  quiet: { type: 'boolean', default: false },
});
const number = (text) => (/^\d{1,5}$/.test(text) ? Number(text) : usage(`not a number: ${text}`));
const [each, busy, seconds, slowly] = [values.clients, values.busy, values.seconds, values.every].map(number);
const NAMES = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight'].slice(0, number(values.instances));
if (NAMES.length < 3) usage('a cascade needs three instances');
const clients = each * NAMES.length;
const SURVIVORS = NAMES.slice(1);
const handshakes = values.handshake.split(',').map(number);
/** How often a client says something, and how long that takes, so that all together take `busy` of an instance. */
const EVERY = slowly || Math.round(each * 100 / busy);
const MESSAGE_MS = slowly ? slowly * busy / 100 / each : 1;

/** One client for as long as the run lasts: it says something every so often, and comes back. */
class Client {
  constructor(to, from, every, counts) {
    Object.assign(this, { to, from, every, counts, tunnel: null, cookie: null, attempts: 0, losses: 0 });
  }

  async live() {
    while (!this.counts.over) {
      try {
        this.counts.tries += 1;
        this.tunnel = await Tunnel.open(this.to, { from: this.from, cookie: this.cookie });
      } catch (error) {
        this.counts.error(error.message);
      }
      if (this.tunnel) {
        this.attempts = 0;
        this.back?.(now());
        this.cookie = this.tunnel.cookie ?? this.cookie;
        this.counts.opened += 1;
        const { how } = await this.#use();
        if (this.counts.over) return;
        this.tunnel = null;
        this.losses += 1;
        this.lostAt ??= now();
        this.counts.lose(how);
      }
      const delay = Math.min(5_000, 1_000 * 2 ** this.attempts);
      this.attempts += 1;
      await pause(delay * (0.5 + Math.random()));
    }
  }

  async #use() {
    const { tunnel } = this;
    const asking = (async () => {
      // Until all are there nobody speaks: how they came to be there is not the question.
      await this.counts.begun;
      await pause(Math.random() * this.every);
      let over = false;
      tunnel.ended.then(() => { over = true; });
      while (!over && !this.counts.over) {
        const began = now();
        await Promise.race([tunnel.ask(), tunnel.ended]);
        if (!over) this.counts.answer(now() - began);
        await pause(this.every - Math.min(this.every, now() - began));
      }
    })();
    const end = await tunnel.ended;
    asking.catch(() => {});
    return end;
  }
}

class Counts {
  tries = 0;
  opened = 0;
  answers = [];
  errors = {};
  losses = {};
  over = false;
  begun = new Promise((resolve) => { this.begin = resolve; });

  answer(ms) {
    this.answers.push(ms);
  }

  error(what) {
    this.errors[what] = (this.errors[what] ?? 0) + 1;
  }

  lose(how) {
    this.losses[how] = (this.losses[how] ?? 0) + 1;
  }

  /** What was counted since it was asked last. */
  take() {
    const taken = { tries: this.tries, opened: this.opened, answers: this.answers.length, slowest: Math.round(Math.max(0, ...this.answers)), errors: this.errors, losses: this.losses };
    Object.assign(this, { tries: 0, opened: 0, answers: [], errors: {}, losses: {} });
    return taken;
  }
}

const list = (counts) => Object.entries(counts).map(([what, count]) => `${count} x ${what}`).join(', ') || '-';

async function run(kind, handshake) {
  const env = { HANDSHAKE_MS: String(handshake), MESSAGE_MS: String(MESSAGE_MS) };
  const instances = await Promise.all(NAMES.map(async (name) => {
    const instance = await startMortal(name, { env });
    await instance.start();
    return instance;
  }));
  const proxy = await startPeer(kind, instances, { lines: values.stickyd });
  const counts = new Counts();
  const all = [];
  const tunnelsAt = (name) => all.filter(({ tunnel }) => tunnel?.instance === name).length;
  // At a pace that they can bear.
  for (let n = 0; n < clients; n += 1) {
    const client = new Client(proxy.to, address(n + 1), EVERY, counts);
    all.push(client);
    client.live();
    await pause(Math.max(2, handshake / NAMES.length * 2.5));
  }
  for (let n = 0; n < 100 && all.some(({ tunnel }) => !tunnel); n += 1) await pause(100);
  counts.begin();
  await pause(3_000);
  for (const client of all) Object.assign(client, { losses: 0, lostAt: null });
  const before = counts.take();
  const home = Object.fromEntries(NAMES.map((name) => [name, tunnelsAt(name)]));
  const bereft = all.filter(({ tunnel }) => tunnel?.instance === 'one');
  const others = all.filter(({ tunnel }) => tunnel && tunnel.instance !== 'one');
  for (const client of all) client.back = (at) => { client.backAt ??= client.losses > 0 ? at : null; };
  say(`${kind}, ${handshake} ms: ${NAMES.map((name) => `${name} ${home[name]}`).join(', ')} tunnels; lost before: ${list(before.losses)}, refused: ${list(before.errors)}`);

  if (!values.quiet) {
    console.log(`\n### ${PEERS[kind].title}, ${handshake} ms a handshake\n`);
    console.log('| s | as the proxy sees them | tunnels | without | tries | opened | answers | slowest | refused | lost |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  }
  const course = [];
  const since = now();
  instances[0].process.signal('SIGKILL');
  for (let second = 1; second <= seconds; second += 1) {
    // States are looked at more often than they are shown: a moment of being down is enough to be emptied.
    const seen = Object.fromEntries(NAMES.map((name) => [name, new Set()]));
    while (now() < since + second * 1_000) {
      const states = await proxy.states().catch(() => ({}));
      for (const [name, state] of Object.entries(states)) seen[name].add(state);
      await pause(100);
    }
    const row = { second, states: Object.fromEntries(NAMES.map((name) => [name, [...seen[name]]])), tunnels: Object.fromEntries(NAMES.map((name) => [name, tunnelsAt(name)])), without: all.filter(({ tunnel }) => !tunnel).length, ...counts.take() };
    course.push(row);
    if (!values.quiet) {
      const states = NAMES.map((name) => row.states[name].join('>')).join(' / ');
      console.log(`| ${second} | ${states} | ${NAMES.map((name) => row.tunnels[name]).join(' / ')} | ${row.without} | ${row.tries} | ${row.opened} | ${row.answers} | ${row.slowest} ms | ${list(row.errors)} | ${list(row.losses)} |`);
    }
  }
  counts.over = true;
  const log = proxy.log().split('\n').filter((line) => /instance is (down|degraded|up)|not believed|believed again/.test(line));
  const back = bereft.filter(({ backAt }) => backAt).map(({ backAt }) => backAt - since).sort((a, b) => a - b);
  const isDown = (state) => /^down|^maint/.test(state);
  const result = {
    kind, handshake, home, course, log,
    survivorsDown: SURVIVORS.filter((name) => course.some(({ states }) => states[name].some(isDown))),
    survivorsOut: SURVIVORS.filter((name) => course.some(({ states }) => states[name].some((state) => /^(degraded|out|nolb)/.test(state)))),
    othersLost: others.reduce((sum, { losses }) => sum + losses, 0),
    lostAgain: bereft.reduce((sum, { losses }) => sum + Math.max(0, losses - 1), 0),
    refused: course.reduce((sum, { errors }) => sum + Object.values(errors).reduce((a, b) => a + b, 0), 0),
    back: { count: back.length, of: bereft.length, median: back[back.length >> 1] ?? null, last: back.at(-1) ?? null },
    without: course.at(-1).without,
  };
  all.forEach(({ tunnel }) => tunnel?.close());
  await proxy.stop();
  await Promise.all(instances.map((instance) => instance.stop()));
  return result;
}

const results = [];
for (const handshake of handshakes) for (const kind of proxies) results.push(await run(kind, handshake));

const time = (ms) => (ms === null ? '-' : `${(ms / 1_000).toFixed(1)} s`);
console.log(`
${clients} clients at ${NAMES.length} instances, whose messages take ${busy} % of each (one every ${EVERY / 1_000} s); one is killed. ${seconds} s after it; ${cpus().length} CPUs, load ${loadavg()[0].toFixed(1)}

| a handshake takes | proxy | survivors declared down | degraded, or passed over | tunnels of survivors lost | lost once more | tries refused | back: median / last | without at the end |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |`);
for (const { kind, handshake, survivorsDown, survivorsOut, othersLost, lostAgain, refused, back, without } of results) {
  const names = (list) => list.join(', ') || 'none';
  console.log(`| ${handshake} ms | ${PEERS[kind].title} | ${names(survivorsDown)} | ${names(survivorsOut)} | ${othersLost} | ${lostAgain} | ${refused} | ${time(back.median)} / ${time(back.last)} (${back.count} of ${back.of}) | ${without} |`);
}
if (values.json) writeFileSync(resolve(callersDirectory, values.json), `${JSON.stringify(results, null, 1)}\n`);
process.exit(0);
