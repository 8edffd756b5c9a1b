// The README's table of clients, made of what a run saw.

import { readFileSync, writeFileSync } from 'node:fs';

const BEGIN = '<!-- clients: made by tests/run e2e -->';
const END = '<!-- /clients -->';
const README = new URL('../../../README.md', import.meta.url);

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const node = JSON.parse(read('../package-lock.json')).packages;
const npm = (name) => node[`node_modules/${name}`].version;
const pip = (name) => new RegExp(`^${name}==([^ ]+)`, 'm').exec(read('../requirements.txt'))[1];
const crate = (name) => new RegExp(`^name = "${name}"\nversion = "(.+)"`, 'm').exec(read('../clients/rust/Cargo.lock'))[1];

/** Names with the versions that the lock files have. */
export const SOFTWARE = {
  node: `socket.io-client ${npm('socket.io-client')}`,
  node2: `socket.io-client ${npm('socket.io-client-2')}`,
  python: `python-socketio ${pip('python-socketio')}`,
  rust: `rust_socketio ${crate('rust_socketio')}`,
  nodeInstance: `socket.io ${npm('socket.io')}`,
  pythonInstance: `python-socketio ${pip('python-socketio')}`,
};

/** What a client may be told to use; its own default is the last. */
export const TRANSPORTS = { polling: 'polling', websocket: 'WebSocket', upgrade: 'polling, then WebSocket' };

/** What a run saw: works or not, by row and column. It works when it worked each time. */
export class Table {
  #rows;

  /** The cells that a complete run fills. */
  constructor(scenarios) {
    this.#rows = new Map();
    for (const { cell } of scenarios) {
      if (!cell) continue;
      if (!(cell.transport in TRANSPORTS)) throw new Error(`no such transport: ${cell.transport}`);
      this.#row(cell)[cell.transport] = [];
    }
  }

  #row({ client, instances }) {
    const key = `${client} | ${instances}`;
    if (!this.#rows.has(key)) this.#rows.set(key, {});
    return this.#rows.get(key);
  }

  note(cell, works) {
    this.#row(cell)[cell.transport].push(works);
  }

  get complete() {
    return [...this.#rows.values()].every((row) => Object.values(row).every((seen) => seen.length > 0));
  }

  toString() {
    const words = (seen) => (seen ? (seen.every(Boolean) ? 'works' : 'FAILS') : '-');
    const lines = [...this.#rows].map(([key, row]) => (
      `| ${key} | ${Object.keys(TRANSPORTS).map((transport) => words(row[transport])).join(' | ')} |`
    ));
    return [
      `| client | instances | ${Object.values(TRANSPORTS).join(' | ')} |`,
      '| --- | --- | --- | --- | --- |',
      ...lines,
    ].join('\n');
  }

  /** What the README has between its two comments. */
  static inReadme() {
    return parts()[1].trim();
  }

  write() {
    const [before, , after] = parts();
    writeFileSync(README, `${before}${BEGIN}\n${this}\n${END}${after}`);
  }
}

function parts() {
  const text = readFileSync(README, 'utf8');
  const [before, rest, ...more] = text.split(BEGIN);
  const [table, after] = rest?.split(END) ?? [];
  if (after === undefined || more.length > 0) throw new Error(`the README has no place for the table: ${BEGIN} ... ${END}`);
  return [before, table, after];
}
