// A rolling deploy, small: `rolling.mjs` is the large one.

import assert from 'node:assert/strict';
import { deploy, judge } from '../support/deploy.mjs';
import { until } from '../support/processes.mjs';
import { kind } from '../support/proxy.mjs';
import { Riders } from '../support/riders.mjs';
import { atEnd } from '../support/scope.mjs';

export const replaced = [
  {
    name: 'the README\'s rolling deploy replaces three instances under 60 clients: nobody moves twice but those of the first, and nobody waits',
    alone: true,
    // It takes its time, and what it is about is not the keys.
    not: (by, isDefault) => kind === 'nginx' || !isDefault,

    async run({ cluster, proxy }) {
      const names = cluster.instances.map(({ name }) => name);
      const { url, home } = await proxy({
        health: 'interval = "100ms"\nfast_interval = "100ms"\nslow_start = "0s"',
        sections: '[upstream.socketio.drain]\nspread = "1s"',
      });
      const riders = new Riders(url, { speaks: [300, 700] });
      atEnd(() => riders.close());
      await riders.connect(60);
      riders.arrive(250);
      const done = await deploy({
        names,
        home,
        async replace(name) {
          await cluster.killInstance(name);
          await cluster.startInstance(name);
        },
      });
      riders.noMore();
      await until('everybody is back', () => riders.away() === 0);
      await riders.hush();
      const { figures, problems } = judge(riders.reports(), done, names);
      assert.deepEqual(problems, []);
      assert.deepEqual(figures.failures, {});
      // One whose handshake was on its way at the moment of the cordon ends up behind it.
      assert.ok(figures.backwards.length <= 2, figures.backwards.join('\n'));
      assert.ok(figures.sent > 500 && figures.beyond.length >= 60, JSON.stringify(figures));
    },
  },
];
