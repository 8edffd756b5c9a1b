// Rooms reach over both instances: what is said to one is heard on the other, once.

import { UNKNOWN_SESSION, assertSpread, chat, crowd } from '../support/site.mjs';

const room = (kinds, mustFail) => ({
  name: `a room of ${kinds.join(', ')} clients on both instances: everybody hears everything exactly once`,
  mustFail,

  async run({ url }) {
    const clients = await crowd(url, kinds, 6);
    assertSpread(clients);
    await chat(clients, 'room');
  },
});

export const rooms = [
  room(['websocket'], {}),
  room(['websocket', 'polling with cookies', 'upgrading with cookies'], { none: UNKNOWN_SESSION }),
  room(['websocket', 'polling', 'upgrading'], { cookie: UNKNOWN_SESSION, none: UNKNOWN_SESSION }),
];
