// Engine.IO by single requests: what no client that can be installed does (any more), and what none should do.

import { Agent, request as ask } from 'node:http';
import { runInNewContext } from 'node:vm';
import { until } from './processes.mjs';
import { atEnd } from './scope.mjs';

/** One request; `{ status, headers, body }`. `signal` cuts it off. */
export function request(url, { method = 'GET', headers = {}, body, agent, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sent = ask(url, { method, headers, agent, signal }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.once('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks).toString() }));
      answer.once('error', reject);
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

/** The number of the page's function that takes what a script brings. */
const SCRIPT = 7;

/** How the two versions of the protocol put packets into one body. */
const PAYLOADS = {
  4: {
    encode: (packets) => packets.join('\x1e'),
    decode: (body) => body.split('\x1e'),
    binary: (bytes) => `b${bytes.toString('base64')}`,
    bytes: (packet) => (packet.startsWith('b') ? Buffer.from(packet.slice(1), 'base64') : null),
  },
  3: {
    encode: (packets) => packets.map((packet) => `${packet.length}:${packet}`).join(''),
    decode(body) {
      const packets = [];
      for (let at = 0; at < body.length;) {
        const colon = body.indexOf(':', at);
        const end = colon + 1 + Number(body.slice(at, colon));
        packets.push(body.slice(colon + 1, end));
        at = end;
      }
      return packets;
    },
    binary: (bytes) => `b4${bytes.toString('base64')}`,
    bytes: (packet) => (packet.startsWith('b4') ? Buffer.from(packet.slice(2), 'base64') : null),
  },
};

/** A polling session, one request after the other, as the scenario says; `listen` polls on by itself. */
export class RawSession {
  /** Packets that came and that nobody took yet. */
  packets = [];
  sid = null;
  instance = null;

  /**
   * @param {string} url of the proxy
   * @param {object} options
   * @param {3 | 4} [options.protocol] of Engine.IO
   * @param {boolean} [options.jsonp] as the script tags and forms of a page do it
   * @param {string} [options.address] the address it pretends to have
   */
  constructor(url, { protocol = 4, jsonp = false, address } = {}) {
    Object.assign(this, { url, protocol, jsonp });
    this.payload = PAYLOADS[protocol];
    this.headers = address ? { 'x-forwarded-for': address } : {};
    this.agent = new Agent({ keepAlive: true, maxSockets: 6 });
    atEnd(() => this.close());
  }

  /** Begins the session, and waits for the instance's hello. */
  static async connect(url, options) {
    const session = new RawSession(url, options);
    await session.open();
    session.listen();
    session.instance = (await session.event('hello'))[0];
    return session;
  }

  /** The handshake, and the CONNECT of Socket.IO, which version 3 of the protocol does not send. */
  async open() {
    const [open, ...rest] = await this.poll();
    if (!open.startsWith('0{')) throw new Error(`not an open packet: ${open}`);
    this.sid = JSON.parse(open.slice(1)).sid;
    this.packets.push(...rest);
    if (this.protocol === 4) await this.send('40');
  }

  target() {
    const query = new URLSearchParams({ EIO: this.protocol, transport: 'polling' });
    if (this.jsonp) query.set('j', SCRIPT);
    if (this.sid) query.set('sid', this.sid);
    // Binary as text: version 4 has no other way.
    else if (this.protocol === 3) query.set('b64', 1);
    return `${this.url}/socket.io/?${query}`;
  }

  /** One GET, as it is answered. */
  get(signal) {
    return this.#request({ headers: this.headers, signal });
  }

  /** One POST, as it is answered. */
  post(packets) {
    const payload = this.payload.encode(packets);
    // A form's text area: its line breaks get lost, so the client escapes them.
    const body = this.jsonp ? new URLSearchParams({ d: payload.replace(/\\n/g, '\\\\n') }).toString() : payload;
    const type = this.jsonp ? 'application/x-www-form-urlencoded' : 'text/plain;charset=UTF-8';
    const headers = { ...this.headers, 'content-type': type, 'content-length': Buffer.byteLength(body) };
    return this.#request({ method: 'POST', headers, body });
  }

  /** A scenario that failed elsewhere may still be at work here: it would leave a connection that nobody closes. */
  async #request(options) {
    if (this.closed) throw new Error('the session is closed');
    return request(this.target(), { ...options, agent: this.agent });
  }

  /** The packets of one GET. */
  async poll() {
    const { status, body } = await this.get();
    if (status !== 200) throw new Error(`a poll was answered ${status}: ${body}`);
    if (!this.jsonp) return this.payload.decode(body);
    // As the page would run it.
    let text;
    runInNewContext(body, { ___eio: { [SCRIPT]: (data) => { text = data; } } });
    if (text === undefined) throw new Error(`not the script that was asked for: ${body}`);
    return this.payload.decode(text);
  }

  async send(...packets) {
    const { status, body } = await this.post(packets);
    // Node answers "ok", Python "OK"; a form shows it to nobody.
    if (status !== 200 || body.toLowerCase() !== 'ok') throw new Error(`a POST was answered ${status}: ${body}`);
  }

  /** Polls until it is closed, and answers heartbeats. */
  listen() {
    this.listening = (async () => {
      while (!this.closed) {
        for (const packet of await this.poll()) {
          if (packet === '2') await this.send('3');
          else this.packets.push(packet);
        }
      }
    })();
    this.listening.catch((error) => { this.problem ??= error; });
  }

  /** Takes the first packet that came and that `wanted` says yes to. */
  async take(what, wanted) {
    return until(what, () => {
      const at = this.packets.findIndex(wanted);
      if (at >= 0) return this.packets.splice(at, 1)[0];
      if (this.problem) throw this.problem;
      return false;
    });
  }

  /** Waits for an event of the instance; its arguments. */
  async event(name) {
    const packet = await this.take(`the event ${name}`, (packet) => packet.startsWith(`42["${name}"`));
    return JSON.parse(packet.slice(2)).slice(1);
  }

  /** Emits and waits for the acknowledgement; one argument, which may be binary, comes back. */
  async ask(name, ...args) {
    this.asked = (this.asked ?? 0) + 1;
    const id = this.asked;
    const [bytes] = args;
    if (Buffer.isBuffer(bytes)) {
      await this.send(`451-${id}["${name}",{"_placeholder":true,"num":0}]`, this.payload.binary(bytes));
      await this.take(`the answer to ${name}`, (packet) => packet.startsWith(`461-${id}[`));
      return this.payload.bytes(await this.take('its attachment', (packet) => this.payload.bytes(packet)));
    }
    await this.send(`42${id}${JSON.stringify([name, ...args])}`);
    const packet = await this.take(`the answer to ${name}`, (packet) => packet.startsWith(`43${id}[`));
    return JSON.parse(packet.slice(packet.indexOf('[')))[0];
  }

  close() {
    this.closed = true;
    this.agent.destroy();
  }
}
