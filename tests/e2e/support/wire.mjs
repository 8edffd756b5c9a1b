// Clients that see what is on the wire, and when: whether a tunnel ends with a Close frame or without, to the
// millisecond. Each comes from a loopback address of its own.

import { randomBytes } from 'node:crypto';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { pause } from './processes.mjs';

/** The n-th client's address. nginx's `ip_hash` looks at the first three numbers only. */
export const address = (n) => `127.${20 + (n >> 8)}.${n & 255}.1`;

export const now = () => performance.now();

const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];

/** A frame of a client; all that we send is short. */
function frame(opcode, payload) {
  const data = Buffer.from(payload);
  const key = randomBytes(4);
  const masked = data.map((byte, n) => byte ^ key[n & 3]);
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | data.length]), key, masked]);
}

/** A WebSocket of Socket.IO. */
export class Tunnel {
  instance = null;
  cookie = null;
  #buffer = Buffer.alloc(0);
  #waiting = new Map();
  #asked = 0;

  /**
   * Resolves once the instance has said hello; rejects with what came instead.
   * @param {{ host: string, port: number }} to
   * @param {object} options
   * @param {string} [options.from] its address
   * @param {string} [options.cookie]
   * @param {number} [options.within] milliseconds
   */
  static async open(to, { from, cookie, within = 20_000 } = {}) {
    const tunnel = new Tunnel();
    tunnel.from = from;
    const opened = new Promise((resolve, reject) => Object.assign(tunnel, { opened: resolve, failed: reject }));
    tunnel.ended = new Promise((resolve) => { tunnel.end = resolve; });
    const socket = connect({ ...to, localAddress: from, noDelay: true });
    tunnel.socket = socket;
    const over = (how) => {
      tunnel.end({ at: now(), how });
      tunnel.failed(new Error(how));
    };
    socket.once('end', () => over('FIN')).once('error', ({ code }) => over(code === 'ECONNRESET' ? 'RST' : code)).once('close', () => over('end'));
    socket.on('data', (data) => tunnel.#read(data));
    socket.write(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: ${to.host}:${to.port}\r\n${cookie ? `cookie: ${cookie}\r\n` : ''}`
      + `connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
    const timer = setTimeout(() => over(`nothing within ${within} ms`), within);
    try {
      await opened;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return tunnel;
  }

  #read(data) {
    this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, data]) : data;
    if (!this.isOpen) {
      const end = this.#buffer.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = this.#buffer.toString('latin1', 0, end);
      if (!head.startsWith('HTTP/1.1 101')) {
        this.failed(new Error(head.slice(9, 12)));
        return;
      }
      this.cookie = /^set-cookie: ([^;\r]+)/im.exec(head)?.[1] ?? null;
      this.isOpen = true;
      this.#buffer = this.#buffer.subarray(end + 4);
    }
    while (this.#buffer.length >= 2) {
      const short = this.#buffer[1] & 127;
      const header = short === 126 ? 4 : 2;
      if (short === 127) throw new Error('no instance of ours sends so much');
      if (this.#buffer.length < header) return;
      const length = short === 126 ? this.#buffer.readUInt16BE(2) : short;
      if (this.#buffer.length < header + length) return;
      const opcode = this.#buffer[0] & 15;
      const payload = this.#buffer.subarray(header, header + length);
      this.#buffer = this.#buffer.subarray(header + length);
      this.#hear(opcode, payload);
    }
  }

  #hear(opcode, payload) {
    if (opcode === CLOSE) {
      this.end({ at: now(), how: `Close ${payload.length >= 2 ? payload.readUInt16BE(0) : 1005}` });
      this.socket.end(frame(CLOSE, payload.subarray(0, 2)));
    } else if (opcode === PING) {
      this.socket.write(frame(PONG, payload));
    } else if (opcode === TEXT) {
      const text = String(payload);
      if (text.startsWith('0{')) this.#say('40');
      else if (text === '2') this.#say('3');
      else if (text.startsWith('42["hello"')) {
        [, this.instance] = JSON.parse(text.slice(2));
        this.opened(this);
      } else {
        const [, number] = /^43(\d+)/.exec(text) ?? [];
        this.#waiting.get(number)?.();
        this.#waiting.delete(number);
      }
    }
  }

  #say(text) {
    if (this.socket.writable) this.socket.write(frame(TEXT, text));
  }

  /** Asks the instance something, and waits for the answer. */
  ask() {
    this.#asked += 1;
    const number = String(this.#asked);
    const answered = new Promise((resolve) => { this.#waiting.set(number, resolve); });
    this.#say(`42${number}["echo",1]`);
    return answered;
  }

  /** Asks every so often from now on; what is not answered is no matter. */
  speak(every) {
    const timer = setInterval(() => this.ask(), every);
    this.ended.then(() => clearInterval(timer));
  }

  close() {
    this.end({ at: now(), how: 'closed by us' });
    this.socket.destroy();
  }
}

/** One GET; `{ status, instance, cookie, body, at }`, or what happened instead as `{ failed, at }`. `onHead` as soon as it begins. */
export function ask(to, path, { from, cookie, agent = false, within = 20_000, onHead } = {}) {
  return new Promise((resolve) => {
    const failed = (error) => resolve({ failed: error.message === 'socket hang up' ? 'cut' : error.code ?? error.message, at: now() });
    const request = get({ ...to, path, localAddress: from, agent, headers: cookie ? { cookie } : {} }, (answer) => {
      const instance = answer.headers['x-instance'] ?? null;
      const set = answer.headers['set-cookie']?.[0].split(';')[0] ?? null;
      onHead?.({ status: answer.statusCode, instance });
      let body = '';
      answer.setEncoding('utf8').on('data', (text) => { body += text; });
      answer.once('end', () => resolve({ status: answer.statusCode, instance, cookie: set, body, at: now() }));
      answer.once('error', (error) => failed(error));
    });
    request.once('error', failed);
    const timer = setTimeout(() => request.destroy(new Error('silence')), within);
    request.once('close', () => clearTimeout(timer));
  });
}

const POLL = '/socket.io/?EIO=4&transport=polling';

/** A polling session whose next GET is parked at the instance: `{ instance, ended }`. */
export async function park(to, { from, cookie }) {
  const agent = new Agent({ keepAlive: true });
  const poll = async (sid, within) => {
    const answer = await ask(to, `${POLL}${sid ? `&sid=${sid}` : ''}`, { from, cookie, agent, within });
    return answer;
  };
  const first = await poll();
  if (first.status !== 200) throw new Error(`no polling session: ${first.status ?? first.failed}`);
  const { sid } = JSON.parse(first.body.slice(1));
  // Nothing is ever said to it, for it has not connected to a namespace: only the instance's ping would end the poll.
  const ended = poll(sid, 600_000).then(({ status, failed, body, at }) => ({ at, how: what(status, failed, body) }));
  return { instance: first.instance, ended, close: () => agent.destroy() };
}

function what(status, failed, body) {
  if (failed) return failed;
  if (status === 200) return body === '2' ? 'a ping' : '200';
  return /Session ID unknown/.test(body) ? `${status} unknown session` : String(status);
}

/** A stream of events: `{ instance, ended }`. */
export async function listen(to, { from, cookie }) {
  const agent = new Agent();
  let head;
  const begun = new Promise((resolve) => { head = resolve; });
  const answer = ask(to, '/events', { from, cookie, agent, within: 600_000, onHead: head });
  const { instance } = await Promise.race([begun, answer]);
  const ended = answer.then(({ failed, at }) => ({ at, how: !failed ? 'end' : ['aborted', 'ECONNRESET', 'cut'].includes(failed) ? 'cut' : failed }));
  return { instance, ended, close: () => agent.destroy() };
}

/**
 * Session starts of one client, as a Socket.IO client makes them but without its pauses, until another instance than those of `not`
 * answers: `{ at, instance, seen: { what: count } }`; `at` is null when that did not come to pass until `until`.
 */
export async function arrive(to, { from, cookie, not, until, every = 20 }) {
  const seen = {};
  const isOver = () => now() > until;
  while (!isOver()) {
    const within = Math.min(20_000, until - now());
    const { status, failed, instance, at } = await ask(to, POLL, { from, cookie, within });
    if (status === 200 && !not.includes(instance)) return { at, instance, seen };
    if (within === 20_000 || failed !== 'silence') {
      const how = status === 200 ? 'by the same' : String(status ?? failed);
      seen[how] = (seen[how] ?? 0) + 1;
      await pause(every);
    }
  }
  return { at: null, instance: null, seen };
}
