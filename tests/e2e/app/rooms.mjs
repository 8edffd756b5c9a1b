// Every operation on rooms, said by one kind of instance and heard by clients of both, each exactly once.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';
import { pause, until } from '../support/processes.mjs';
import { atEnd, scoped } from '../support/scope.mjs';
import { Client, startApp, startInstance, startRedis } from './instances.mjs';

/** What a client can be sent: text beyond ASCII, numbers, nothing, and bytes at several depths. */
const EVERYTHING = ['Grüße, 世界 🦀', 0, -1, 1.5, 2 ** 40, true, null, [], {}, { deep: [{ bytes: Buffer.from([0, 1, 255]) }] }, Buffer.alloc(70_000, 7)];

/** Rooms whose names mean something to somebody on the way. */
const ROOMS = ['plain', 'a#b', '*', 'r?[x]', '\\', 'zwölf', '/', '12', ' '];

let fences = 0;

/** Two Node instances would be too easy: one of Node, two of stickyd-app, and two clients of each namespace at each. */
async function set(namespace) {
  const redis = await startRedis();
  const [node, a, b] = await Promise.all([startInstance('node', 'n', redis), startInstance('rust', 'a', redis), startInstance('rust', 'b', redis)]);
  const clients = [];
  for (const instance of [node, a, b]) {
    for (const number of [1, 2]) {
      const transports = number === 1 ? ['websocket'] : ['polling'];
      clients.push(await new Client(instance, namespace, `${instance.name}${number}`, { transports }).connected());
    }
  }
  // All instances hear all others: a word of each arrived everywhere, and then its last one.
  for (const { name, operate } of [node, a, b]) {
    await until(`${name} is heard`, async () => {
      await operate('emit', namespace, { event: `hello-${name}`, args: [] });
      await pause(50);
      return clients.every(({ heard: words }) => words.some(([event]) => event === `hello-${name}`));
    });
    await operate('emit', namespace, { event: `begin-${name}`, args: [] });
    for (const client of clients) await client.until(`begin-${name}`);
  }
  return { redis, namespace, node, a, b, clients, of: (users) => clients.filter(({ user }) => users.includes(user)) };
}

/**
 * Does `deed`, and checks that exactly these users hear exactly `expected`. A last word from the same place comes after
 * all that was said before, so that nobody has to wait whether something comes twice.
 */
async function heard(site, from, deed, users, expected) {
  fences += 1;
  const fence = `fence-${fences}`;
  await deed();
  await (from.say ?? ((event) => from.operate('emit', site.namespace, { event, args: [] })))(fence);
  for (const client of site.clients.filter(({ socket }) => socket.connected)) {
    const events = await client.until(fence);
    assert.deepEqual(events, users.includes(client.user) ? expected : [], `${client.user} on ${client.instance.name}`);
  }
}

/** What may be dropped for a client that is not ready is heard by one that is: the first of each instance, and once. */
async function volatile(site, from, say) {
  await until('the first of each instance are all ready, and hear it', async () => {
    // A poll is answered by the last word; the next has to arrive.
    await pause(50);
    for (const client of site.clients) client.heard = [];
    let missed = 0;
    const deed = async () => {
      await say();
      await pause(50);
      missed = site.of(FIRST).filter(({ heard: words }) => words.length === 0).length;
      for (const client of site.of(FIRST)) if (client.heard.length === 1) client.heard = [];
    };
    await heard(site, from, deed, [], []);
    return missed === 0;
  });
}

const ALL = ['n1', 'n2', 'a1', 'a2', 'b1', 'b2'];
const FIRST = ['n1', 'a1', 'b1'];
const SECOND = ['n2', 'a2', 'b2'];

/** Joins rooms by the clients themselves: each first in `one`, each second in `two`, all in `both`. */
async function joinRooms({ clients }) {
  for (const client of clients) await client.join(client.user.endsWith('1') ? 'one' : 'two', 'both', 'both too');
}

async function broadcasts(site, from) {
  const say = (more, args = ['x']) => () => from.operate('emit', site.namespace, { event: 'said', args, ...more });
  const check = (more, users, args) => heard(site, from, say(more, args), users, [['said', ...(args ?? ['x'])]]);
  await check({}, ALL);
  await check({ to: ['one'] }, FIRST);
  await check({ to: ['one', 'two'] }, ALL);
  // In both rooms, and once all the same.
  await check({ to: ['both', 'both too', 'one'] }, ALL);
  await check({ to: ['nobody'] }, []);
  await check({ except: ['one'] }, SECOND);
  await check({ to: ['both'], except: ['two', 'nobody'] }, FIRST);
  await volatile(site, from, () => from.operate('emit', site.namespace, { event: 'volatile', args: [], volatile: true, to: ['one'] }));
  const own = `${from.name}1`;
  await check({ from: own }, ALL.filter((user) => user !== own));
  await check({ from: own, to: ['one'] }, FIRST.filter((user) => user !== own));
  for (const client of site.clients) await check({ to: [client.socket.id] }, [client.user]);
  await check({}, ALL, EVERYTHING);
  await check({ to: ['two'] }, SECOND, []);
  await check({ to: ['one'] }, FIRST, [Buffer.alloc(0)]);
}

async function manyRooms(site, from) {
  for (const [at, room] of ROOMS.entries()) await site.clients[at % site.clients.length].join(room);
  for (const [at, room] of ROOMS.entries()) {
    const { user } = site.clients[at % site.clients.length];
    await heard(site, from, () => from.operate('emit', site.namespace, { event: 'said', args: [room], to: [room] }), [user], [['said', room]]);
  }
  const rooms = Array.from({ length: 200 }, (_, number) => `many-${number}`);
  const member = site.clients.find(({ instance }) => instance !== from && instance.kind !== from.kind);
  await member.join(...rooms);
  await heard(site, from, () => from.operate('emit', site.namespace, { event: 'said', args: [], to: rooms }), [member.user], [['said']]);
  // One after the other: all, and in their order.
  const deed = () => Promise.all(rooms.map((room) => from.operate('emit', site.namespace, { event: 'said', args: [room], to: [room] })));
  await heard(site, from, deed, [member.user], rooms.map((room) => ['said', room]));
}

async function questions(site, from) {
  const ask = async (more) => {
    const answers = await from.operate('ask', site.namespace, { event: 'question', args: ['ä', Buffer.from('bytes')], ...more });
    for (const client of site.clients) client.heard = [];
    return answers;
  };
  const check = async (more, users) => {
    const answers = await ask(more);
    assert.deepEqual(answers.map(({ user }) => user).sort(), [...users].sort());
    for (const { echo } of answers) assert.deepEqual(echo, ['ä', Buffer.from('bytes')]);
  };
  await check({}, ALL);
  await check({ to: ['one'] }, FIRST);
  await check({ to: [site.of(['n1'])[0].socket.id] }, ['n1']);
  await check({ to: [site.of(['b2'])[0].socket.id] }, ['b2']);
  await check({ to: ['nobody'] }, []);
  // Nobody answers: it ends, and nothing is made up.
  const silent = await ask({ event: 'unanswered', to: ['two'] });
  assert.deepEqual(silent.filter((answer) => answer.user), []);
  assert.ok(silent.length > 0, 'that it timed out is said');
}

async function moves(site, from) {
  const say = (room) => () => from.operate('emit', site.namespace, { event: 'said', args: [], to: [room] });
  const operate = async (what, more) => {
    await from.operate(what, site.namespace, more);
    // Node does it itself only when its own request is back from Redis, and that is before the answers to the next.
    await from.operate('fetch', site.namespace, { to: ['nobody'] });
  };
  await operate('join', { to: ['one'], rooms: ['neu', 'neu 2'] });
  await heard(site, from, say('neu 2'), FIRST, [['said']]);
  await operate('join', { to: [site.of(['n2'])[0].socket.id], rooms: ['neu'] });
  await operate('join', { to: [site.of(['a2'])[0].socket.id], rooms: ['neu'] });
  await heard(site, from, say('neu'), [...FIRST, 'n2', 'a2'], [['said']]);
  await operate('leave', { to: ['one'], except: [site.of(['b1'])[0].socket.id], rooms: ['neu'] });
  await heard(site, from, say('neu'), ['b1', 'n2', 'a2'], [['said']]);
  await operate('leave', { rooms: ['neu', 'neu 2'] });
  await heard(site, from, say('neu'), [], []);
}

async function counts(site, from) {
  assert.equal(await from.operate('count', site.namespace), 3);
  const rooms = await from.operate('rooms', site.namespace);
  const expected = ['one', 'two', 'both', 'both too', ...site.clients.map(({ socket }) => socket.id)];
  for (const room of expected) assert.ok(rooms.includes(room), `${room} is in ${rooms}`);
  assert.equal(new Set(rooms).size, rooms.length);

  const ids = (users) => site.of(users).map(({ socket }) => socket.id).sort();
  const fetch = async (more) => from.operate('fetch', site.namespace, more);
  if (from.kind === 'node') {
    const found = await fetch({ to: ['one'] });
    assert.deepEqual(found.map(({ id }) => id).sort(), ids(FIRST));
    for (const { id, data, rooms: own } of found) {
      assert.equal(data.userId, site.clients.find(({ socket }) => socket.id === id).user);
      assert.deepEqual(own.filter((room) => ['one', 'two', 'both'].includes(room)).sort(), ['both', 'one']);
    }
  } else {
    // Node's ids have another length than the library's type: of others one sees those of stickyd-app.
    assert.deepEqual((await fetch({ to: ['one'] })).sort(), ids(['a1', 'b1']));
    assert.deepEqual((await fetch({ except: ['one'] })).sort(), ids(['a2', 'b2']));
  }
}

async function disconnects(site, from) {
  const gone = async (more, users) => {
    await from.operate('disconnect', site.namespace, more);
    for (const { user, socket } of site.of(users)) await until(`${user} is gone`, () => !socket.connected);
    for (const { user, socket } of site.clients) if (!users.includes(user)) assert.ok(socket.connected, user);
  };
  await gone({ to: ['nobody'] }, []);
  await gone({ to: ['one'], except: [site.of(['a1'])[0].socket.id] }, ['n1', 'b1']);
  await heard(site, from, () => from.operate('emit', site.namespace, { event: 'said', args: [] }), ['a1', ...SECOND], [['said']]);
  await gone({}, ALL);
}

/** What a job outside says with `@socket.io/redis-emitter`. */
async function emitted(site) {
  const client = createClient({ url: site.redis.url });
  await client.connect();
  atEnd(() => client.close());
  const emitter = new Emitter(client).of(site.namespace);
  const from = { say: (event) => emitter.emit(event) };
  const check = (deed, users, expected = [['said', 'ö', Buffer.from([1])]]) => heard(site, from, async () => { await deed(); }, users, expected);
  const args = ['said', 'ö', Buffer.from([1])];
  await check(() => emitter.emit(...args), ALL);
  await check(() => emitter.to('one').emit(...args), FIRST);
  await check(() => emitter.to(['one', 'two']).emit(...args), ALL);
  await check(() => emitter.to('both').except('one').emit(...args), SECOND);
  await volatile(site, from, () => emitter.volatile.to('one').emit('volatile'));
  await check(() => emitter.emit('said', ...EVERYTHING), ALL, [['said', ...EVERYTHING]]);
  await check(() => emitter.emit('said', new Date(1_732_486_276_123)), ALL, [['said', '2024-11-24T22:11:16.123Z']]);
  const later = async (deed) => {
    deed();
    // Behind it on the same connection, and answered.
    await client.ping();
  };
  await later(() => emitter.in('one').socketsJoin(['by emitter', 'ü']));
  await check(() => emitter.to('ü').emit(...args), FIRST);
  await later(() => emitter.in('one').socketsLeave('ü'));
  await check(() => emitter.to('ü').emit(...args), []);
  await later(() => emitter.in('two').disconnectSockets());
  for (const { user, socket } of site.of(SECOND)) await until(`${user} is gone`, () => !socket.connected);
  await check(() => emitter.emit(...args), FIRST);
}

/** Thousands of events of one client at once, as it sends what it kept while it was away. */
async function burst() {
  const redis = await startRedis();
  const [a, b] = await Promise.all(['a', 'b'].map((name) => startApp(name, ['--redis', redis.url])));
  const listeners = [];
  for (const [at, instance] of [a, a, b, b].entries()) {
    const client = await new Client(instance, '/', `listener-${at}`, { transports: at % 2 ? ['websocket'] : ['polling'] }).connected();
    await client.join('room');
    listeners.push(client);
  }
  for (const transports of [['websocket'], ['polling']]) {
    const { socket } = await new Client(a, '/', 'speaker', { transports }).connected();
    const numbers = Array.from({ length: 5_000 }, (_, number) => number);
    const say = (data, event = 'said') => socket.timeout(30_000).emitWithAck('say', { room: 'room', event, data });
    await Promise.all(numbers.map((number) => say(number)));
    await say(null, 'last');
    for (const client of listeners) assert.deepEqual((await client.until('last')).map(([, number]) => number), numbers, client.user);
  }
}

export function rooms() {
  it('a burst of one client arrives in its order and whole, here and elsewhere', () => scoped(burst));
  for (const namespace of ['/', '/chat', '/zwölf']) {
    for (const from of ['node', 'a']) {
      it(`${from === 'node' ? 'Node' : 'stickyd-app'} says, both hear: ${namespace}`, () => scoped(async () => {
        const site = await set(namespace);
        await joinRooms(site);
        for (const step of [broadcasts, questions, moves, counts, manyRooms, disconnects]) await step(site, site[from]);
      }));
    }
    it(`an emitter says, both hear: ${namespace}`, () => scoped(async () => {
      const site = await set(namespace);
      await joinRooms(site);
      await emitted(site);
    }));
  }
}
