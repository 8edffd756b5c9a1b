// A rolling deploy as the README has it, word by word: its commands run in a shell whose `stickyd` is the build under test, and
// whose `systemctl restart` replaces the process of an instance. And what the clients say of it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { directory } from './processes.mjs';
import { binary } from './proxy.mjs';

const README = fileURLToPath(new URL('../../../README.md', import.meta.url));
/** The line that names the instances. */
const NAMES = /^set -- (.*)$/m;

/** The README's recipe, and the instances that it names. */
export function recipe() {
  const blocks = readFileSync(README, 'utf8').split(/^```/m).filter((block) => block.startsWith('sh\n') && NAMES.test(block));
  if (blocks.length !== 1) throw new Error(`the README has ${blocks.length} recipes of a rolling deploy`);
  const text = blocks[0].slice(3);
  return { text, names: NAMES.exec(text)[1].trim().split(/\s+/) };
}

/**
 * Runs the recipe for the instances of `names`.
 * @param {object} options
 * @param {string[]} options.names in their order
 * @param {string} options.home the runtime directory of the proxy
 * @param {(name: string) => Promise<void>} options.replace
 * @param {string} [options.text] another recipe
 * @returns {Promise<{ began: number, took: number, steps: { command: string, at: number, took: number }[], replaced: object }>}
 */
export async function deploy({ names, home, replace, text = recipe().text }) {
  const folder = join(directory, `deploy-${Date.now()}`);
  mkdirSync(folder);
  const replaced = {};
  // `restart app@NAME`: returns once it was done.
  const server = createServer(async (request, response) => {
    const [, verb, unit] = request.url.split('/');
    const name = unit.replace(/^.*@/, '');
    try {
      if (verb !== 'restart' || !names.includes(name)) throw new Error(`unknown: ${verb} ${unit}`);
      const stopped = Date.now();
      await replace(name);
      replaced[name] = { stopped, started: Date.now() };
      response.end();
    } catch (error) {
      response.writeHead(500).end(error.message);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const steps = join(folder, 'steps');
  const timed = (command) => `#!/bin/sh
began=$(date +%s%3N)
${command}
status=$?
echo "$began $(date +%s%3N) $status \${0##*/} $*" >> '${steps}'
exit $status
`;
  const order = `fetch('http://127.0.0.1:${server.address().port}/' + process.argv.slice(1).join('/')).then(async (answer) => {
    if (!answer.ok) { console.error(await answer.text()); process.exit(1); }
  })`;
  const programs = { stickyd: timed(`'${binary}' "$@"`), systemctl: timed(`'${process.execPath}' -e "${order}" -- "$@"`) };
  for (const [name, script] of Object.entries(programs)) writeFileSync(join(folder, name), script, { mode: 0o755 });
  writeFileSync(steps, '');

  const began = Date.now();
  const shell = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'sh', '-e', '-u', '-c', text.replace(NAMES, `set -- ${names.join(' ')}`)], {
    env: { ...process.env, PATH: `${folder}:${process.env.PATH}`, RUNTIME_DIRECTORY: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [shell.stdout, shell.stderr]) stream.on('data', (data) => { said += data; });
  const [code, signal] = await once(shell, 'close');
  server.close();
  if (code !== 0) throw new Error(`the recipe ended with ${code ?? signal}:\n${said}`);
  const done = readFileSync(steps, 'utf8').trim().split('\n').map((line) => line.split(' ')).map(([at, end, , ...command]) => (
    { command: command.join(' '), at: Number(at), took: Number(end) - Number(at) }
  ));
  return { began, took: Date.now() - began, steps: done, replaced, said };
}

/** Beyond a client's own delay nobody is without service for longer, in milliseconds. */
export const LONGEST = 2_000;

/** What `reports` of riders say of a deploy: `{ figures, problems }`. */
export function judge(reports, { replaced, began, steps }, names) {
  const [first] = names;
  const problems = [];
  const isNew = ({ instance, at }) => at >= replaced[instance].stopped;
  const cordon = steps.find(({ command }) => command.startsWith('stickyd cordon'));
  const closed = cordon ? cordon.at + cordon.took : Infinity;
  const figures = { lost: 0, moves: {}, ofFirst: {}, backwards: [], beyond: [], delays: [], failures: {}, instances: {}, cut: 0, sent: 0, slowest: 0, transports: {} };
  const count = (table, key) => { table[key] = (table[key] ?? 0) + 1; };
  for (const { n, kind, cookies, stays, outages, failures, messages, slowest, connected, transport } of reports) {
    const who = `client ${n} (${kind}${cookies ? ', keeps its cookie' : ''})`;
    const path = () => stays.map((stay) => `${stay.instance}${isNew(stay) ? '' : ' (old)'} at ${((stay.at - began) / 1000).toFixed(1)} s`).join(', ');
    failures.forEach(({ reason }) => count(figures.failures, reason));
    if (!connected || stays.length === 0 || stays.length !== outages.length + 1) {
      problems.push(`${who} is not connected in the end: ${path()}`);
      continue;
    }
    const wasFirst = stays[0].instance === first && !isNew(stays[0]);
    const moves = outages.length;
    count(wasFirst ? figures.ofFirst : figures.moves, moves);
    count(figures.instances, stays.at(-1).instance);
    count(figures.transports, transport);
    if (moves > (wasFirst ? 2 : 1)) problems.push(`${who} moved ${moves} times: ${path()}; ${outages.map(({ reason }) => reason).join(', ')}`);
    if (!isNew(stays.at(-1))) problems.push(`${who} is at a process that was replaced: ${path()}`);
    for (const stay of stays.slice(1)) if (stay.at > closed && !isNew(stay)) figures.backwards.push(`${who}: ${path()}`);
    for (const { lost, tried, back } of outages) {
      figures.delays.push(tried - lost);
      figures.beyond.push(back - tried);
      if (back - tried > LONGEST) problems.push(`${who} was without service for ${back - tried} ms beyond its own delay of ${tried - lost} ms: ${path()}; ${failures.map(({ reason }) => reason).join(', ')}`);
    }
    if (messages.lost + messages.open > 0) problems.push(`${who} lost ${messages.lost + messages.open} messages while it was connected: ${path()}`);
    if (messages.doubled > 0) problems.push(`${who} had ${messages.doubled} messages answered twice`);
    figures.lost += messages.lost + messages.open;
    figures.cut += messages.cut;
    figures.sent += messages.sent;
    figures.slowest = Math.max(figures.slowest, slowest);
  }
  for (const list of [figures.beyond, figures.delays]) list.sort((a, b) => a - b);
  return { figures, problems };
}
