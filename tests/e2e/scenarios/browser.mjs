// Two people with real browsers on two instances talk to each other: default transports, real cookies.

import assert from 'node:assert/strict';
import { Person } from '../support/chromium.mjs';
import { UNKNOWN_SESSION, address } from '../support/site.mjs';

export const browser = [
  {
    name: 'Chromium: the page polls, upgrades, chats across instances, survives a reload and the death of its instance',
    mustFail: { none: UNKNOWN_SESSION },
    // Its WebSocket handshakes cannot pretend an address, so everybody would be on one instance.
    not: ['ip_hash'],

    async run({ url, cluster, label }) {
      const people = [];
      try {
        const [anna, bert] = await apart(url, people);
        for (const person of [anna, bert]) await person.shows({ first: 'polling', transport: 'websocket', problems: '' });
        const [annas, berts] = [await anna.read('instance'), await bert.read('instance')];

        await anna.say('Hello from Anna');
        await bert.hears('Hello from Anna');
        await bert.say('Hello from Bert');
        const lines = [`Hello from Anna by way of ${annas}`, `Hello from Bert by way of ${berts}`];
        await anna.hears('Hello from Bert');
        assert.deepEqual(await heard(anna, 'Hello from Bert'), lines);
        assert.deepEqual(await heard(bert, 'Hello from Bert'), lines);
        await anna.screenshot(`${label}-1-chat`);

        await anna.page.reload();
        await anna.shows({ instance: annas, first: 'polling', transport: 'websocket', connections: '1', problems: '' });

        await cluster.killInstance(annas);
        await anna.shows({ instance: berts, transport: 'websocket', connections: '2' });
        await anna.say('Still here');
        assert.deepEqual(await heard(bert, 'Still here'), [...lines, `Still here by way of ${berts}`]);
        assert.equal(await bert.read('connections'), '1');
        assert.equal(await bert.read('problems'), '');
        await anna.screenshot(`${label}-2-after-the-death-of-an-instance`);

        await cluster.startInstance(annas);
        await anna.say('And again');
        await bert.hears('And again');
      } catch (error) {
        await Promise.all(people.map((person, n) => person.screenshot(`${label}-problem-${n}`)));
        throw error;
      } finally {
        await Promise.all(people.map((person) => person.close()));
      }
    },
  },
];

/** Opens pages until two are on different instances; the others leave. */
async function apart(url, people) {
  for (let n = 1; n <= 12; n += 1) {
    const person = await Person.open(url, address(n));
    people.push(person);
    await person.connected();
    const first = people[0];
    if (await person.read('instance') !== await first.read('instance')) return [first, person];
  }
  throw new Error('12 pages are all on one instance');
}

/** The messages that a person sees once `last` is among them. */
async function heard(person, last) {
  return (await person.hears(last)).map((line) => line.replace(/\s+/g, ' '));
}
