// stickyd-app beside Node's Socket.IO on a real Redis, and what it does when that Redis goes away.
//
//   node tests/e2e/app.mjs --help

import { existsSync } from 'node:fs';
import { describe } from 'node:test';

const HELP = `usage: node tests/e2e/app.mjs [--help]

Starts instances of stickyd-app (target/debug/stickyd-app, and the example "operations") and of Node on a Redis of their own,
and checks with real clients, over polling and WebSocket:

  every operation on rooms, said by each kind of instance and by @socket.io/redis-emitter, heard by clients of both, each once
  a Redis that stops for 5 s amid traffic
  what one instance answers: headers, errors, limits, how it stops

  node --test-name-pattern='emitter' tests/e2e/app.mjs   a part of it
  STICKYD_APP_BIN=path, CARGO_TARGET_DIR=path            another build
  E2E_KEEP=1                                             keeps the logs of a run that failed

Build first: cargo build --bin stickyd-app --example operations
`;

if (process.argv.includes('--help') || process.argv.includes('-h')) {
  process.stdout.write(HELP);
  process.exit(0);
}
const { programs } = await import('./app/instances.mjs');
const missing = programs.filter((path) => !existsSync(path));
if (missing.length > 0) {
  console.error(`There is something missing: ${missing.join(', ')}\n\n${HELP}`);
  process.exit(1);
}
const { alone } = await import('./app/alone.mjs');
const { outage } = await import('./app/outage.mjs');
const { rooms } = await import('./app/rooms.mjs');

describe('one instance', { concurrency: 2 }, alone);
describe('a Redis that goes away', { concurrency: 2 }, outage);
describe('rooms over instances of both kinds', { concurrency: 3 }, rooms);
