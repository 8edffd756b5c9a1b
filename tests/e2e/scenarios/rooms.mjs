// Rooms reach over both instances: what is said to one is heard on the other, once.

import { UNKNOWN_SESSION, chat, crowd } from '../support/site.mjs';

const room = (kinds, needs) => ({
  name: `a room of ${kinds.join(', ')} clients on both instances: everybody hears everything exactly once`,
  needs,
  otherwise: UNKNOWN_SESSION,

  async run({ url }) {
    const clients = await crowd(url, kinds, 6);
    await chat(clients);
  },
});

export const rooms = [
  room(['websocket'], undefined),
  room(['websocket', 'polling with cookies', 'upgrading with cookies'], ['sid', 'cookie', 'ip_hash']),
  room(['websocket', 'polling', 'upgrading', 'version 2 websocket', 'version 2 polling', 'version 2 upgrading'], ['sid', 'ip_hash']),
  room(['websocket', 'roaming polling', 'roaming upgrading'], ['sid']),
];
