// A process of riders: its parent calls their methods by messages `{ call, args }`, and gets `{ result }` or `{ error }`.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Riders } from './riders.mjs';

const [, , url, first, step] = process.argv;
const riders = new Riders(url, { first: Number(first), step: Number(step) });
const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();
/** How long this process itself kept its clients waiting at most, in milliseconds: what they measured is exact to that. */
riders.late = () => {
  const most = Math.round(delay.max / 1e6);
  delay.reset();
  return most;
};

process.on('message', async ({ call, args }) => {
  try {
    process.send({ result: await riders[call](...args) ?? null });
  } catch (error) {
    process.send({ error: error.stack });
  }
});
process.on('disconnect', () => process.exit());
process.send({ result: 'ready' });
