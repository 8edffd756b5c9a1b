// What stands behind the proxy: one Redis and two Socket.IO instances that share it.

import { fileURLToPath } from 'node:url';
import { freePort, listening, start, directory } from './processes.mjs';

const INSTANCE = fileURLToPath(new URL('../instance/instance.mjs', import.meta.url));

export async function startCluster(names = ['one', 'two']) {
  const redisPort = await freePort();
  const redis = start('redis', 'redis-server', [
    '--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory,
  ]);
  await listening(redis, redisPort);

  const instances = new Map();
  for (const name of names) instances.set(name, { name, port: await freePort(), process: null });

  const cluster = {
    /** `[{ name, port }]`, in the order of the proxy's configuration. */
    instances: [...instances.values()],

    async startInstance(name) {
      const instance = instances.get(name);
      instance.process = start(`instance-${name}`, process.execPath, [INSTANCE], {
        NAME: name, PORT: String(instance.port), REDIS: `redis://127.0.0.1:${redisPort}`,
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

    /** Starts what a failed scenario left dead. */
    async heal() {
      for (const { name, process: child } of instances.values()) if (!child) await cluster.startInstance(name);
    },

    async stop() {
      for (const name of names) await cluster.killInstance(name);
      await redis.stop();
    },
  };
  await Promise.all(names.map((name) => cluster.startInstance(name)));
  return cluster;
}
