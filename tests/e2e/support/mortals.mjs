// Instances that are made to fail, see `instance/mortal.mjs`. No Redis: each stands alone.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { freePort, listening, pause, start } from './processes.mjs';

const PROGRAM = fileURLToPath(new URL('../instance/mortal.mjs', import.meta.url));

let mortals = 0;

/**
 * Starts an instance.
 * @param {string} name
 * @param {object} options
 * @param {import('./namespace.mjs').Namespace} [options.namespace] it lives in, instead of on loopback
 * @param {object} [options.env] for it
 */
export async function startMortal(name, { namespace, env = {} } = {}) {
  mortals += 1;
  const label = `${name}-${mortals}`;
  const host = namespace?.inside ?? '127.0.0.1';
  const [port, control] = [await freePort(), namespace ? null : await freePort()];
  const [command, ...args] = [...(namespace?.enter ?? []), process.execPath, PROGRAM];
  const all = { NAME: name, HOST: host, PORT: String(port), CONTROL: String(control ?? ''), ...env };
  const mortal = { name, host, port, process: null };

  mortal.start = async () => {
    mortal.process = start(label, command, args, all);
    await listening(mortal.process, port, host);
  };
  /** As `start`, with its listening socket open once more than it knows: see `deafen`. */
  mortal.startWithSpareSocket = async () => {
    const socket = createServer().listen(port, host, 16);
    await once(socket, 'listening');
    const { fd } = socket._handle;
    mortal.process = start(label, command, args, { ...all, LISTEN_FD: '3' }, [fd, fd]);
    socket.close();
    await listening(mortal.process, port, host);
  };
  mortal.order = async (path) => (await fetch(`http://127.0.0.1:${control}${path}`)).json();
  /** It accepts no more, and its queue is full; what was accepted goes on. */
  mortal.deafen = async () => {
    await mortal.order('/deaf');
    const fill = [];
    for (;;) {
      const socket = connect(port, host).on('error', () => {});
      fill.push(socket);
      if (!await Promise.race([once(socket, 'connect').then(() => true, () => true), pause(300)])) break;
      if (fill.length > 200) throw new Error('the queue does not fill');
    }
    mortal.release = () => fill.forEach((socket) => socket.destroy());
  };
  mortal.stop = async () => {
    mortal.release?.();
    await mortal.process?.stop('SIGKILL');
  };
  return mortal;
}
