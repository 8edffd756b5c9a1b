// The set of end-to-end tests: real Redis, real Socket.IO instances, the proxy, real clients, a real browser.
//
//   node tests/e2e/run.mjs                                    everything, against target/debug/stickyd
//   STICKYD_BIN=path node tests/e2e/run.mjs                   against another build
//   node --test-name-pattern='Chromium' tests/e2e/run.mjs     one part of it
//   E2E_TABLE=write node tests/e2e/run.mjs                    writes the README's table of clients anew
//   E2E_PROXY=nginx node tests/e2e/run.mjs                    against nginx: checks the scenarios, not stickyd
//   E2E_KEEP=1 node tests/e2e/run.mjs                         keeps the logs of a run that failed
//
// Every scenario runs under every affinity, also under none. Where a scenario needs an affinity that is not there it
// has to fail, and with the expected words: so we know that it tests something.

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

if (!existsSync(fileURLToPath(new URL('node_modules', import.meta.url)))) {
  console.error('Packages are missing: npm ci --prefix tests/e2e (tests/run does it)');
  process.exit(1);
}
const { SCENARIOS } = await import('./scenarios/index.mjs');
const { quit } = await import('./support/chromium.mjs');
const { startCluster } = await import('./support/cluster.mjs');
const { connections, leftovers, until } = await import('./support/processes.mjs');
const programs = await import('./support/programs.mjs');
const { DEFAULT, binary, kind, startProxy } = await import('./support/proxy.mjs');
const { atEnd, scoped } = await import('./support/scope.mjs');
const { Table } = await import('./support/table.mjs');
const missing = kind === 'stickyd' && !existsSync(binary) ? [`${binary}: cargo build, or name another by STICKYD_BIN`] : [];
missing.push(...programs.missing);
if (missing.length > 0) {
  console.error(`There is something missing:\n  ${missing.join('\n  ')}`);
  process.exit(1);
}

/** `sticky.by` of the proxy; `undefined`: nothing about stickiness is in the file. */
const AFFINITIES = kind === 'nginx' ? [['cookie', 'ip_hash'], ['cookie'], ['ip_hash'], []] : [undefined, ['sid'], ['cookie'], ['ip_hash'], []];

/** An instance that was started again takes clients at once: scenarios follow each other faster than checks do by default. */
const QUICK = 'interval = "100ms"\nfast_interval = "100ms"\nslow_start = "0s"';

/** So many scenarios at a time: they wait more than they work. */
const AT_ONCE = 6;

const table = new Table(SCENARIOS);

describe(`end to end through ${kind}`, { concurrency: 1 }, () => {
  let node;
  let python;
  before(async () => {
    rmSync(new URL('out', import.meta.url), { recursive: true, force: true });
    [node, python] = await Promise.all([startCluster(), startCluster(['one', 'two'], { language: 'python', prefix: 'python-' })]);
  });
  after(async () => {
    await quit();
    await Promise.all([node?.stop(), python?.stop()]);
    await until('no process of this run is alive', () => {
      assert.deepEqual(leftovers(), []);
    });
  });

  for (const by of AFFINITIES) {
    describe(by ? `sticky.by = ${JSON.stringify(by)}` : 'the default: nothing about stickiness in the file', { concurrency: 2 }, () => {
      const keys = by ?? DEFAULT;
      const label = by ? by.join('-') || 'none' : 'default';
      const makesSense = ({ needs, not }) => (needs || by === undefined || by.length === 0) && !not?.(keys, by === undefined);
      const scenarios = SCENARIOS.filter(makesSense);
      const [mortal, immortal] = [true, false].map((wanted) => scenarios.filter(({ alone = false }) => alone === wanted));

      describe('instances that live', { concurrency: 1 }, () => {
        const site = { by: keys, label };
        const doors = [];
        before(async () => {
          doors.push(await startProxy(`proxy-${label}`, node.instances, { by }));
          doors.push(await startProxy(`proxy-${label}-python`, python.instances, { by }));
          Object.assign(site, { url: doors[0].url, cluster: node, pythonUrl: doors[1].url, python });
        });
        after(() => Promise.all(doors.map((proxy) => proxy.stop())));
        describe('each kind of client', { concurrency: AT_ONCE }, () => {
          for (const scenario of immortal) test(scenario, site, by, doors);
        });
        closes(doors);
      });

      describe('instances that die', { concurrency: 1 }, () => {
        const site = { by: keys, label };
        const doors = [];
        before(async () => {
          site.cluster = await startCluster(['one', 'two', 'three'], { prefix: `${label}-` });
          doors.push(await startProxy(`proxy-${label}-mortal`, site.cluster.instances, { by, health: QUICK }));
          site.url = doors[0].url;
        });
        after(() => Promise.all([...doors.map((proxy) => proxy.stop()), site.cluster?.stop()]));
        // By the address alone, a session that begins just before its instance is believed in would not be found after.
        const heal = async () => await site.cluster.heal() && doors[0].believes(site.cluster.instances.map(({ name }) => name));
        for (const scenario of mortal) test(scenario, site, by, doors, heal);
        closes(doors);
      });
    });
  }

  it('the README has the table of clients that this run saw', (context) => {
    if (kind !== 'stickyd' || !table.complete) return context.skip('not everything was run');
    if (process.env.E2E_TABLE === 'write') return table.write();
    return assert.equal(Table.inReadme(), String(table), 'write it with E2E_TABLE=write');
  });
});

/** One scenario under `by`, on a site that is complete once it runs. */
function test({ name, run, needs, otherwise, cell }, site, by, doors, heal = () => {}) {
  const works = !needs || needs.some((key) => site.by.includes(key));

  it(works ? name : `MUST FAIL: ${name}`, { timeout: 120_000 }, async () => {
    let extra = 0;
    /** Waits until the proxy says of an instance that it is up, after now. */
    const isUp = (instance) => {
      const said = () => doors[0].log().split('\n').filter((line) => line.includes('instance is up') && line.includes(`"${instance}"`)).length;
      const before = said();
      return () => kind === 'nginx' || until(`${instance} is up`, () => said() > before);
    };
    const proxy = async (options = {}) => {
      extra += 1;
      const started = await startProxy(`proxy-${site.label}-${name.replace(/\W+/g, '-').slice(0, 40)}-${extra}`, site.cluster.instances, { by, ...options });
      atEnd(() => started.stop());
      return started;
    };
    const outcome = scoped(() => run({ ...site, proxy, isUp })).finally(heal);
    // What the table calls working does so as the proxy comes, and without an address that would help.
    const counts = cell && (by === undefined || by.join() === 'sid');
    if (counts) outcome.then(() => table.note(cell, true), () => table.note(cell, false));
    if (!works) return assert.rejects(outcome, otherwise);
    return outcome.catch((error) => {
      const words = doors.flatMap((door) => door.log().split('\n').filter((line) => /WARN|ERROR|panicked/.test(line)).slice(-20));
      if (words.length > 0) console.error(`The proxy's last words:\n${words.join('\n')}`);
      throw error;
    });
  });
}

/** Nothing is left of the clients once they are gone. */
function closes(doors) {
  it('the proxy holds no connection once the clients are gone, and did not panic', async () => {
    for (const proxy of doors) {
      await until('the proxy closed its connections', () => {
        assert.deepEqual(connections(proxy.pid), []);
      });
      assert.doesNotMatch(proxy.log(), /panicked/);
    }
  });
}
