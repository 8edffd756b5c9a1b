// What stands behind the proxy: Socket.IO instances. Those in Node share one Redis; those in Python stand alone.

import { fileURLToPath } from 'node:url';
import { freePort, listening, start, directory } from './processes.mjs';
import { python } from './programs.mjs';

const file = (name) => fileURLToPath(new URL(`../instance/${name}`, import.meta.url));

const PROGRAMS = {
  node: [process.execPath, [file('instance.mjs')]],
  python: [python, [file('instance.py')]],
};

/**
 * @param {string[]} names of the instances
 * @param {object} options
 * @param {'node' | 'python'} [options.language]
 * @param {string} [options.prefix] of the names of logs
 */
export async function startCluster(names = ['one', 'two'], { language = 'node', prefix = '' } = {}) {
  const redis = language === 'node' ? await startRedis(`${prefix}redis`) : null;
  const [command, args] = PROGRAMS[language];
  const instances = new Map();
  for (const name of names) instances.set(name, { name, port: await freePort(), process: null });

  const cluster = {
    /** `[{ name, port }]`, in the order of the proxy's configuration. */
    instances: [...instances.values()],

    async startInstance(name) {
      const instance = instances.get(name);
      instance.process = start(`${prefix}instance-${name}`, command, args, {
        NAME: name, PORT: String(instance.port), REDIS: redis?.url ?? '',
      });
      await listening(instance.process, instance.port);
      // It listens once its adapter has subscribed, so the other one can reach it from now on.
    },

    /** As a crash does it: nothing is said goodbye to. */
    async killInstance(name) {
      const instance = instances.get(name);
      await instance.process?.stop('SIGKILL');
      instance.process = null;
    },

    /** As when its process hangs: connections are accepted by the kernel, and nobody says a word. */
    stopInstance(name) {
      instances.get(name).process.signal('SIGSTOP');
    },

    /** It goes on with what came meanwhile. */
    continueInstance(name) {
      instances.get(name).process.signal('SIGCONT');
    },

    /** Starts what a scenario left dead; answers whether there was something. */
    async heal() {
      const dead = [...instances.values()].filter(({ process: child }) => !child);
      for (const { name } of dead) await cluster.startInstance(name);
      return dead.length > 0;
    },

    /** How many sessions an instance has, whose polls it holds, why sessions ended: `{ open, parked: [sid], closed: { sid: reason } }`. Past the proxy. */
    async sessions(name) {
      const answer = await fetch(`http://127.0.0.1:${instances.get(name).port}/sessions`);
      return answer.json();
    },

    async stop() {
      for (const name of names) await cluster.killInstance(name);
      await redis?.process.stop();
    },
  };
  await Promise.all(names.map((name) => cluster.startInstance(name)));
  return cluster;
}

async function startRedis(name) {
  const port = await freePort();
  const child = start(name, 'redis-server', [
    '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory,
  ]);
  await listening(child, port);
  return { process: child, url: `redis://127.0.0.1:${port}` };
}
