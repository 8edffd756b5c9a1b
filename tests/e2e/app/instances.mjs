// Instances of stickyd-app and of Node beside each other on one Redis, and their clients.

import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { io } from 'socket.io-client';
import { directory, freePort, listening, start, until } from '../support/processes.mjs';
import { builds } from '../support/proxy.mjs';
import { atEnd } from '../support/scope.mjs';

const file = (name) => fileURLToPath(new URL(`../instance/${name}`, import.meta.url));

/** What is tested. */
export const app = process.env.STICKYD_APP_BIN ?? join(builds, 'stickyd-app');
const PROGRAMS = {
  rust: [join(builds, 'examples/operations'), []],
  node: [process.execPath, [file('operations.mjs')]],
};

/** What must have been built. */
export const programs = [app, PROGRAMS.rust[0]];

/** A Redis that can be stopped and started again, on the same port and with nothing left in it. */
export async function startRedis() {
  const port = await freePort();
  const redis = { url: `redis://127.0.0.1:${port}`, process: null };
  redis.start = async () => {
    redis.process = start(`redis-${port}`, 'redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory]);
    await listening(redis.process, port);
  };
  redis.stop = () => redis.process.stop('SIGKILL');
  await redis.start();
  atEnd(redis.stop);
  return redis;
}

/** An instance that does what `operate` tells it. `kind` is rust or node. */
export async function startInstance(kind, name, redis) {
  const port = await freePort();
  const [command, args] = PROGRAMS[kind];
  const child = start(`${kind}-${name}`, command, args, { NAME: name, PORT: String(port), REDIS: redis.url });
  atEnd(() => child.stop('SIGKILL'));
  await listening(child, port);
  const url = `http://127.0.0.1:${port}`;
  const told = io(`${url}/operations`, { transports: ['websocket'], forceNew: true });
  atEnd(() => told.close());
  return {
    kind, name, url, child,
    /** What it answers to an operation; throws what it says went wrong. */
    async operate(what, namespace, more = {}) {
      const answer = await told.timeout(10_000).emitWithAck('operate', { do: what, nsp: namespace, ...more });
      if (answer?.error) throw new Error(`${name}: ${what}: ${answer.error}`);
      return answer;
    },
  };
}

/** `stickyd-app serve` as somebody would run it. */
export async function startApp(name, args = [], { insecure = true } = {}) {
  const port = await freePort();
  const child = start(`app-${name}`, app, ['serve', '--listen', `127.0.0.1:${port}`, '--name', name, ...(insecure ? ['--insecure-demo'] : []), ...args]);
  atEnd(() => child.stop('SIGKILL'));
  await listening(child, port);
  return { name, url: `http://127.0.0.1:${port}`, child };
}

/** A client that remembers what it hears. */
export class Client {
  /** `[event, ...args]`, in the order of arrival. */
  heard = [];

  constructor(instance, namespace, user, { transports = ['websocket'] } = {}) {
    this.instance = instance;
    this.user = user;
    this.socket = io(instance.url + namespace, { transports, forceNew: true, reconnection: false, auth: { userId: user } });
    atEnd(() => this.socket.close());
    this.socket.onAny((event, ...args) => {
      // A question is asked with something that takes the answer; it is no argument.
      const answer = typeof args.at(-1) === 'function' ? args.pop() : null;
      this.heard.push([event, ...args]);
      if (event !== 'unanswered') answer?.({ user, echo: args }, 'the second is not passed on');
    });
  }

  async connected() {
    await until(`${this.user} is connected`, () => {
      if (!this.socket.connected) throw new Error('not connected');
    });
    return this;
  }

  async join(...rooms) {
    for (const room of rooms) await this.socket.timeout(5_000).emitWithAck('join', room);
  }

  /** Waits until it has heard this event, then returns what came before since the last time. */
  async until(event) {
    await until(`${this.user} hears ${event}`, () => this.heard.some(([name]) => name === event), { within: 10_000 });
    const at = this.heard.findIndex(([name]) => name === event);
    return this.heard.splice(0, at + 1).slice(0, -1);
  }
}
