// Clients that stay while instances are replaced under them, and remember all of it: where they were, what they lost, how soon
// they were back. As many as one process can carry; `riders-process.mjs` runs them in processes of their own.

import { io } from 'socket.io-client';
import { pause } from './processes.mjs';
import { address } from './site.mjs';

/** In turn: of ten, one polls only, four or five begin with the WebSocket, as many poll first; every second one keeps its cookie. */
const MIX = ['websocket', 'upgrading', 'websocket', 'upgrading', 'polling', 'upgrading', 'websocket', 'upgrading', 'websocket', 'upgrading'];
const TRANSPORTS = { websocket: ['websocket'], polling: ['polling'], upgrading: ['polling', 'websocket'] };

/** From one message to the next of the same client, in milliseconds: the least, and the most. */
const SPEAKS = [5_000, 9_000];
/** What was not answered for so long, while connected all the time, is lost. */
const PATIENCE = 15_000;
/** So many connect at a time. */
const AT_ONCE = 24;

const now = () => Date.now();

class Rider {
  /** `[{ instance, at }]`, one for each connection. */
  stays = [];
  /** `[{ lost, reason, tried, back }]`: the moments when service was lost, when it tried for the first time to come back, and when it was. */
  outages = [];
  /** `[{ at, reason }]`: attempts to connect, and upgrades, that failed. */
  failures = [];
  /** Messages there and back: `cut` are those whose connection ended meanwhile. */
  messages = { sent: 0, answered: 0, cut: 0, lost: 0, doubled: 0 };
  /** The longest answer, in milliseconds. */
  slowest = 0;

  #outstanding = new Map();
  #number = 0;
  #headers;
  #jar = null;
  #closedAt = null;

  constructor(url, n) {
    this.n = n;
    this.kind = MIX[n % MIX.length];
    this.cookies = (n / MIX.length | 0) % 2 === 1;
    this.#headers = { 'x-forwarded-for': address(n) };
    this.socket = io(url, {
      forceNew: true, timeout: 20_000, transports: TRANSPORTS[this.kind], withCredentials: this.cookies, extraHeaders: this.#headers,
    });
    const manager = this.socket.io;
    this.#watchHandshake();
    this.arrived = new Promise((resolve) => this.socket.once('hello', resolve));
    this.socket.on('hello', (instance) => {
      const at = now();
      this.stays.push({ instance, at });
      const outage = this.outages.at(-1);
      if (outage && !outage.back) outage.back = at;
    });
    this.socket.on('connect_error', (error) => this.failures.push({ at: now(), reason: reasonOf(error) }));
    this.socket.on('disconnect', (reason) => {
      if (this.left) return;
      this.outages.push({ lost: this.#closedAt ?? now(), reason, tried: null, back: null });
      this.#closedAt = null;
      this.messages.cut += this.#outstanding.size;
      this.#outstanding.clear();
    });
    this.socket.on('sent-back', (number) => this.#answered(`back ${number}`));
    manager.on('open', () => this.#opened(manager.engine));
    manager.on('reconnect_attempt', () => {
      const outage = this.outages.at(-1);
      if (outage) outage.tried ??= now();
      // As a browser: what it was given counts for all its connections.
      if (this.#jar) this.#headers.cookie = this.#jar;
      process.nextTick(() => this.#watchHandshake());
    });
  }

  /** Says something, of which an acknowledgement comes back, and asks for a message of the instance's own. */
  speak() {
    const late = now() - PATIENCE;
    for (const [key, sent] of this.#outstanding) {
      if (sent > late) continue;
      this.messages.lost += 1;
      this.#outstanding.delete(key);
    }
    if (!this.socket.connected || this.left) return;
    this.#number += 1;
    const number = this.#number;
    for (const key of [`there ${number}`, `back ${number}`]) this.#outstanding.set(key, now());
    this.messages.sent += 2;
    this.socket.emit('echo', number, () => this.#answered(`there ${number}`));
    this.socket.emit('send-back', number);
  }

  report() {
    const { n, kind, cookies, stays, outages, failures, messages, slowest } = this;
    return { n, kind, cookies, stays, outages, failures, messages: { ...messages, open: this.#outstanding.size }, slowest, connected: this.socket.connected, transport: this.socket.io.engine?.transport?.name };
  }

  close() {
    this.left = true;
    this.socket.disconnect();
  }

  #answered(key) {
    const sent = this.#outstanding.get(key);
    if (!this.#outstanding.delete(key)) {
      this.messages.doubled += 1;
      return;
    }
    this.messages.answered += 1;
    this.slowest = Math.max(this.slowest, now() - sent);
  }

  #opened(engine) {
    // No public name, and the only way to keep it over connections.
    const given = [...(engine._cookieJar?.cookies ?? [])].map(([name, { value }]) => `${name}=${value}`).join('; ');
    if (given) {
      this.#jar = given;
      delete this.#headers.cookie; // The rest of this connection has it from there.
    }
    engine.on('upgradeError', (error) => this.failures.push({ at: now(), reason: `upgrade: ${reasonOf(error)}` }));
    engine.on('upgrade', (transport) => this.#watchClose(transport.ws));
    this.#watchClose(engine.transport.ws);
  }

  /** A cookie that comes with the 101. */
  #watchHandshake() {
    if (!this.cookies || this.kind !== 'websocket') return;
    this.socket.io.engine?.transport?.ws?.once('upgrade', ({ headers }) => {
      const [given] = headers['set-cookie'] ?? [];
      if (given) [this.#jar] = given.split(';');
    });
  }

  /** Service ends with the Close frame; the library only says so once TCP has ended too. */
  #watchClose(ws) {
    ws?._receiver?.once('conclude', () => { this.#closedAt = now(); });
  }
}

function reasonOf(error) {
  const { message, description, context } = error;
  return [message, description?.message ?? description, context?.responseText].filter((part) => ['string', 'number'].includes(typeof part) && part !== '').join(', ');
}

export class Riders {
  #url;
  #all = [];
  #timers = new Set();
  #next;
  #step;
  #speaks;

  /** @param {object} options `first`, `step`: their numbers, and addresses: first, first + step, ...; `speaks`: how often */
  constructor(url, { first = 1, step = 1, speaks = SPEAKS } = {}) {
    this.#url = url;
    this.#speaks = speaks;
    this.#next = first;
    this.#step = step;
  }

  /** Connects so many, and lets them speak. */
  async connect(count) {
    let left = count;
    const one = async () => {
      while (left > 0) {
        left -= 1;
        await this.#add().arrived;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  }

  /** From now on another one comes every so many milliseconds. */
  arrive(every) {
    this.arrivals = setInterval(() => this.#add(), every);
  }

  noMore() {
    clearInterval(this.arrivals);
  }

  /** Nobody says anything from now on; what was said is answered, or lost. */
  async hush() {
    for (const timer of this.#timers) clearInterval(timer);
    const end = now() + PATIENCE;
    while (now() < end && this.reports().some(({ messages }) => messages.open > 0)) await pause(50);
  }

  /** How many have no connection, or never had. */
  away() {
    return this.#all.filter(({ socket, stays, outages }) => !socket.connected || stays.length === 0 || (outages.length > 0 && !outages.at(-1).back)).length;
  }

  reports() {
    return this.#all.map((rider) => rider.report());
  }

  close() {
    this.noMore();
    for (const timer of this.#timers) clearInterval(timer);
    this.#all.forEach((rider) => rider.close());
  }

  #add() {
    const rider = new Rider(this.#url, this.#next);
    this.#next += this.#step;
    this.#all.push(rider);
    const [least, most] = this.#speaks;
    this.#timers.add(setInterval(() => rider.speak(), least + Math.random() * (most - least)));
    return rider;
  }
}
