// `stickyd-app demo`: the page in Chromium, through the proxy, with instances that are killed and revived.
//
//   node tests/e2e/demo.mjs --help

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';

const HELP = `usage: node tests/e2e/demo.mjs [--help]

Runs stickyd-app demo, opens its page in Chromium, and looks: two people talk across instances and see each other come and go,
an instance is killed under them, all are, polling only works; then the same out of separate processes (--external).
Screenshots of desktop and phone, light and dark, are in tests/e2e/out.

  node --test-name-pattern='polling' tests/e2e/demo.mjs   a part of it
  STICKYD_APP_BIN=path, CARGO_TARGET_DIR=path             another build

Build first: cargo build --bin stickyd-app --bin stickyd
`;

if (process.argv.includes('--help') || process.argv.includes('-h')) {
  process.stdout.write(HELP);
  process.exit(0);
}
const { Person, quit } = await import('./support/chromium.mjs');
const { freePort, leftovers, listening, directory, start, until } = await import('./support/processes.mjs');
const { atEnd, scoped } = await import('./support/scope.mjs');
const { binary: proxy, builds } = await import('./support/proxy.mjs');
const binary = process.env.STICKYD_APP_BIN ?? join(builds, 'stickyd-app');
const missing = [binary, proxy].filter((path) => !existsSync(path));
if (missing.length > 0) {
  console.error(`There is something missing: ${missing.join(', ')}\n\n${HELP}`);
  process.exit(1);
}

let demos = 0;

async function demo(...options) {
  demos += 1;
  const port = await freePort();
  const child = start(`demo-${demos}`, binary, ['demo', '--listen', `127.0.0.1:${port}`, ...options]);
  atEnd(() => child.stop());
  await listening(child, port);
  return { child, port, url: `http://127.0.0.1:${port}/` };
}

/** Somebody at the page of the demonstration. */
class Visitor extends Person {
  /** Waits until an instance serves this tab; which. */
  async served({ not, over } = {}) {
    return until(`an instance serves the tab${not ? `, not ${not}` : ''}${over ? `, over ${over}` : ''}`, async () => {
      const words = await this.read('served');
      const [, instance, transport] = /^served by (\w+) over (\w+)$/.exec(words) ?? [];
      if (!instance || instance === not || (over && transport !== over)) throw new Error(words);
      return instance;
    });
  }

  async says(text) {
    await this.page.getByLabel('Message', { exact: true }).fill(text);
    await this.page.getByRole('button', { name: 'Send' }).click();
  }

  async name() {
    return this.page.getByLabel('You are').inputValue();
  }

  /** Waits until the page shows this person as online, or not. */
  async sees(name, online) {
    await this.page.locator(`#people li${online ? ':not(.away)' : '.away'}`, { hasText: name }).waitFor();
  }

  /** What became of the tab, the newest first. */
  async timeline() {
    return this.page.locator('#timeline li div').allInnerTexts();
  }

  async presses(deed, instance) {
    await this.page.getByRole('button', { name: `${deed} instance ${instance}` }).click();
  }

  async chooses(transport) {
    await this.page.locator('.switch label', { hasText: transport }).click();
  }

  /** Waits until the timeline has a line like this. */
  async tells(pattern) {
    return until(`the timeline tells ${pattern}`, async () => {
      const lines = await this.timeline();
      if (!lines.some((line) => pattern.test(line))) throw new Error(lines.join(' | '));
    });
  }
}

const visit = async (url, look = {}) => {
  const visitor = await Visitor.open(url);
  await visitor.page.setViewportSize(look.phone ? { width: 390, height: 844 } : { width: 1180, height: 900 });
  await visitor.page.emulateMedia({ colorScheme: look.dark ? 'dark' : 'light' });
  return visitor;
};

/** Two people at instances of their own, who have met. */
async function two(url) {
  const [one, other] = [await visit(url), await visit(url, { phone: true, dark: true })];
  const homes = [await one.served(), await other.served()];
  assert.notEqual(homes[0], homes[1], 'the second tab went where the first is, past two instances without a client');
  await one.sees(await other.name(), true);
  await other.sees(await one.name(), true);
  return { one, other, homes };
}

async function talk(one, other) {
  for (const [from, to, text] of [[one, other, `Grüße ${Math.random()}`], [other, one, `世界 ${Math.random()}`]]) {
    await from.says(text);
    const [said] = (await to.hears(text)).filter((line) => line.includes(text));
    // Whose it is, and by way of which instance.
    assert.ok(said.includes(await from.name()) && said.split(/\s/).includes(await from.served()), said);
  }
}

describe('stickyd-app demo', { concurrency: 1 }, () => {
  after(async () => {
    await quit();
    await until('no process of this run is alive', () => {
      assert.deepEqual(leftovers(), []);
    });
  });

  const test = (name, run) => it(name, { timeout: 90_000 }, () => scoped(run));

  test('two people talk across instances, and see each other come and go', async () => {
    const { url } = await demo();
    const { one, other } = await two(url);
    await talk(one, other);
    const name = await other.name();
    // The id of its socket would be the secret of its session.
    const id = await other.page.evaluate('socket.id');
    assert.match(id, /^[\w-]{16}$/);
    assert.ok(!(await one.page.content()).includes(id));
    await one.screenshot('demo-desktop-light');
    await other.screenshot('demo-phone-dark');
    await other.context.close();
    await one.sees(name, false);
  });

  test('an instance is killed: who was there is elsewhere, and the timeline tells how; the other one notices nothing', async () => {
    const { url } = await demo();
    const { one, other, homes: [home] } = await two(url);
    await other.presses('Kill', home);
    const moved = await one.served({ not: home });
    await one.tells(new RegExp(`^${home} lost: transport close, code 1012`));
    await one.tells(new RegExp(`^back after [\\d.]+ m?s, now at ${moved} over`));
    await talk(one, other);
    assert.ok(!(await other.timeline()).some((line) => line.includes('lost')));
    await one.screenshot('demo-killed');
    await other.presses('Revive', home);
    await other.page.getByRole('button', { name: `Kill instance ${home}` }).waitFor();
  });

  test('polling only, and only WebSocket', async () => {
    const { url } = await demo();
    const { one, other } = await two(url);
    await one.chooses('polling');
    const home = await one.served({ over: 'polling' });
    await talk(one, other);
    await one.presses('Kill', home);
    await one.served({ not: home, over: 'polling' });
    await one.tells(new RegExp(`^${home} lost: transport error, status 400`));
    await talk(one, other);
    await one.chooses('WebSocket');
    await one.served({ over: 'WebSocket' });
    await talk(one, other);
  });

  test('all instances die: the page stays, and goes on with the first that is revived', async () => {
    const { url } = await demo('--instances', '2');
    const one = await visit(url, { dark: true });
    await one.served();
    for (const instance of ['a', 'b']) await one.presses('Kill', instance);
    await one.tells(/^cannot connect: /);
    await one.screenshot('demo-desktop-dark');
    await one.page.reload();
    await one.presses('Revive', 'b');
    assert.equal(await one.served(), 'b');
  });

  test('Ctrl-C ends all of it, and nothing is left', async () => {
    const { child, port, url } = await demo();
    const one = await visit(url);
    await one.served();
    const [, folder] = /stickyd status --socket (\S+)\/admin\.sock/.exec(child.log());
    assert.ok(existsSync(folder));
    child.signal('SIGINT');
    assert.equal(await child.exit, 'exit code 0');
    assert.match(child.log(), /ended\n$/);
    assert.ok(!existsSync(folder));
    await assert.rejects(new Promise((resolve, reject) => connect(port, '127.0.0.1').once('connect', resolve).once('error', reject)));
  });

  test('an address that is taken is an error that says what to do', async () => {
    const { port } = await demo();
    const second = start('second', binary, ['demo', '--listen', `127.0.0.1:${port}`]);
    assert.equal(await second.exit, 'exit code 1');
    assert.match(second.log(), /cannot listen on 127\.0\.0\.1:\d+: .*--listen names another address/);
  });

  test('--external prints a script that runs the same out of separate processes', async () => {
    const [port, redis] = [await freePort(), await freePort()];
    const server = start('external-redis', 'redis-server', ['--port', String(redis), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']);
    atEnd(() => server.stop());
    await listening(server, redis);
    const printed = start('external', binary, ['demo', '--external', '--listen', `127.0.0.1:${port}`, '--redis', `redis://127.0.0.1:${redis}`]);
    assert.equal(await printed.exit, 'exit code 0');
    // As it is, but for addresses that may be taken on this machine.
    let script = printed.log();
    for (const usual of [3001, 3002, 3003]) script = script.replaceAll(`127.0.0.1:${usual}`, `127.0.0.1:${await freePort()}`);
    script = script.replace('FILE\n\n', '\n[metrics]\naddress = "off"\n[admin]\naddress = "off"\nsocket = "off"\nFILE\n\n');
    const path = join(directory, 'external.sh');
    writeFileSync(path, script);
    const pieces = start('pieces', 'sh', [path], { PATH: `${dirname(binary)}:${dirname(proxy)}:${process.env.PATH}` });
    atEnd(() => pieces.stop());
    await listening(pieces, port);
    const { one, other } = await two(`http://127.0.0.1:${port}/`);
    await talk(one, other);
    assert.equal(await one.page.locator('#tiles > *').count(), 0, 'without the demonstration around it nothing can be killed from the page');
    assert.doesNotMatch(readFileSync(join(directory, 'pieces.log'), 'utf8'), /error|panicked/i);
  });
});
