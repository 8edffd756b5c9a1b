// What must work, and what must not: each scenario says under which affinity it has to fail, and with which words.
//
// A scenario is `{ name, run(site), mustFail?: { [affinity]: pattern }, not?: [affinity] }`; `site` is
// `{ url, cluster, label }`. It rejects when anything is not as a user expects.

import { browser } from './browser.mjs';
import { killed } from './killed.mjs';
import { rooms } from './rooms.mjs';
import { staying } from './staying.mjs';
import { transports } from './transports.mjs';

/** `sticky.by` of the proxy, by the name that the scenarios use. */
export const AFFINITIES = {
  'cookie, ip_hash': ['cookie', 'ip_hash'],
  cookie: ['cookie'],
  ip_hash: ['ip_hash'],
  none: [],
};

export const SCENARIOS = [...transports, ...rooms, ...staying, ...killed, ...browser];
