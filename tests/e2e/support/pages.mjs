// Pages of another origin than the proxy's, and of another site.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { atEnd } from './scope.mjs';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url));

const FILES = {
  '/': ['text/html; charset=utf-8', read('clients/page/page.html')],
  '/socket.io-client-4.js': ['text/javascript', read('node_modules/socket.io-client/dist/socket.io.js')],
  '/socket.io-client-2.js': ['text/javascript', read('node_modules/socket.io-client-2/dist/socket.io.js')],
};

/**
 * Serves the page until the scenario is over.
 * @returns {Promise<{ origin: string, site: string }>} where another port makes another origin, and another name another site
 */
export async function servePages() {
  const server = createServer((request, response) => {
    const [type, body] = FILES[request.url] ?? [];
    if (type) response.writeHead(200, { 'content-type': type }).end(body);
    else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  atEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const { port } = server.address();
  return { origin: `http://127.0.0.1:${port}`, site: `http://localhost:${port}` };
}

/**
 * The page's address.
 * @param {string} base an origin of `servePages`
 * @param {object} wanted
 * @param {string} wanted.url of the proxy
 * @param {2 | 4} wanted.version of the library
 * @param {object} wanted.options of the library
 * @param {boolean} [wanted.stay] it does nothing but stay and come back
 * @param {number} [wanted.sockets] otherwise this many sockets, on each of which what goes out has to come back
 */
export const pageFor = (base, wanted) => `${base}/#${encodeURIComponent(JSON.stringify(wanted))}`;
