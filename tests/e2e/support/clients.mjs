// socket.io-client as an application uses it, with a memory of what happened to it.

import { io } from 'socket.io-client';
import { until } from './processes.mjs';

/** The ways in which real clients come: what the table of outcomes in `scenarios/` is about. */
export const KINDS = {
  websocket: { transports: ['websocket'] },
  polling: { transports: ['polling'] },
  upgrading: { transports: ['polling', 'websocket'] },
  'polling with cookies': { transports: ['polling'], withCredentials: true },
  'upgrading with cookies': { transports: ['polling', 'websocket'], withCredentials: true },
};

const open = new Set();

/** Closes every client that a scenario left open, also after it failed. */
export function closeClients() {
  for (const client of open) client.close();
}

/**
 * One client. Without `reconnection` the first thing that goes wrong rejects whatever it is waiting for, with the
 * instance's own words in the message; with it, it comes back by itself once it was connected, and `losses` tells how
 * often it had to.
 */
export class Client {
  /** Every `said` of a room, in order of arrival. */
  said = [];
  /** Reasons of lost connections and of failed attempts. */
  losses = [];
  /** The instance it started on, and the one it is on now. */
  home = null;
  instance = null;
  rooms = new Set();

  /**
   * @param {string} url of the proxy
   * @param {object} options of socket.io-client (see `KINDS`), and
   * @param {string} [options.address] the address it pretends to have; the proxy trusts 127.0.0.1's word on it
   * @param {string} [options.cookie] kept from an earlier connection: each connection of a Node client has a new jar
   */
  static async connect(url, { address, cookie, reconnection = false, ...options }) {
    const client = new Client(url, { address, cookie, reconnection, ...options });
    try {
      await client.#or(client.#hello);
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  #hello;
  #lost;

  constructor(url, { address, cookie, reconnection, ...options }) {
    const extraHeaders = {};
    if (address) extraHeaders['x-forwarded-for'] = address;
    if (cookie) extraHeaders.cookie = cookie;
    this.socket = io(url, { forceNew: true, reconnection, timeout: 10_000, extraHeaders, ...options });
    open.add(this);

    this.#hello = new Promise((resolve) => {
      this.socket.on('hello', (instance) => {
        this.instance = instance;
        this.home ??= instance;
        resolve();
      });
    });
    this.#lost = new Promise((_, reject) => {
      const lose = (what) => (reason, details) => {
        if (this.closed) return;
        this.losses.push(explain(what, reason, details));
        if (!reconnection || !this.home) reject(new Error(this.losses.at(-1)));
      };
      this.socket.on('connect_error', lose('cannot connect'));
      this.socket.on('disconnect', lose('disconnected'));
    });
    this.#lost.catch(() => {}); // It is looked at when somebody waits.
    this.socket.on('said', (message) => this.said.push(message));
    // Rooms belong to a connection; a new one joins again, as every application does.
    this.socket.on('connect', () => {
      for (const room of this.rooms) this.socket.emit('join', room, () => {});
    });
  }

  /** Emits and waits for the instance's acknowledgement; its arguments come back as one value. */
  ask(event, ...args) {
    return this.#ask(10_000, event, args);
  }

  #ask(within, event, args) {
    return this.#or(new Promise((resolve, reject) => {
      this.socket.timeout(within).emit(event, ...args, (error, ...answer) => {
        if (error) reject(new Error(`no answer to ${event}`));
        else resolve(answer.length > 1 ? answer : answer[0]);
      });
    }));
  }

  /** Waits for an event that the instance emits. */
  next(event) {
    return this.#or(new Promise((resolve) => this.socket.once(event, (...args) => resolve(args))));
  }

  async join(room) {
    this.rooms.add(room);
    return this.ask('join', room);
  }

  say(room, text) {
    this.socket.emit('say', room, text);
  }

  /** Waits until it is connected and answered, on `instance` if one is named. What it emitted into a dying connection is lost. */
  async settled(instance) {
    await until(`a ${this.transport} client is back`, async () => {
      if (!this.socket.connected) throw new Error(this.losses.at(-1));
      const now = await this.#ask(1_000, 'whoami', []);
      return !instance || now.instance === instance;
    }, { within: 30_000 });
  }

  /** Waits until `check` holds for this client. */
  until(what, check) {
    return this.#or(until(what, check));
  }

  /** Waits for the WebSocket; a failed upgrade is silent, the session stays on polling. */
  async upgraded() {
    await this.until('the session upgrades to WebSocket', () => this.socket.io.engine.transport.name === 'websocket');
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** What the jar of this connection holds, as a `Cookie` header. */
  get cookies() {
    const jar = this.socket.io.engine._cookieJar; // No public name, and the only way to keep it over connections.
    return [...(jar?.cookies ?? [])].map(([name, { value }]) => `${name}=${value}`).join('; ');
  }

  close() {
    this.closed = true;
    open.delete(this);
    this.socket.disconnect();
  }

  #or(wanted) {
    return Promise.race([wanted, this.#lost]);
  }
}

/** What went wrong in one line: the library's words, the HTTP status, what the answer's body said. */
function explain(what, reason, details) {
  const error = reason instanceof Error ? reason : details;
  const { description: status, context: request } = error ?? {};
  const words = [reason?.message ?? reason, error?.message, status?.message ?? status, request?.responseText, request?.statusText?.message];
  return `${what}: ${[...new Set(words.filter((word) => ['string', 'number'].includes(typeof word) && word !== ''))].join(', ')}`;
}
