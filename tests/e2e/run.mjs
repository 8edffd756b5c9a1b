// The set of end-to-end tests: real Redis, real Socket.IO instances, the proxy, real clients, a real browser.
//
//   node tests/e2e/run.mjs                                    everything, against target/debug/stickyd
//   STICKYD_BIN=path node tests/e2e/run.mjs                   against another build
//   node --test-name-pattern='Chromium' tests/e2e/run.mjs     one part of it
//   E2E_PROXY=nginx node tests/e2e/run.mjs                    against nginx: checks the scenarios, not stickyd
//   E2E_KEEP=1 node tests/e2e/run.mjs                         keeps the logs of a run that failed
//
// Every scenario runs under every affinity, also under none. Where a scenario needs an affinity that is not there it
// has to fail, and with the expected words: so we know that it tests something.

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

if (!existsSync(fileURLToPath(new URL('node_modules', import.meta.url)))) {
  console.error('Packages are missing: npm ci --prefix tests/e2e (tests/run does it)');
  process.exit(1);
}
const { AFFINITIES, SCENARIOS } = await import('./scenarios/index.mjs');
const { closeClients } = await import('./support/clients.mjs');
const { quit } = await import('./support/chromium.mjs');
const { startCluster } = await import('./support/cluster.mjs');
const { connections, leftovers, until } = await import('./support/processes.mjs');
const { binary, kind, startProxy } = await import('./support/proxy.mjs');
if (kind === 'stickyd' && !existsSync(binary)) {
  console.error(`There is no ${binary}: cargo build, or name another by STICKYD_BIN`);
  process.exit(1);
}

describe(`end to end through ${kind}`, () => {
  let cluster;
  before(async () => {
    rmSync(new URL('out', import.meta.url), { recursive: true, force: true });
    cluster = await startCluster();
  });
  after(async () => {
    await quit();
    await cluster?.stop();
    await until('no process of this run is alive', () => {
      assert.deepEqual(leftovers(), []);
    });
  });

  for (const [affinity, by] of Object.entries(AFFINITIES)) behind(affinity, by, () => cluster);
});

/** All scenarios with one `sticky.by`. */
function behind(affinity, by, cluster) {
  const label = affinity.replaceAll(', ', '-');

  describe(`sticky.by = ${JSON.stringify(by)}`, () => {
    let proxy;
    before(async () => {
      proxy = await startProxy(`proxy-${label}`, cluster().instances, by);
    });
    afterEach(async () => {
      closeClients();
      await cluster().heal();
    });
    after(() => proxy?.stop());

    for (const { name, run, mustFail = {}, not = [] } of SCENARIOS) {
      if (not.includes(affinity)) continue;
      const pattern = mustFail[affinity];
      it(pattern ? `MUST FAIL: ${name}` : name, { timeout: 120_000 }, async () => {
        const outcome = run({ url: proxy.url, cluster: cluster(), label });
        if (pattern) return assert.rejects(outcome, pattern);
        return outcome.catch((error) => {
          console.error(`The proxy's last words:\n${proxy.log().split('\n').slice(-20).join('\n')}`);
          throw error;
        });
      });
    }

    it('holds no connection once the clients are gone, and did not panic', async () => {
      await until('the proxy closed its connections', () => {
        assert.deepEqual(connections(proxy.pid), []);
      });
      assert.doesNotMatch(proxy.log(), /panicked/);
    });
  });
}
