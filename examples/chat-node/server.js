// A chat in a local web page that goes on where it was:
//
//   node server.js MODEL.gguf [PORT [N_THREAD]]
//
// Quit it, start it again, press "Resume": the chat is not read again.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { availableParallelism } from 'node:os';
import { KvaultError, connect } from 'kvault';
import { getLlama } from 'node-llama-cpp';
import { Chats, NotNow } from './chats.js';

const kBodyMax = 65536;
const kContext = 1024;
const page = await readFile(new URL('page.html', import.meta.url));

async function startChats(path, threads) {
  const llama = await getLlama({ gpu: false, progressLogs: false, logLevel: 'error' });
  const weights = await llama.loadModel({ modelPath: path });
  const context = await weights.createContext({ contextSize: kContext, sequences: 1, threads });
  const client = await connect({ appName: 'chat-node' }); // starts kvaultd where none runs
  const model = await client.openModel({ path });
  return new Chats({ client, model, weights, sequence: context.getSequence() });
}

/** The named texts of a request's body, which is JSON. */
async function readTexts(request, names) {
  if (request.headers['content-type'] !== 'application/json') throw new NotNow('JSON, please');
  let text = '';
  for await (const part of request.setEncoding('utf8')) {
    text += part;
    if (text.length > kBodyMax) throw new NotNow('that is too long');
  }
  const body = JSON.parse(text);
  return names.map((name) => {
    const value = body?.[name];
    if (typeof value !== 'string' || value.trim() === '') throw new NotNow(`no ${name} is given`);
    return value;
  });
}

/** The names of the texts that a request brings, and what is done with them. */
const routes = {
  'GET /api/chats': [[], (chats) => chats.list()],
  'POST /api/open': [['name'], (chats, name) => chats.open(name)],
  'POST /api/say': [['text'], (chats, text) => chats.say(text)],
  'POST /api/fork': [['name', 'newName'], (chats, name, newName) => chats.fork(name, newName)],
};

async function answer(chats, request, response) {
  const send = (status, type, body) => response.writeHead(status, {
    'content-type': type, 'content-security-policy': "default-src 'self' 'unsafe-inline'",
  }).end(body);
  // Other sites' pages cannot name this host.
  if (!/^(localhost|127\.0\.0\.1)(:\d+)?$/.test(request.headers.host ?? '')) {
    return send(403, 'text/plain', 'this page is for this machine');
  }
  const name = `${request.method} ${request.url}`;
  if (name === 'GET /') return send(200, 'text/html; charset=utf-8', page);
  if (!Object.hasOwn(routes, name)) return send(404, 'text/plain', 'not found');
  try {
    const [names, work] = routes[name];
    const texts = names.length > 0 ? await readTexts(request, names) : [];
    return send(200, 'application/json', JSON.stringify(await work(chats, ...texts)));
  } catch (error) {
    const isKnown = error instanceof KvaultError || error instanceof NotNow
      || error instanceof SyntaxError;
    if (!isKnown) console.error(error);
    const words = { code: error.code ?? 'error', message: isKnown ? error.message : 'it failed' };
    return send(isKnown ? 409 : 500, 'application/json', JSON.stringify(words));
  }
}

/** One after the other: there is one sequence. */
function serve(chats, port) {
  let last = Promise.resolve();
  const server = createServer((request, response) => {
    last = last.then(() => answer(chats, request, response)).catch(console.error);
  });
  server.listen(port, '127.0.0.1', () => {
    console.log(`http://127.0.0.1:${server.address().port}/`);
  });
  const quit = () => server.close(() => last.then(() => chats.close()).then(() => process.exit(0)));
  process.once('SIGINT', quit).once('SIGTERM', quit);
}

const [path, port = '8080', nThread = String(availableParallelism())] = process.argv.slice(2);
if (path === undefined || !/^\d+$/.test(port) || !/^[1-9]\d*$/.test(nThread)) {
  console.error('usage: node server.js MODEL.gguf [PORT [N_THREAD]]');
  process.exit(2);
}
serve(await startChats(path, Number(nThread)), Number(port));
