// Clients that are programs of their own, in Python and in Rust: what happens to them comes as lines of JSON.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fatal, start, until } from './processes.mjs';
import { builds } from './proxy.mjs';
import { atEnd } from './scope.mjs';

const HERE = fileURLToPath(new URL('..', import.meta.url));

/** The interpreter that has the packages of `requirements.txt`. */
export const python = join(HERE, 'venv/bin/python');
const pythonClient = join(HERE, 'clients/python/client.py');
const rustClient = join(builds, 'stickyd-e2e-rust-client');

/** What is not there, with the command that makes it. */
export const missing = [
  [python, 'the Python packages: tests/run e2e'],
  [rustClient, 'the client in Rust: cargo build --manifest-path tests/e2e/clients/rust/Cargo.toml'],
].flatMap(([path, what]) => (existsSync(path) ? [] : [what]));

/** `python-socketio`; `transports` as the library's list, nothing = its default. */
export const pythonClients = (mode, url, transports, addresses) => new Program(
  'python-client', python, [pythonClient, mode, url, transports?.join(',') ?? 'default', ...addresses],
);

/** `rust_socketio`; `transport` is polling, websocket, upgrade, or default. */
export const rustClients = (mode, url, transport, addresses) => new Program(
  'rust-client', rustClient, [mode, url, transport, ...addresses],
);

let programs = 0;

class Program {
  constructor(name, command, args) {
    programs += 1;
    this.child = start(`${name}-${programs}`, command, args);
    atEnd(() => this.child.stop('SIGKILL'));
  }

  /** What happened so far: `[{ client, event, ... }]`. */
  get events() {
    return this.child.log().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  /** Waits until every client is done, and returns what each said at the end; throws with its words when one failed. */
  async done() {
    const how = await this.child.exit;
    const failed = this.events.filter(({ event }) => event === 'failed').map(({ client, reason }) => `client ${client}: ${reason}`);
    if (failed.length > 0) throw new Error(failed.join('\n'));
    if (how !== 'exit code 0') throw new Error(`${this.child.name} ended (${how}):\n${this.child.log()}`);
    return this.events.filter(({ event }) => event === 'done');
  }

  /** Waits until `check` holds for what happened. */
  async until(what, check) {
    await until(what, () => {
      const { events } = this;
      const failed = events.find(({ event }) => event === 'failed');
      if (failed) throw new Fatal(failed.reason);
      if (!check(events)) throw new Error(JSON.stringify(events.slice(-8)));
    }, { within: 30_000 });
  }
}
