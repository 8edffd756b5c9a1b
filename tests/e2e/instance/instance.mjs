// One Socket.IO instance, as an application would run it: Redis adapter, default transports, compression on.
// It tells its NAME to whoever asks; the rest is what the scenarios need.

import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const { NAME, PORT, REDIS, PING_INTERVAL = '1000' } = process.env;
const page = readFileSync(new URL('./page.html', import.meta.url));

const http = createServer((request, response) => {
  if (request.url === '/') {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'x-instance': NAME }).end(page);
  } else if (request.url === '/sessions') {
    // For the scenarios, which ask here without the proxy: what this instance knows that a client cannot see.
    const parked = Object.values(io.engine.clients).filter(({ transport }) => transport.name === 'polling' && transport.writable);
    response.writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ open: io.engine.clientsCount, parked: parked.map(({ id }) => id), closed: Object.fromEntries(closed) }));
  } else {
    response.writeHead(404).end();
  }
});

const publisher = createClient({ url: REDIS });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) client.on('error', (error) => console.error('redis:', error.message));
await Promise.all([publisher.connect(), subscriber.connect()]);

const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  // Short, so that heartbeats cross the proxy while a scenario idles.
  pingInterval: Number(PING_INTERVAL),
  // Long: machines that run tests are busy.
  pingTimeout: 20_000,
  // Large messages use a reserved bit of the frame header, which a proxy must leave alone.
  perMessageDeflate: { threshold: 1_024 },
  // Clients of version 2, and pages of any other origin.
  allowEIO3: true,
  cors: { origin: true, credentials: true },
});

/** Why each session ended, by its sid. */
const closed = new Map();
io.engine.on('connection', (session) => session.on('close', (reason) => closed.set(session.id, reason)));

io.on('connection', (socket) => {
  let kept;
  socket.emit('hello', NAME);
  socket.on('whoami', (answer) => answer({
    instance: NAME,
    transport: socket.conn.transport.name,
    protocol: socket.conn.protocol,
    forwardedFor: socket.handshake.headers['x-forwarded-for'] ?? null,
    cookie: socket.handshake.headers.cookie ?? null,
  }));
  socket.on('hang-up', () => socket.conn.close());
  socket.on('heartbeats', (count, answer) => {
    let left = count;
    const beat = () => {
      left -= 1;
      if (left > 0) return;
      socket.conn.off('heartbeat', beat);
      answer(count);
    };
    socket.conn.on('heartbeat', beat);
  });
  socket.on('echo', (...args) => args.pop()(...args));
  // For a client that cannot have binary acknowledged.
  socket.on('keep', (bytes) => { kept = bytes; });
  socket.on('kept', (answer) => answer(kept.toString('hex')));
  socket.on('send-back', (...args) => socket.emit('sent-back', ...args));
  socket.on('join', async (room, answer) => {
    await socket.join(room);
    answer(NAME);
  });
  socket.on('say', (room, text) => io.to(room).emit('said', { room, text, instance: NAME }));
});

http.listen(Number(PORT), '127.0.0.1', () => console.log(`instance ${NAME} on port ${PORT}`));
