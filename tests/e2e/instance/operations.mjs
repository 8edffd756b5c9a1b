// An instance of Node that does to rooms what a client of the namespace `/operations` tells it: the counterpart of
// `operations.rs`. `NAME`, `PORT` and `REDIS` come from the environment.

import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const { NAME, PORT, REDIS } = process.env;
const http = createServer((request, response) => response.writeHead(404).end());

const publisher = createClient({ url: REDIS });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) client.on('error', (error) => console.error('redis:', error.message));
await Promise.all([publisher.connect(), subscriber.connect()]);

const io = new Server(http, { adapter: createAdapter(publisher, subscriber, { requestsTimeout: 2_000 }), pingTimeout: 20_000 });

for (const name of ['/', '/chat', '/zwölf']) {
  io.of(name).on('connection', (socket) => {
    socket.data.userId = socket.handshake.auth.userId;
    socket.on('join', async (room, answer) => {
      await socket.join(room);
      answer({ ok: true });
    });
    socket.on('who', (answer) => answer({ id: NAME, transport: socket.conn.transport.name, userId: socket.data.userId }));
  });
}

/** Who is meant: `nsp`, `to`, `except`, `volatile`, and `from`, the user whose socket says it. */
function target({ nsp, to = [], except = [], volatile = false, from }) {
  const namespace = io.of(nsp);
  let chosen = namespace;
  if (from) chosen = [...namespace.sockets.values()].find(({ data }) => data.userId === from).broadcast;
  if (to.length > 0) chosen = chosen.to(to);
  if (except.length > 0) chosen = chosen.except(except);
  return volatile ? chosen.volatile : chosen;
}

const DEEDS = {
  emit: (who, { event, args }) => { who.emit(event, ...args); },
  // With some clients that did not answer the others' answers come with the error.
  ask: (who, { event, args }) => new Promise((resolve) => {
    who.timeout(2_000).emit(event, ...args, (error, answers) => resolve(error ? [...answers, error.message] : answers));
  }),
  join: (who, { rooms }) => { who.socketsJoin(rooms); },
  leave: (who, { rooms }) => { who.socketsLeave(rooms); },
  disconnect: (who) => { who.disconnectSockets(); },
  fetch: async (who) => (await who.fetchSockets()).map(({ id, rooms, data }) => ({ id, rooms: [...rooms], data })),
  rooms: async (who, { nsp }) => [...await io.of(nsp).adapter.allRooms()],
  count: (who, { nsp }) => io.of(nsp).adapter.serverCount(),
};

io.of('/operations').on('connection', (socket) => {
  socket.on('operate', async (told, answer) => {
    try {
      answer(await DEEDS[told.do](target(told), told) ?? 'done');
    } catch (error) {
      answer({ error: error.message });
    }
  });
});

http.listen(Number(PORT), '127.0.0.1', () => console.log(`instance ${NAME} on port ${PORT}`));
