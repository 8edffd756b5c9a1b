// An instance is drained under clients that are about to move from polling to WebSocket: when they have heard `3probe` they have
// stopped to poll, and they listen to the WebSocket only after `5`.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Client } from '../support/clients.mjs';
import { pause, until } from '../support/processes.mjs';
import { binary, kind } from '../support/proxy.mjs';
import { address } from '../support/site.mjs';

const run = promisify(execFile);

const CLIENTS = 24;

/** An instance says no word for so long, about half of the spread. */
const SILENT_MS = 700;

const between = ({ version, ...options }) => ({
  name: `an instance is drained under version ${version} clients between the probe and the end of their upgrade: all of them hear of it`,
  alone: true,
  // What it is about is not the keys.
  not: (by, isDefault) => kind === 'nginx' || !isDefault,

  async run({ cluster, proxy }) {
    const { url, home } = await proxy({ sections: '[upstream.socketio.drain]\nspread = "1500ms"' });
    const stickyd = (...args) => run(binary, args, { env: { ...process.env, RUNTIME_DIRECTORY: home } });
    const [{ name: leaves }, ...others] = cluster.instances;
    for (const { name } of others) await stickyd('cordon', name);

    // All of them are held where they are: the instance has answered the probe, and does not get to end the poll.
    const clients = [];
    let upgrading = 0;
    const stopped = new Promise((resolve) => {
      for (let n = 0; n < CLIENTS; n += 1) {
        const client = new Client(url, { version, reconnection: true, address: address(n), ...options });
        clients.push(client);
        client.socket.io.engine.once('upgrading', () => {
          upgrading += 1;
          if (upgrading < 8) return;
          cluster.stopInstance(leaves);
          resolve();
        });
      }
    });
    await stopped;
    for (const { name } of others) await stickyd('resume', name);
    await stickyd('drain', leaves);
    await pause(SILENT_MS);
    console.error(upgrading, clients.map((c)=>c.transport+" "+c.socket.io.engine.transport.readyState+" "+c.losses).join('\n'));
    cluster.continueInstance(leaves);
    await until('all are elsewhere', () => {
      const left = clients.filter(({ instance, socket }) => !socket.connected || instance === leaves || !instance);
      assert.deepEqual(left.map(({ losses, transport, socket }) => `${transport} ${socket.io.engine.transport.readyState} ${losses}`), []);
      return true;
    }, { within: 10_000 });
    await Promise.all(clients.map((client) => client.settled()));
  },
});

export const leaving = [between({ version: 4 }), between({ version: 2 })];
