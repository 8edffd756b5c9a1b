// socket.io-client as an application uses it, with a memory of what happened to it.

import { createRequire } from 'node:module';
import { io } from 'socket.io-client';
import { until } from './processes.mjs';
import { atEnd } from './scope.mjs';

const require = createRequire(import.meta.url);
const VERSIONS = { 4: io, 2: require('socket.io-client-2') };

/** The ways in which real clients come: what the table of outcomes in `scenarios/` is about. */
export const KINDS = {
  websocket: { transports: ['websocket'] },
  polling: { transports: ['polling'] },
  // The library's own default: it polls first.
  upgrading: {},
  'polling with cookies': { transports: ['polling'], withCredentials: true },
  'upgrading with cookies': { withCredentials: true },
  // From another address with each request, as behind a changing carrier or a pool of proxies.
  'roaming polling': { transports: ['polling'], roaming: true },
  'roaming upgrading': { roaming: true },
  'version 2 websocket': { version: 2, transports: ['websocket'] },
  'version 2 polling': { version: 2, transports: ['polling'] },
  'version 2 upgrading': { version: 2 },
};

/** The transport that a client of this kind ends on. */
export const lastTransport = (kind) => KINDS[kind].transports?.at(-1) ?? 'websocket';

/** Which keys keep a client of this kind at its instance: any one of them is enough; `undefined` when it needs none. */
export function keeps(kind) {
  const { transports, withCredentials, roaming } = KINDS[kind];
  if (transports?.[0] === 'websocket') return undefined;
  return ['sid', ...(withCredentials ? ['cookie'] : []), ...(roaming ? [] : ['ip_hash'])];
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
   * @param {2 | 4} [options.version] of the library
   * @param {string} [options.address] the address it pretends to have; the proxy trusts 127.0.0.1's word on it
   * @param {boolean} [options.roaming] it has another address with each request
   * @param {string} [options.thenBy] the URL of another proxy, for everything after the handshake
   * @param {string} [options.cookie] kept from an earlier connection: each connection of a Node client has a new jar
   */
  static async connect(url, { reconnection = false, ...options }) {
    const client = new Client(url, { reconnection, ...options });
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
  #forget;

  constructor(url, { version = 4, address, roaming, cookie, thenBy, reconnection, ...options }) {
    const extraHeaders = headers(address, roaming, cookie);
    this.socket = VERSIONS[version](url, { forceNew: true, reconnection, timeout: 20_000, extraHeaders, ...options });
    this.#forget = atEnd(() => this.close());
    if (thenBy) this.socket.io.engine.once('handshake', () => this.goBy(thenBy));

    this.#hello = new Promise((resolve) => {
      this.socket.on('hello', (instance) => {
        this.instance = instance;
        this.home ??= instance;
        resolve();
      });
    });
    this.#lost = new Promise((_, reject) => {
      // Version 2 tells the status here only.
      let error;
      this.socket.io.on('error', (reason) => { error = reason; });
      const lose = (what) => (reason, details = error) => {
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
    return this.#ask(20_000, event, args);
  }

  #ask(within, event, args) {
    return this.#or(new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer to ${event}`)), within);
      this.socket.emit(event, ...args, (...answer) => {
        clearTimeout(late);
        resolve(answer.length > 1 ? answer : answer[0]);
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
    await until('a client is back', async () => {
      if (!this.socket.connected) throw new Error(this.losses.at(-1));
      const now = await this.#ask(2_000, 'whoami', []);
      return !instance || now.instance === instance;
    }, { within: 30_000 });
  }

  /** Waits until `check` holds for this client. */
  until(what, check) {
    return this.#or(until(what, check));
  }

  /** Waits for the WebSocket; a failed upgrade is silent, the session stays on polling. */
  async upgraded() {
    await this.until('the session upgrades to WebSocket', () => this.transport === 'websocket');
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** The Engine.IO session. */
  get sid() {
    return this.socket.io.engine.id;
  }

  /** What the jar of this connection holds, as a `Cookie` header. */
  get cookies() {
    const jar = this.socket.io.engine._cookieJar; // No public name, and the only way to keep it over connections.
    return [...(jar?.cookies ?? [])].map(([name, { value }]) => `${name}=${value}`).join('; ');
  }

  /** Sends what comes next to another proxy: its polls, its upgrade. */
  goBy(url) {
    const { hostname, port } = new URL(url);
    const { engine } = this.socket.io;
    for (const { opts } of [engine, engine.transport]) Object.assign(opts, { hostname, port });
  }

  close() {
    this.closed = true;
    this.#forget?.();
    this.socket.disconnect();
  }

  #or(wanted) {
    return Promise.race([wanted, this.#lost]);
  }
}

let walked = 0;

function headers(address, roaming, cookie) {
  const fields = {};
  if (roaming) {
    // Read anew for each request.
    const get = () => {
      walked += 1;
      return `10.${64 + ((walked >> 16) & 63)}.${(walked >> 8) & 255}.${walked & 255}`;
    };
    Object.defineProperty(fields, 'x-forwarded-for', { get, enumerable: true });
  } else if (address) fields['x-forwarded-for'] = address;
  if (cookie) fields.cookie = cookie;
  return fields;
}

/** What went wrong in one line: the library's words, the HTTP status, what the answer's body said. */
function explain(what, reason, details) {
  const error = reason instanceof Error ? reason : details;
  const { description: status, context: request } = error ?? {};
  const words = [reason?.message ?? reason, error?.message, status?.message ?? status, request?.responseText, request?.statusText?.message];
  return `${what}: ${[...new Set(words.filter((word) => ['string', 'number'].includes(typeof word) && word !== ''))].join(', ')}`;
}
