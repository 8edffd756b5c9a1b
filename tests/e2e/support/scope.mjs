// What a scenario opened is closed when it is over, however it ended, and whatever runs beside it.

import { AsyncLocalStorage } from 'node:async_hooks';

const scopes = new AsyncLocalStorage();

/** Runs `scenario`, then closes what it opened, the last first. */
export async function scoped(scenario) {
  const scope = { closers: new Set(), over: false };
  try {
    return await scopes.run(scope, scenario);
  } finally {
    scope.over = true;
    for (const close of [...scope.closers].reverse()) await close();
  }
}

/**
 * Has `close` called at the end of the scenario that runs here; the result takes it back.
 * A scenario that failed may still be opening things somewhere: those close at once.
 */
export function atEnd(close) {
  const scope = scopes.getStore();
  if (!scope || scope.over) {
    close();
    throw new Error('no scenario is running here');
  }
  scope.closers.add(close);
  return () => scope.closers.delete(close);
}
