// A program for people that shows proxies side by side: its arguments, what it says while it runs, and that it ends when it fails.

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { PEERS } from './peers.mjs';
import { binary } from './proxy.mjs';

/** Of every such program: which proxies, where everything goes that was seen, and help. */
const COMMON = {
  proxies: { type: 'string', default: 'stickyd,nginx,haproxy' },
  json: { type: 'string' },
  help: { type: 'boolean', default: false },
};

/** With time, where it is not in the way of the table. */
export const say = (text) => console.error(`${new Date().toISOString().slice(11, 19)}  ${text}`);

/**
 * Reads the arguments; whatever is wrong with them, or with anything later, ends the process.
 * @returns {{ values: object, proxies: string[], usage: (problem: string) => never, among: (text: string, known: object) => string[] }}
 */
export function begin(text, options) {
  const usage = (problem) => {
    console.error(`${problem}\n\n${text}`);
    process.exit(2);
  };
  const among = (names, known) => names.split(',').map((name) => (name in known ? name : usage(`there is no ${name}: ${Object.keys(known).join(', ')}`)));
  let values;
  try {
    ({ values } = parseArgs({ options: { ...COMMON, ...options } }));
  } catch (error) {
    usage(error.message);
  }
  if (values.help) {
    console.log(text);
    process.exit(0);
  }
  const proxies = among(values.proxies, PEERS);
  if (proxies.includes('stickyd') && !existsSync(binary)) usage(`${binary} is not there: cargo build --release, or name another by STICKYD_BIN`);
  // Children and namespaces are seen to when the process exits.
  process.on('unhandledRejection', (error) => {
    console.error(error);
    process.exit(1);
  });
  return { values, proxies, usage, among };
}
