// What must work, and what must not: each scenario says what keeps its clients where they are, and with which words it
// has to fail where nothing of that is there.
//
// A scenario is an object of
//   name
//   run(site)     rejects when anything is not as a user expects
//   needs         keys of affinity (`sticky.by`), any one of which is enough; nothing = it works without any, so it runs
//                 under the default and under none only
//   otherwise     what it has to fail with under an affinity that has none of them
//   not(by, isDefault)   whether it makes no sense under these keys, which the default may be
//   alone         it kills instances, or counts: it has three for itself
//   cell          its place in the README's table of clients
//
// `site` is
//   url, cluster         the proxy under test and the instances behind it: `one`, `two`; for those that are alone `three` too
//   pythonUrl, python    the same with instances in Python
//   by                   the keys that are in force
//   label                for files
//   proxy(options)       starts one more proxy in front of the same instances, until the scenario is over

import { browser } from './browser.mjs';
import { checked } from './checked.mjs';
import { faults } from './faults.mjs';
import { killed } from './killed.mjs';
import { leaving } from './leaving.mjs';
import { polls } from './polls.mjs';
import { proxies } from './proxies.mjs';
import { replaced } from './replaced.mjs';
import { rooms } from './rooms.mjs';
import { staying } from './staying.mjs';
import { transports } from './transports.mjs';

export const SCENARIOS = [...transports, ...polls, ...rooms, ...staying, ...proxies, ...browser, ...checked, ...killed, ...faults, ...leaving, ...replaced];
