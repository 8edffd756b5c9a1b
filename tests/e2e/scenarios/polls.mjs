// What happens between a client and its instance while it polls: cut polls, two at once, sessions that end and begin again.

import assert from 'node:assert/strict';
import { until } from '../support/processes.mjs';
import { RawSession } from '../support/raw.mjs';
import { UNKNOWN_SESSION, addresses, crowd } from '../support/site.mjs';

const NEEDS = { needs: ['sid', 'ip_hash'], otherwise: UNKNOWN_SESSION };

// Odd: where turns decide, an even number in step would each have the same turn again and again, and stay by chance.
const SESSIONS = 7;

export const polls = [
  {
    name: 'a poll that is cut off is cut off at the instance too, which ends the session',
    ...NEEDS,

    run: ({ url, cluster }) => Promise.all(addresses(SESSIONS).map(async (address) => {
      const session = await begin(url, { address });
      for (let cut = false; !cut;) {
        const scissors = new AbortController();
        const { answer } = await park(cluster, session, scissors.signal);
        scissors.abort();
        // Unless a heartbeat was quicker.
        cut = await answer.then(() => session.send('3').then(() => false), () => true);
      }
      await until('the instance ended the session', async () => session.sid in (await cluster.sessions(session.instance)).closed);
      const { closed } = await cluster.sessions(session.instance);
      assert.equal(closed[session.sid], 'transport error', 'and not because a heartbeat is missing');
    })),
  },
  {
    name: 'two polls of one session at once: the instance ends it, and both clients get what it answered',
    ...NEEDS,

    run: ({ url, cluster }) => Promise.all(addresses(SESSIONS).map(async (address) => {
      const session = await begin(url, { address });
      const home = cluster.instances.find(({ name }) => name === session.instance);
      const direct = await overlap(cluster, await begin(`http://127.0.0.1:${home.port}`));
      assert.deepEqual(direct.map(({ status }) => status), [400, 200], 'an instance by itself');
      assert.deepEqual(await overlap(cluster, session), direct);
      assert.match((await session.get()).body, UNKNOWN_SESSION);
    })),
  },
  {
    name: 'clients whose instance hung up are back, with a new session, where their address belongs',
    ...NEEDS,

    async run({ url, by }) {
      const kinds = ['websocket', 'polling', 'upgrading', 'polling with cookies', 'version 2 polling', 'version 2 upgrading'];
      const clients = await crowd(url, kinds, 2, { reconnection: true });
      await Promise.all(clients.map(async (client) => {
        const { sid } = client;
        client.socket.emit('hang-up');
        await client.until('it is hung up on', () => client.losses.length > 0);
        await client.settled(by.includes('ip_hash') ? client.home : undefined);
        assert.deepEqual(client.losses.length, 1);
        assert.notEqual(client.sid, sid);
      }));
    },
  },
];

/** A session that has had its hello, and nobody polls. */
async function begin(url, options) {
  const session = new RawSession(url, options);
  await session.open();
  while (!session.instance) {
    const hello = (await session.poll()).find((packet) => packet.startsWith('42["hello"'));
    if (hello) session.instance = JSON.parse(hello.slice(2))[1];
  }
  return session;
}

/** A poll that the instance holds, as `{ answer }`; one that a heartbeat ended before that was seen is followed by another. */
async function park(cluster, session, signal) {
  for (;;) {
    const answer = session.get(signal);
    let ended = false;
    answer.then(() => { ended = true; }, () => {});
    const held = async () => (await cluster.sessions(session.instance)).parked.includes(session.sid);
    if (await until('the instance holds the poll', async () => (ended ? 'not' : await held() && 'held')) === 'held') return { answer };
    await session.send('3');
  }
}

/** What two polls at once are answered, the second first: `[{ status, body }]`. */
async function overlap(cluster, session) {
  // A heartbeat may come between them.
  const answered = async (answer) => {
    const { status, body } = await answer;
    if (body === '2') await session.send('3');
    return { status, body };
  };
  for (;;) {
    const first = answered((await park(cluster, session)).answer);
    const answers = await Promise.all([answered(session.get()), first]);
    if (!answers.some(({ body }) => body === '2')) return answers;
  }
}
