// Checks of real instances: they pass, and leave nothing behind.

import assert from 'node:assert/strict';
import { until } from '../support/processes.mjs';
import { kind } from '../support/proxy.mjs';

export const checked = [
  {
    name: 'sessions that checks open are closed by their own packet, and nothing is left at the instance',
    alone: true,
    not: () => kind === 'nginx',

    async run({ cluster, proxy }) {
      const sessions = () => Promise.all(cluster.instances.map(({ name }) => cluster.sessions(name)));
      // How sessions of earlier scenarios end is none of this one's business.
      await until('clients of earlier scenarios are gone', async () => (await sessions()).every(({ open }) => open === 0));
      const before = await sessions();
      const { log, stop } = await proxy({ health: 'check = "engine_io"\ninterval = "100ms"\ntimeout = "10s"' });
      const closed = async () => (await sessions()).map((now, n) => Object.entries(now.closed)
        .filter(([sid]) => !(sid in before[n].closed)).map(([, reason]) => reason));
      await until('every instance was checked ten times', async () => (await closed()).every(({ length }) => length >= 10));
      assert.doesNotMatch(log(), /instance is (down|degraded)/);
      // One that runs while the proxy stops is cut.
      const reasons = new Set((await closed()).flat());
      await stop();
      await until('nothing is left', async () => (await sessions()).every(({ open }, n) => open <= before[n].open));
      assert.deepEqual([...reasons], ['transport close'], 'and not because a heartbeat is missing');
    },
  },
];
