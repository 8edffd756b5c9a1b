// An instance is emptied under clients that are about to move from polling to WebSocket. Once they have heard `3probe` they have
// stopped to poll, and they listen to the WebSocket only after their `5`: of a Close in between they would never hear.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Client } from '../support/clients.mjs';
import { pause, until } from '../support/processes.mjs';
import { binary, kind } from '../support/proxy.mjs';
import { address } from '../support/site.mjs';

const run = promisify(execFile);

const CLIENTS = 24;
/** So many of them, at least, are caught in between. */
const CAUGHT = 8;

const between = (version) => ({
  name: `an instance is drained under version ${version} clients that have stopped to poll and do not listen to their WebSocket yet: all hear of it`,
  alone: true,
  // What it is about is not the keys.
  not: (by, isDefault) => kind === 'nginx' || !isDefault,

  async run({ cluster, proxy }) {
    const { url, home } = await proxy({ sections: '[upstream.socketio.drain]\nspread = "1500ms"' });
    const stickyd = (...args) => run(binary, args, { env: { ...process.env, RUNTIME_DIRECTORY: home } });
    const [{ name: leaves }, ...others] = cluster.instances;
    for (const { name } of others) await stickyd('cordon', name);

    // They are held where they are: the instance has answered the probe, and does not get to end the poll.
    const clients = Array.from({ length: CLIENTS }, (_, n) => new Client(url, { version, reconnection: true, address: address(n) }));
    let upgrading = 0;
    await new Promise((resolve) => {
      for (const { socket } of clients) {
        socket.io.engine.once('upgrading', () => {
          upgrading += 1;
          if (upgrading === CAUGHT) resolve(cluster.stopInstance(leaves));
        });
      }
    });
    try {
      for (const { name } of others) await stickyd('resume', name);
      await stickyd('drain', leaves);
      // The proxy has come to the tunnel of some by now, and not to their poll, which the instance ends when it goes on.
      await pause(700);
    } finally {
      cluster.continueInstance(leaves);
    }
    const answered = ({ socket }) => new Promise((resolve) => {
      socket.emit('whoami', ({ instance }) => resolve(instance));
      setTimeout(resolve, 1_000);
    });
    await until('all are served elsewhere', async () => {
      const left = await Promise.all(clients.map(async (client) => {
        const { socket, transport } = client;
        const at = socket.connected && await answered(client);
        return at && at !== leaves ? [] : [`${transport} is ${socket.io.engine.transport.readyState}`];
      }));
      assert.deepEqual(left.flat(), []);
      return true;
    }, { within: 10_000 });
  },
});

export const leaving = [between(4), between(2)];
