// The example's server and page, with a real llama.cpp and a tiny model of random weights.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'kvault';
import { Browser, findBrowser } from './browser.js';
import { writeModel } from './support.js';

class Server {
  #process;

  static async start(path) {
    const server = new Server();
    server.#process = spawn(process.execPath, ['chat-node/server.js', path, '0', '1'],
      { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(server.#process.stdout.setEncoding('utf8'), 'data');
    server.url = line.trim();
    assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
    return server;
  }

  /** Ends it as a crash does. */
  async kill() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }

  async call(path, body) {
    const response = await fetch(new URL(path, this.url), body === undefined ? {} : {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
    });
    return { status: response.status, ...await response.json() };
  }
}

async function withServers(work) {
  const folder = await mkdtemp(join(tmpdir(), 'kvault-node-'));
  process.env.KVAULT_RUNTIME_DIR = join(folder, 'run');
  process.env.XDG_DATA_HOME = join(folder, 'share');
  const path = writeModel(folder, 5);
  const servers = [];
  try {
    await work(async () => {
      servers.push(await Server.start(path));
      return servers.at(-1);
    });
  } finally {
    for (const server of servers) await server.kill();
    const client = await connect();
    await client.shutdown();
    await client.close();
    await rm(folder, { recursive: true, force: true });
  }
}

test('a chat goes on after a crash as one that never stopped', () => withServers(async (start) => {
  const first = await start();
  assert.equal((await first.call('/api/open', { name: 'a' })).nToken, 0);
  const turn = await first.call('/api/say', { text: 'once upon a time' });
  assert.ok(turn.answer.length > 0 && turn.nToken > 40, JSON.stringify(turn));
  assert.equal(turn.nTokenKept, 0);
  assert.equal((await first.call('/api/fork', { name: 'a', newName: 'b' })).nToken, turn.nToken);
  const expected = await first.call('/api/say', { text: 'and then' });
  assert.equal(expected.nTokenKept, turn.nToken);
  const { text } = await first.call('/api/open', { name: 'a' });
  await first.kill();

  const second = await start();
  const reopened = await second.call('/api/open', { name: 'a' });
  assert.equal(reopened.text, text);
  assert.equal(reopened.nToken, expected.nToken);
  assert.equal(reopened.nTokenReused, expected.nToken);
  assert.equal((await second.call('/api/open', { name: 'b' })).nTokenReused, turn.nToken);
  assert.equal((await second.call('/api/say', { text: 'and then' })).answer, expected.answer);
}));

test('requests that make no sense are answered', () => withServers(async (start) => {
  const server = await start();
  assert.equal((await server.call('/api/say', { text: 'x' })).message, 'no chat is open');
  assert.equal((await server.call('/api/open', {})).status, 409);
  assert.equal((await server.call('/api/open', { name: 7 })).status, 409);
  assert.equal((await server.call('/api/fork', { name: 'x', newName: 'y' })).code, 'not_found');
  await server.call('/api/open', { name: 'a' });
  const long = await server.call('/api/say', { text: 'word '.repeat(3000) });
  assert.match(long.message, /context is full/);
  assert.equal((await fetch(new URL('/etc/passwd', server.url))).status, 404);
  const [foreign] = await once(request(server.url, { headers: { host: 'example.org' } }).end(),
    'response');
  assert.equal(foreign.statusCode, 403);
  foreign.resume();
  assert.ok((await server.call('/api/say', { text: 'still here' })).answer.length > 0);
}));

const program = findBrowser();
test('the page: begin, say, fork, crash, resume', { skip: program === null && 'no chromium' }, () =>
  withServers(async (start) => {
    const first = await start();
    const browser = await Browser.start(program, first.url);
    const idle = '!document.body.dataset.busy';
    const text = (id) => browser.value(`document.getElementById('${id}').textContent`);
    const submit = async (form, field, value) => {
      await browser.value(`document.getElementById('${field}').value = ${JSON.stringify(value)};`
        + `document.getElementById('${form}').requestSubmit()`);
      await browser.until(idle);
      assert.equal(await text('error'), '');
    };
    const press = async (name, words) => {
      await browser.value(`[...document.querySelectorAll('li')].find((item) => item.dataset.name `
        + `=== ${JSON.stringify(name)}).querySelectorAll('button')`
        + `[${words === 'Resume' ? 0 : 1}].click()`);
      await browser.until(idle);
      assert.equal(await text('error'), '');
    };
    try {
      await submit('new', 'name', 'monday');
      assert.equal(await text('title'), 'monday');
      await submit('say', 'words', 'once upon a time');
      const n = Number(/^(\d+) tokens saved/.exec(await text('figures'))[1]);
      assert.ok(n > 40);
      await press('monday', 'Fork');
      assert.equal(await browser.value('[...document.querySelectorAll("li")].map((item) => '
        + 'item.dataset.name).sort().join()'), 'monday,monday (2)');
      await submit('say', 'words', 'and then');
      const told = await text('text');

      await first.kill();
      const second = await start();
      await browser.go(second.url);
      await press('monday (2)', 'Resume');
      assert.equal(await text('title'), 'monday (2)');
      assert.match(await text('figures'), new RegExp(`^reused ${n} of ${n} tokens in `));
      await submit('say', 'words', 'and then');
      assert.ok(told.endsWith(await browser.value(
        "document.querySelector('#text b').nextSibling.textContent")));
    } finally {
      await browser?.close();
    }
  }));
