// One Socket.IO instance that can be made to fail in every way. It stands alone, and says who it is in every answer
// (`x-instance`). What it is to do comes to its CONTROL port: `/unwell`, `/reset`, `/deaf`, `/late?3000`, `/busy?3000`.

import { createServer } from 'node:http';
import { Server } from 'socket.io';

const { NAME, HOST, PORT, CONTROL, LISTEN_FD, PING_INTERVAL, PING_TIMEOUT, SAY_EVERY, HANDSHAKE_MS, MESSAGE_MS } = process.env;

const state = { well: true, resets: false, late: 0 };
const sockets = new Set();
/** Of sessions that ended: when, and when each was told something (`SAY_EVERY`), in milliseconds since the epoch. */
const ended = [];

const clock = new Int32Array(new SharedArrayBuffer(4));
/** Does nothing else for so long, without a CPU of the machine: others share it. */
const work = (ms) => ms > 0 && Atomics.wait(clock, 0, 0, ms);

const http = createServer((request, response) => {
  response.setHeader('x-instance', NAME);
  if (request.url === '/health') {
    response.writeHead(state.well ? 200 : 500).end(state.well ? 'well' : 'Redis is away');
  } else if (request.url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(`data: ${NAME}\n\n`);
    const comments = setInterval(() => response.write(': still here\n\n'), 15_000);
    response.once('close', () => clearInterval(comments));
  } else {
    response.writeHead(404).end();
  }
});
http.on('connection', (socket) => {
  if (state.resets) return socket.resetAndDestroy();
  sockets.add(socket);
  return socket.once('close', () => sockets.delete(socket));
});

const io = new Server(http, {
  ...(PING_INTERVAL && { pingInterval: Number(PING_INTERVAL) }),
  ...(PING_TIMEOUT && { pingTimeout: Number(PING_TIMEOUT) }),
  allowRequest: (request, decide) => {
    // What the application does for every session that begins: tokens, look-ups, rendering of a first state.
    if (!/[?&]sid=/.test(request.url)) work(Number(HANDSHAKE_MS ?? 0));
    decide(null, true);
  },
});
const name = (headers) => { headers['x-instance'] = NAME; };
io.engine.on('initial_headers', name);
io.engine.on('headers', name);
io.engine.on('connection', (session) => {
  const said = [];
  const speaking = SAY_EVERY && setInterval(() => {
    session.send('2["tick"]');
    said.push(Date.now());
  }, Number(SAY_EVERY));
  session.on('close', () => {
    clearInterval(speaking);
    ended.push({ at: Date.now(), said });
  });
});
io.on('connection', (socket) => {
  socket.emit('hello', NAME);
  socket.on('echo', (...args) => {
    work(Number(MESSAGE_MS ?? 0));
    setTimeout(() => args.pop()(...args), state.late);
  });
});

// In front of all listeners, Socket.IO's too.
const { emit } = http;
http.emit = (event, ...args) => {
  if (state.late === 0 || !['request', 'upgrade'].includes(event)) return emit.call(http, event, ...args);
  return setTimeout(() => emit.call(http, event, ...args), state.late);
};

const orders = {
  '/unwell': () => { state.well = false; },
  '/reset': () => {
    state.resets = true;
    for (const socket of sockets) socket.resetAndDestroy();
  },
  // The next descriptor is the same listening socket, so the kernel goes on queueing connections that nobody will ever accept.
  '/deaf': () => http.close(),
  '/late': (ms) => { state.late = ms; },
  '/busy': (ms) => {
    const again = () => {
      work(ms);
      setImmediate(again);
    };
    setTimeout(again);
  },
};
if (CONTROL) {
  createServer((request, response) => {
    const [path, argument] = request.url.split('?');
    const answer = { sessions: io.engine.clientsCount, ended };
    // Answered first: what follows may make it unable to.
    response.end(JSON.stringify(answer), () => orders[path]?.(Number(argument)));
  }).listen(Number(CONTROL), '127.0.0.1');
}

// As many wait to be accepted as by default elsewhere; without a descriptor it listens by itself.
const says = () => console.log(`instance ${NAME} on port ${PORT}`);
if (LISTEN_FD) http.listen({ fd: Number(LISTEN_FD) }, 16, says);
else http.listen(Number(PORT), HOST ?? '127.0.0.1', says);
