// Network namespaces: a host of its own for a process, whose packets can vanish without a word on the way, in both
// directions. Needs root. None outlives the run; what a run that was killed has left is removed by the next.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Of names of namespaces and devices: behind it the number of the process that owns them. */
const PREFIX = 'skd';

const ip = (...args) => spawnSync('ip', args, { encoding: 'utf8' });

function must(...args) {
  const { status, stderr, error } = ip(...args);
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${error?.message ?? stderr}`);
}

/** Why there can be none; `null`: there can. */
export function whyNot() {
  if (process.getuid() !== 0) return 'needs root for a network namespace';
  const name = `${PREFIX}${process.pid}try`;
  const made = ip('netns', 'add', name);
  if (made.status !== 0) return `no network namespaces here (${made.error?.message ?? made.stderr.trim()})`;
  ip('netns', 'del', name);
  return null;
}

const all = new Set();
let count = 0;

process.on('exit', () => all.forEach((namespace) => namespace.remove()));

/** What runs left that were killed. */
function sweep() {
  for (const line of (ip('netns', 'list').stdout ?? '').split('\n')) {
    const [, name, pid] = new RegExp(`^(${PREFIX}(\\d+)n\\d+)`).exec(line) ?? [];
    if (!name || existsSync(`/proc/${pid}`)) continue;
    ip('link', 'del', name);
    ip('netns', 'del', name);
  }
}

/** Two addresses that nobody has yet, of those that are for tests (RFC 2544): `[out here, in there]`. */
function freeAddresses() {
  const used = ip('-o', '-4', 'addr').stdout;
  for (let n = 0; n < 16_384; n += 1) {
    const [outside, inside] = [1, 2].map((host) => `198.18.${n >> 6}.${(n & 63) * 4 + host}`);
    if (!used.includes(` ${outside}/`)) return [outside, inside];
  }
  throw new Error('no address is left for a namespace');
}

export class Namespace {
  constructor() {
    if (count === 0) sweep();
    count += 1;
    this.name = `${PREFIX}${process.pid}n${count}`;
    [this.outside, this.inside] = freeAddresses();
    /** What a command line begins with, to run in there. */
    this.enter = ['ip', 'netns', 'exec', this.name];
    all.add(this);
    const { name } = this;
    must('netns', 'add', name);
    must('link', 'add', name, 'type', 'veth', 'peer', 'name', 'there', 'netns', name);
    must('addr', 'add', `${this.outside}/30`, 'dev', name);
    must('link', 'set', name, 'up');
    must('-n', name, 'addr', 'add', `${this.inside}/30`, 'dev', 'there');
    must('-n', name, 'link', 'set', 'there', 'up');
    must('-n', name, 'link', 'set', 'lo', 'up');
  }

  /**
   * From now on every packet vanishes: it goes to a hardware address that nobody has. (A link that is down would be noticed, and
   * so would an address that nobody answers for.)
   */
  cut() {
    must('neigh', 'replace', this.inside, 'lladdr', '02:00:00:00:00:01', 'nud', 'permanent', 'dev', this.name);
    must('-n', this.name, 'neigh', 'replace', this.outside, 'lladdr', '02:00:00:00:00:02', 'nud', 'permanent', 'dev', 'there');
  }

  remove() {
    if (!all.delete(this)) return;
    ip('link', 'del', this.name);
    ip('netns', 'del', this.name);
  }
}
