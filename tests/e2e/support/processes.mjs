// Child processes that cannot outlive the run: each leads a process group of its own, is killed when this process exits
// for whatever reason, and is killed by the kernel (parent death signal) when this process itself is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where paths that the caller gave are relative to. */
export const callersDirectory = process.cwd();

/** Everything this run writes, except what it shows a person (`out/`). */
export const directory = realpathSync(mkdtempSync(join(tmpdir(), 'stickyd-e2e-')));

// Chromium's profile belongs there too; and every process of the run, grandchildren included, is known by working there.
process.env.TMPDIR = directory;
process.chdir(directory);

const running = new Set();

process.on('exit', () => {
  for (const child of running) child.signal('SIGKILL');
  if (process.exitCode && process.env.E2E_KEEP) console.error(`kept: ${directory}`);
  else {
    // What was just killed may still be writing; and an exception here would keep this process alive.
    try {
      rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    } catch (error) {
      console.error(`cannot remove ${directory}: ${error.message}`);
    }
  }
});
for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]]) {
  process.on(signal, () => process.exit(128 + number));
}

/**
 * Starts a program. Its output goes to `NAME.log` in the run's directory; `fds` are its descriptors from 3 on.
 * @returns {{ name: string, pid: number, log: () => string, signal: (signal: string) => void, stop: (signal?: string) => Promise<void>, exit: Promise<string> }}
 */
export function start(name, command, args, env = {}, fds = []) {
  const path = join(directory, `${name}.log`);
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe', ...fds],
  });
  const file = createWriteStream(path, { flags: 'a' });
  child.stdout.pipe(file, { end: false });
  child.stderr.pipe(file, { end: false });

  const handle = {
    name,
    pid: child.pid,
    log: () => readFileSync(path, 'utf8'),
    exit: new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
    }).finally(() => {
      running.delete(handle);
      return new Promise((written) => file.end(written));
    }),
    signal(signal) {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // It has ended already.
      }
    },
    async stop(signal = 'SIGTERM') {
      handle.signal(signal);
      const kill = setTimeout(() => handle.signal('SIGKILL'), 10_000);
      await handle.exit;
      clearTimeout(kill);
    },
  };
  running.add(handle);
  return handle;
}

/** Waits until `child` accepts connections on `port`; throws with its output when it ends before. */
export async function listening(child, port, host = '127.0.0.1') {
  let ended;
  child.exit.then((how) => { ended = how; });
  await until(`${child.name} listens on port ${port}`, async () => {
    if (ended) throw new Fatal(`${child.name} ended (${ended}):\n${child.log()}`);
    const socket = connect(port, host);
    try {
      await once(socket, 'connect');
    } finally {
      socket.destroy();
    }
  });
}

/** Ports that were given out: whoever got one may not listen on it yet, and the kernel knows nothing of that. */
const given = new Set();

/** A port that was free a moment ago, and that nobody else gets. */
export async function freePort() {
  for (;;) {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address();
    probe.close();
    await once(probe, 'close');
    if (!given.has(port)) {
      given.add(port);
      return port;
    }
  }
}

/** An error that waiting longer does not mend. */
export class Fatal extends Error {}

/** Tries `check` until it neither throws nor returns false; the last reason is told when the time is over. */
export async function until(what, check, { within = 30_000 } = {}) {
  const deadline = Date.now() + within;
  let reason = 'it stayed false';
  for (;;) {
    try {
      const result = await check();
      if (result !== false) return result;
    } catch (error) {
      if (error instanceof Fatal) throw error;
      reason = error.message;
    }
    if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${what} (${reason})`);
    await pause(25);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The processes of this run that are alive, this one excepted: `["1234 redis-server", ...]`. */
export function leftovers() {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid).flatMap((pid) => {
    try {
      const here = readlinkSync(`/proc/${pid}/cwd`).startsWith(directory);
      return here ? [`${pid} ${readlinkSync(`/proc/${pid}/exe`)}`] : [];
    } catch {
      return []; // It ended while we looked, or it is a zombie or somebody else's.
    }
  });
}

/** The TCP connections that the process holds, in any state: `["7f000001:1F90 -> 7f000001:C350 (01), held by 1234 node", ...]`. */
export function connections(pid) {
  const LISTEN = '0A';
  const open = sockets(pid);
  const all = ['tcp', 'tcp6'].flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .map(([, local, remote, state, , , , , , inode]) => ({ local, remote, state, inode }));
  return all.filter(({ state, inode }) => state !== LISTEN && open.has(inode)).map(({ local, remote, state }) => {
    const far = all.find((other) => other.local === remote && other.remote === local);
    return `${local} -> ${remote} (${state})${far ? `, ${holder(far.inode)} (${far.state})` : ''}`;
  });
}

/** The numbers of the sockets that a process has open. */
function sockets(pid) {
  return new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
    } catch {
      return undefined; // Closed while we looked.
    }
  }));
}

/** Who has it open: for whoever wonders why a connection is still there. */
function holder(inode) {
  const pid = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).find((pid) => {
    try {
      return sockets(pid).has(inode);
    } catch {
      return false; // It ended while we looked, or is somebody else's.
    }
  });
  return pid ? `held by ${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()}` : 'held by nobody';
}
