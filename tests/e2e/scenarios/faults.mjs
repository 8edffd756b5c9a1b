// How soon clients hear of a death, with every setting at its default; `tests/e2e/faults.mjs` is the whole of it, beside other proxies.

import assert from 'node:assert/strict';
import { FAULTS, observe } from '../faults/faults.mjs';
import { kind } from '../support/proxy.mjs';

const TUNNELS = 40;

/** Milliseconds until the last of all tunnels has its Close, and until clients are served elsewhere. Machines that run tests are busy. */
const WITHIN = {
  kill: { told: 1_000, elsewhere: 1_000 },
  stop: { told: 6_500, elsewhere: 6_500 },
  drop: { told: 6_500, elsewhere: 6_500 },
};

export const faults = [
  {
    name: 'an instance is killed, hangs, or its packets vanish: every tunnel has its Close, and clients are elsewhere, within seconds',
    alone: true,
    not: (by, isDefault) => kind === 'nginx' || !isDefault,

    async run() {
      const all = Object.entries(WITHIN).filter(([fault]) => {
        const why = FAULTS[fault].needs?.();
        if (why) console.error(`${fault} is not tested: ${why}`);
        return !why;
      });
      const check = async ([fault, { told, elsewhere }]) => {
        for (const [who, seen] of Object.entries(await observe(fault, 'stickyd', { tunnels: TUNNELS }))) {
          const words = `${fault}, ${who}: ${JSON.stringify(seen)}`;
          if (who.startsWith('held WebSocket')) {
            assert.equal(seen.told, seen.count, words);
            assert.deepEqual(seen.hows, ['Close 1012'], words);
            assert.ok(seen.last < told, words);
          } else if (seen.kind === 'one') {
            assert.ok(seen.after !== null && seen.after < told, words);
          } else if (seen.kind === 'new') {
            assert.ok(seen.last < elsewhere, words);
          }
        }
      };
      await Promise.all(all.map(check));
    },
  },
];
