// What one instance answers: headers, errors and limits as Node's, and how it ends.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pause, until } from '../support/processes.mjs';
import { scoped } from '../support/scope.mjs';
import { Client, startApp } from './instances.mjs';

const POLL = '/socket.io/?EIO=4&transport=polling';

export function alone() {
  it('echoes anything, over polling, WebSocket, and from one to the other', () => scoped(async () => {
    const instance = await startApp('a');
    for (const transports of [['polling'], ['websocket'], ['polling', 'websocket']]) {
      const { socket } = await new Client(instance, '/', 'ü', { transports }).connected();
      const echo = (...args) => new Promise((resolve, reject) => {
        socket.timeout(5_000).emit('echo', ...args, (error, ...back) => (error ? reject(error) : resolve(back)));
      });
      for (const args of [[], [1], ['zwölf', null, 1.5, true, [{}]], [Buffer.from([0, 255]), { a: [Buffer.alloc(100_000, 3)] }]]) assert.deepEqual(await echo(...args), args);
      // TCP_NODELAY: without it each round trip waits 40 ms for an acknowledgement.
      const began = performance.now();
      for (let trip = 0; trip < 20; trip += 1) await echo(trip);
      assert.ok((performance.now() - began) / 20 < 30, 'a round trip takes no 40 ms');
      await until('it is on its last transport', async () => {
        const who = await socket.timeout(5_000).emitWithAck('who');
        assert.deepEqual(who, { id: 'a', transport: transports.at(-1), userId: 'ü' });
      });
    }
  }));

  it('answers polls as Node does', () => scoped(async () => {
    const instance = await startApp('a', ['--cors', 'https://myapp.com']);
    const get = (path, headers = {}) => fetch(instance.url + path, { headers });
    const handshake = await get(POLL, { origin: 'https://myapp.com' });
    assert.equal(handshake.headers.get('cache-control'), 'no-store');
    assert.equal(handshake.headers.get('access-control-allow-origin'), 'https://myapp.com');
    assert.equal(handshake.headers.get('access-control-allow-credentials'), 'true');
    const { maxPayload, pingInterval, pingTimeout } = JSON.parse((await handshake.text()).slice(1));
    assert.deepEqual({ maxPayload, pingInterval, pingTimeout }, { maxPayload: 1_000_000, pingInterval: 25_000, pingTimeout: 20_000 });
    assert.equal((await get(POLL, { origin: 'https://elsewhere.com' })).headers.get('access-control-allow-origin'), null);
    const errors = [
      [`${POLL}&sid=AAAAAAAAAAAAAAAA`, { code: 1, message: 'Session ID unknown' }],
      [POLL.replace('EIO=4', 'EIO=9'), { code: 5, message: 'Unsupported protocol version' }],
      [POLL.replace('polling', 'telepathy'), { code: 0, message: 'Transport unknown' }],
    ];
    for (const [path, expected] of errors) {
      const answer = await get(path);
      assert.equal(answer.status, 400);
      assert.deepEqual(await answer.json(), expected);
    }
    assert.equal((await get('/nothing')).status, 404);
  }));

  it('closes the session of a client that gives up its poll', () => scoped(async () => {
    const instance = await startApp('a');
    const url = instance.url + POLL;
    const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1).split('\x1e')[0]);
    const post = (body) => fetch(`${url}&sid=${sid}`, { method: 'POST', body });
    await post('40{"userId":"u"}');
    // The ping that comes first, and the answer to the connect.
    let said = '';
    while (!said.includes('40{')) said += await (await fetch(`${url}&sid=${sid}`)).text();
    const sockets = async () => Number(/^stickyd_app_sockets (\d+)$/m.exec(await (await fetch(`${instance.url}/metrics`)).text())[1]);
    assert.equal(await sockets(), 1);
    const gone = new AbortController();
    const poll = fetch(`${url}&sid=${sid}`, { signal: gone.signal });
    await pause(100);
    gone.abort();
    await assert.rejects(poll);
    await until('it is gone', async () => await sockets() === 0, { within: 2_000 });
    assert.deepEqual([(await post('2')).status], [400]);
  }));

  it('refuses what is wrong or too much, and says so', () => scoped(async () => {
    const instance = await startApp('a');
    const { socket } = await new Client(instance, '/', 'u').connected();
    const ask = (event, ...args) => socket.timeout(5_000).emitWithAck(event, ...args);
    for (const [event, ...args] of [
      ['join'], ['join', 7], ['join', ''], ['join', 'x'.repeat(257)], ['leave', socket.id], ['nothing'],
      ['say'], ['say', { room: 'r' }], ['say', { room: 'r', event: 'user-offline' }], ['say', { room: 'r', event: 'connect' }], ['watch', 'u'], ['watch', [7]],
    ]) assert.equal((await ask(event, ...args)).ok, false, `${event} ${args}`);
    let joined = 0;
    while ((await ask('join', `room-${joined}`)).ok) joined += 1;
    // One of 256 is its own.
    assert.equal(joined, 255);
    assert.equal((await ask('leave', 'room-0')).ok, true);
    assert.equal((await ask('join', 'another')).ok, true);
  }));

  it('without --insecure-demo refuses who cannot prove to be somebody', () => scoped(async () => {
    const instance = await startApp('a', [], { insecure: false });
    const { socket } = new Client(instance, '/', 'u');
    const error = await new Promise((resolve) => { socket.on('connect_error', resolve); });
    assert.equal(error.message, 'unauthorized');
  }));

  it('on SIGTERM lets its clients go one after the other, and ends', () => scoped(async () => {
    const instance = await startApp('a', ['--spread', '2000']);
    const clients = await Promise.all(Array.from({ length: 20 }, (_, number) => new Client(instance, '/', `u${number}`, { transports: number % 2 ? ['websocket'] : ['polling'] }).connected()));
    const left = clients.map(({ socket }) => new Promise((resolve) => { socket.on('disconnect', (reason) => resolve([Date.now(), reason])); }));
    const began = Date.now();
    instance.child.signal('SIGTERM');
    await until('it is not ready any more', async () => (await fetch(`${instance.url}/readyz`)).status === 503, { within: 1_000 });
    assert.equal((await fetch(instance.url + POLL)).status, 503, 'no new sessions');
    const all = await Promise.all(left);
    // As from a crash or a restart: clients come back by themselves after both, which they do not after "io server disconnect".
    for (const [, reason] of all) assert.ok(['transport close', 'transport error'].includes(reason), reason);
    const times = all.map(([at]) => at - began).sort((x, y) => x - y);
    assert.ok(times.at(-1) - times[0] > 1_000 && times.at(-1) < 4_000, `they left after ${times} ms`);
    assert.equal(await instance.child.exit, 'exit code 0');
  }));
}
