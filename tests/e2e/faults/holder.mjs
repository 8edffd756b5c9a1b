// Holds tunnels, in a network namespace of its own: `node holder.mjs HOST PORT COUNT`.

import { Tunnel } from '../support/wire.mjs';

const [host, port, count] = process.argv.slice(2);
const to = { host, port: Number(port) };
const tunnels = await Promise.all(Array.from({ length: Number(count) }, () => Tunnel.open(to)));
console.log(`${tunnels.length} open`);
setInterval(() => {}, 60_000);
