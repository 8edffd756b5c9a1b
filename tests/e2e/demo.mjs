// The cluster of the end-to-end tests, to look at: `tests/demo`.

import { startCluster } from './support/cluster.mjs';
import { startProxy } from './support/proxy.mjs';

const cluster = await startCluster();
// Not by address: two windows on one machine have one, but a jar each.
const proxy = await startProxy('proxy', cluster.instances, { by: ['sid', 'cookie'] });
const instances = cluster.instances.map(({ name, port }) => `${name} on port ${port}`).join(', ');

console.log(`
  ${proxy.url}

The chat page, through the proxy. Instances: ${instances}.
Open it in a window and in a private window: they are on different instances, talk to each other, and
each stays at its instance over reloads. Ctrl-C ends everything.
`);

console.error(`the proxy ended: ${await proxy.exit}\n${proxy.log()}`);
process.exit(1);
