// stickyd as it comes, and nginx and HAProxy as well configured for this job as their documentation allows.

import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { directory, freePort, listening, start } from './processes.mjs';
import { binary } from './proxy.mjs';

let started = 0;

/**
 * Starts one in front of `instances`.
 * @param {keyof typeof PEERS} kind
 * @param {{ name: string, host: string, port: number }[]} instances
 * @param {object} options
 * @param {string} [options.host] it listens on
 * @param {string} [options.lines] of stickyd's upstream, where the defaults are not what is to be shown
 */
export async function startPeer(kind, instances, { host = '127.0.0.1', lines = '' } = {}) {
  started += 1;
  const name = `${kind}-${started}`;
  const home = join(directory, name);
  mkdirSync(home);
  const [port, metrics] = [await freePort(), await freePort()];
  const { command, args, file, states } = PEERS[kind];
  const path = join(home, 'configuration');
  writeFileSync(path, file({ home, host, port, metrics, instances, lines }));
  const child = start(name, command, args(path), { STATE_DIRECTORY: home, RUNTIME_DIRECTORY: home });
  await listening(child, port, host);
  return { kind, host, port, pid: child.pid, log: child.log, to: { host, port }, states: () => states({ home, metrics, instances, log: child.log }), stop: () => child.stop('SIGKILL') };
}

export const PEERS = {
  stickyd: {
    title: 'stickyd',
    command: binary,
    args: (path) => ['run', '--config', path],
    file: ({ host, port, metrics, instances, lines }) => `
listen = "${host}:${port}"

[upstream.app]
instances = [${instances.map(({ name, host, port }) => `{ address = "${host}:${port}", name = "${name}" }`).join(', ')}]
${lines}

[metrics]
address = "127.0.0.1:${metrics}"
`,
    /** What it thinks of each: `{ name: 'up' }`. */
    async states({ metrics, instances }) {
      const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
      const gauge = (what, name) => new RegExp(`^stickyd_instance_${what}\\{[^}]*instance="${name}"[^}]*\\} 1`, 'm').test(text);
      const panic = /^stickyd_upstream_panic\{[^}]*\} 1/m.test(text);
      const of = ({ name }) => (gauge('degraded', name) ? 'degraded' : gauge('up', name) ? 'up' : 'down');
      return Object.fromEntries(instances.map((instance) => [instance.name, `${of(instance)}${panic ? '!' : ''}`]));
    },
  },

  // No active checks, no way to close tunnels. The instance pings every 25 s, and answers a poll within as long, so a silence of 30 s
  // is an instance that hangs: half of the default, and as short as it can be.
  nginx: {
    title: 'nginx',
    command: 'nginx',
    args: (path) => ['-e', 'stderr', '-c', path],
    file: ({ home, host, port, instances }) => `
user root; daemon off; worker_processes 2; pid ${home}/pid; error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/f; uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
  map $http_upgrade $connection_header { default upgrade; '' ''; }
  upstream app {
    zone app 128k;
    ip_hash;
    ${instances.map(({ host, port }) => `server ${host}:${port} max_fails=1 fail_timeout=10s;`).join(' ')}
    keepalive 64;
  }
  server {
    listen ${host}:${port} backlog=4096 so_keepalive=30s:10s:3;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_socket_keepalive on;
      proxy_connect_timeout 1s;
      proxy_read_timeout 30s;
      proxy_next_upstream error timeout http_502 http_503;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_header;
    }
  }
}
`,
    states: async ({ instances, log }) => {
      // It says in its log whom it passes over for the next fail_timeout, and nothing else.
      const lines = log().split('\n').filter((line) => line.includes('temporarily disabled'));
      const isOut = ({ host, port }) => lines.some((line) => line.includes(`http://${host}:${port}/`) && Date.now() - Date.parse(line.slice(0, 19).replaceAll('/', '-').replace(' ', 'T')) < 10_000);
      return Object.fromEntries(instances.map((instance) => [instance.name, isOut(instance) ? 'out' : '-']));
    },
  },

  // Checks as often as stickyd's, sessions are shut down with their instance, a refused connect goes elsewhere at once.
  haproxy: {
    title: 'HAProxy',
    command: 'haproxy',
    args: (path) => ['-f', path],
    file: (site) => haproxy(site, 'check inter 1s fastinter 500ms downinter 1s rise 2 fall 3 slowstart 10s on-marked-down shutdown-sessions', `
  timeout connect 1s
  timeout check 1s
  timeout client 30s
  timeout server 30s
  option redispatch 1
  retry-on conn-failure empty-response`),
    states: haproxyStates,
  },

  // As in tutorials, and in Socket.IO's own example.
  'haproxy-as-written': {
    title: 'HAProxy as commonly written',
    command: 'haproxy',
    args: (path) => ['-f', path],
    file: (site) => haproxy(site, 'check on-marked-down shutdown-sessions', `
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  option redispatch`),
    states: haproxyStates,
  },
};

const haproxy = ({ home, host, port, instances }, check, timeouts) => `
global
  maxconn 4096
  nbthread 2
  stats socket ${home}/admin.sock level admin
defaults
  mode http
  timeout http-request 10s
  timeout http-keep-alive 75s
  timeout tunnel 1h${timeouts}
frontend clients
  bind ${host}:${port} backlog 4096 tcp-ut 60s
  option clitcpka
  clitcpka-idle 30s
  clitcpka-intvl 10s
  clitcpka-cnt 3
  default_backend app
backend app
  balance source
  hash-type consistent
  cookie place insert indirect nocache
  option srvtcpka
  srvtcpka-idle 30s
  srvtcpka-intvl 10s
  srvtcpka-cnt 3
  option httpchk GET /health
  default-server ${check} tcp-ut 60s
${instances.map(({ name, host, port }) => `  server ${name} ${host}:${port} cookie ${name}`).join('\n')}
`;

async function haproxyStates({ home, instances }) {
  const text = await new Promise((resolve, reject) => {
    let all = '';
    const socket = connect(join(home, 'admin.sock'), () => socket.end('show stat\n'));
    socket.setEncoding('utf8').on('data', (part) => { all += part; }).once('end', () => resolve(all)).once('error', reject);
  });
  const rows = text.split('\n').map((line) => line.split(','));
  return Object.fromEntries(instances.map(({ name }) => [name, (rows.find((row) => row[0] === 'app' && row[1] === name)?.[17] ?? '?').toLowerCase()]));
}
