// What stands in front: stickyd, or nginx with an equivalent configuration as a check of the scenarios themselves.

import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { callersDirectory, directory, freePort, listening, start, until } from './processes.mjs';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** `E2E_PROXY=nginx` runs the scenarios against nginx instead. */
export const kind = process.env.E2E_PROXY ?? 'stickyd';

/** Its cookie. nginx's names an instance by a hash only, so it is neither sealed nor issued anew. */
export const COOKIE = kind === 'nginx' ? 'place' : 'stickyd-socketio';

/** Where cargo builds. */
export const builds = resolve(callersDirectory, process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug');

/** The build that is tested. */
export const binary = resolve(callersDirectory, process.env.STICKYD_BIN ?? join(builds, 'stickyd'));

/** What keeps clients where they are when the configuration says nothing about it. */
export const DEFAULT = ['sid', 'cookie', 'ip_hash'];

/**
 * Starts a proxy in front of `instances`.
 * @param {string} name for logs and files
 * @param {{ name: string, port: number }[]} instances
 * @param {object} options
 * @param {string[]} [options.by] the keys of affinity in order; [] = round robin; nothing = the default, unsaid
 * @param {string} [options.sticky] further lines of the section about stickiness
 * @param {string} [options.health] the lines of the section about checks
 * @param {string} [options.sections] further sections (stickyd only)
 */
export async function startProxy(name, instances, { by, sticky = '', health = '', sections = '' } = {}) {
  const port = await freePort();
  const home = join(directory, name);
  mkdirSync(home);
  const { command, args, env } = kinds[kind](home, port, instances, by, sticky, health, sections);
  const child = start(name, command, args, env);
  await listening(child, port);
  return {
    url: `http://127.0.0.1:${port}`, home, pid: child.pid, exit: child.exit, log: child.log, stop: () => child.stop(),
    believes: (wanted) => kind !== 'stickyd' || believes(join(home, 'admin.sock'), wanted),
  };
}

/** Waits until the proxy places clients at all of `wanted` and goes on to do so: a check that was under way may still fail. */
async function believes(socket, wanted) {
  for (let looks = 0; looks < 3; looks += 1) {
    await until(`${wanted.join(', ')} take clients`, async () => {
      const { stdout } = await promisify(execFile)(binary, ['status', '--json', '--socket', socket]);
      const instances = JSON.parse(stdout).upstreams.flatMap((upstream) => upstream.instances);
      const missing = wanted.filter((name) => !instances.some((instance) => instance.name === name && instance.takes_clients));
      if (missing.length > 0) {
        looks = 0;
        throw new Error(`not at ${missing.join(', ')}`);
      }
    });
    await sleep(100);
  }
}

const kinds = {
  stickyd(home, port, instances, by, sticky, health, sections) {
    const config = join(home, 'config.toml');
    const members = instances.map(({ name, port }) => `{ address = "127.0.0.1:${port}", name = "${name}" }`);
    const keys = by?.map((key) => `"${key}"`).join(', ');
    writeFileSync(config, `
listen          = "127.0.0.1:${port}"
trusted_proxies = ["127.0.0.1"]
workers         = 2                       # a turn is kept per worker: with many, few clients would all be first in turn

[upstream.socketio]
instances = [${members.join(', ')}]
${by && !by.includes('ip_hash') ? 'balance = "round_robin"' : ''}
${by || sticky ? '[upstream.socketio.sticky]' : ''}
${by ? `by = [${keys}]` : ''}
${sticky}
${health ? '[upstream.socketio.health]' : ''}
${health}
${sections}

[metrics]
address = "off"
`);
    // Where the service manager would let it keep its own files.
    const env = { STATE_DIRECTORY: home, RUNTIME_DIRECTORY: home };
    return { command: binary, args: ['run', '--config', config], env };
  },

  // nginx goes to the next server on a refused connect, so it needs no health check either. Its cookie is made of the
  // first request's id or address.
  nginx(home, port, instances, by = DEFAULT) {
    const key = by.includes('cookie')
      ? `map $cookie_place $key { "" ${by.includes('ip_hash') ? '$realip' : '$request_id'}; default $cookie_place; }
  map $cookie_place $set { "" "place=$key; Path=/; HttpOnly"; default ""; }`
      : 'map "" $set { default ""; }';
    const balance = by.includes('cookie') ? 'hash $key consistent;' : by.includes('ip_hash') ? 'hash $realip consistent;' : '';
    const config = join(home, 'nginx.conf');
    writeFileSync(config, `
user root; daemon off; master_process off; pid ${home}/pid; error_log stderr;
events { worker_connections 2048; }
http {
  access_log off; client_header_timeout 10s;
  client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/f; uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
  set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
  map $remote_addr $realip { default $remote_addr; }
  map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
  ${key}
  upstream socketio { ${balance} ${instances.map(({ port }) => `server 127.0.0.1:${port} max_fails=0;`).join(' ')} keepalive 16; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://socketio; proxy_http_version 1.1; proxy_buffering off; client_max_body_size 10m;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      add_header Set-Cookie $set always;
    }
  }
}
`);
    return { command: 'nginx', args: ['-e', 'stderr', '-c', config], env: {} };
  },
};
