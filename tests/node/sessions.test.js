import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as connectTo, KvaultError } from 'kvault';
import { newSequence, randomTokens, stateOf, theLlama, withKvault, writeModel } from './support.js';

const failsWith = (code, words = /./) => (error) => {
  assert.ok(error instanceof KvaultError, `${error.stack}`);
  assert.equal(error.code, code, error.message);
  assert.match(error.message, words);
  return true;
};

const kToken = 300;

/** A kvaultd with one saved chat, "monday". */
const withSavedChat = (work) => withKvault(async (kvault) => {
  const path = writeModel(kvault.folder, 1);
  const tokens = randomTokens(kToken, 7);
  const weights = await (await theLlama()).loadModel({ modelPath: path });
  const model = await kvault.client.openModel({ path });
  const chat = await kvault.client.openChat({ model, name: 'monday', create: true });
  await chat.saveLlamaState(await stateOf(await newSequence(weights, tokens), kvault.folder));
  await chat.close();
  await work({ ...kvault, model, tokens });
});

test('sessions are listed, forked, changed, matched and removed', () =>
  withSavedChat(async ({ client, model, tokens }) => {
    const [monday, ...none] = await client.list();
    assert.deepEqual(none, []);
    assert.equal(monday.name, 'monday');
    assert.equal(monday.nToken, kToken);
    assert.ok(monday.storedSizeBytes > 0);
    assert.ok(Math.abs(monday.lastUsed - Date.now()) < 60_000);
    assert.equal(monday.forkedFrom, null);

    const kept = await client.fork('monday', 200, 'tuesday');
    assert.deepEqual(kept, { nToken: 200, isExact: true });
    assert.equal((await client.fork(monday.id, null, 'whole')).nToken, kToken);
    const tuesday = (await client.list()).find(({ name }) => name === 'tuesday');
    assert.equal(tuesday.nToken, 200);
    assert.equal(tuesday.forkedFrom, monday.id);
    assert.equal(tuesday.forkedAtToken, 200);

    const expires = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000);
    await client.update('tuesday', { name: 'mardi', labels: ['b', 'a'], pin: true, expires });
    let changed = (await client.list()).find(({ id }) => id === tuesday.id);
    assert.equal(changed.name, 'mardi');
    assert.deepEqual(changed.labels, ['a', 'b']);
    assert.equal(changed.isPinned, true);
    assert.deepEqual(changed.expires, expires);
    await client.update('mardi', { labels: [], pin: false, expires: null });
    changed = (await client.list()).find(({ id }) => id === tuesday.id);
    assert.deepEqual([changed.labels, changed.isPinned, changed.expires], [[], false, null]);

    const match = await client.match(model, [...tokens.slice(0, 250), 3, 3, 3]);
    assert.ok(match.nToken >= 250 && match.nToken < 253, `${match.nToken} tokens match`);
    assert.equal(await client.match(model, randomTokens(200, 99)), null);

    await client.remove('whole');
    await client.remove('mardi');
    assert.deepEqual((await client.list()).map(({ name }) => name), ['monday']);
    assert.equal((await client.stats()).nSession, 1);
  }));

test('errors are named, and change nothing', () =>
  withSavedChat(async ({ client, connect, folder }) => {
    await assert.rejects(client.remove('friday'), failsWith('not_found', /friday/));
    await assert.rejects(client.fork('monday', 10, 'monday'), failsWith('already_exists'));
    await assert.rejects(client.fork('monday', kToken + 1, 'x'), failsWith('out_of_range', /301/));
    await assert.rejects(client.verify('friday'), failsWith('not_found'));
    await assert.rejects(client.openModel({ path: join(folder, 'none.gguf') }),
      failsWith('not_found'));
    await writeFile(join(folder, 'bad.gguf'), 'GGUF and then nothing of the kind');
    await assert.rejects(client.openModel({ path: join(folder, 'bad.gguf') }),
      (error) => error instanceof KvaultError);
    await assert.rejects(connectTo({ socketPath: join(folder, 'nobody'), autoStart: false }),
      failsWith('unreachable'));
    await assert.rejects(connectTo({ libraryPath: join(folder, 'none.so') }),
      failsWith('not_found', /none\.so/));
    const other = await connect();
    await other.close();
    await other.close();
    await assert.rejects(other.list(), failsWith('disconnected'));
    assert.deepEqual((await client.list()).map(({ name }) => name), ['monday']);
  }));

test('arguments are checked', () => withKvault(async ({ client }) => {
  const wrong = [
    () => client.fork('a', -1, 'b'), () => client.fork('a', 1.5, 'b'),
    () => client.fork('a', NaN, 'b'),
    () => client.fork('a', '7', 'b'), () => client.fork('', 1, 'b'), () => client.fork('a', 1),
    () => client.remove(), () => client.remove(null), () => client.remove('a\0b'),
    () => client.remove('\ud800'), () => client.remove('x'.repeat(10_000)),
    () => client.list({ sinal: 1 }), () => client.list({ signal: 'no' }), () => client.list(null),
    () => client.update('a', { labels: 'x' }), () => client.update('a', { labels: [''] }),
    () => client.update('a', { labels: Array(33).fill('x') }), () => client.update('a', { pin: 1 }),
    () => client.update('a', { expires: new Date(NaN) }), () => client.exportSession('a', 7),
    () => client.exportSession('a', 'b', { onProgress: 1 }), () => client.openChat({ name: 'a' }),
    () => client.openModel({}), () => client.openModel({ path: 'a', lora: [{ scale: 1 }] }),
    () => client.openModel({ path: 'a', rope: { freqBase: 'x' } }), () => client.match({}, []),
    () => connectTo({ timeoutMs: -1 }), () => connectTo({ libraryPath: 1 }), () => connectTo(3),
  ];
  for (const call of wrong) {
    await assert.rejects(call(), failsWith('invalid_argument'), `${call}`);
  }
  assert.deepEqual(await client.list(), []);
}));

test('the package works in an app that uses koffi for something else', () => {
  const program = (stack) => `
    import koffi from './node_modules/kvault/node_modules/koffi/index.js';
    import { connect } from 'kvault';
    koffi.config({ ...koffi.config(), async_stack_size: ${stack} });
    koffi.load(null).func('int getpid()')();
    const nobody = { socketPath: '/nobody/is/here', autoStart: false };
    await connect(nobody).catch(({ code }) => console.log(code));`;
  const run = (stack) => execFileSync(process.execPath, ['--input-type=module', '-e',
    program(stack)], { encoding: 'utf8' }).trim();
  assert.equal(run(128 << 10), 'unreachable');
  assert.equal(run(64 << 10), 'unsupported');
});

test('calls that overlap are made one after the other', () =>
  withSavedChat(async ({ client }) => {
    const names = Array.from({ length: 40 }, (_, i) => `fork ${i}`);
    const calls = names.flatMap((name, i) => [client.fork('monday', 200 + i, name), client.list()]);
    const results = await Promise.all(calls);
    results.forEach((result, i) => {
      if (i % 2 === 0) assert.equal(result.nToken, 200 + i / 2);
      else assert.equal(result.length, (i - 1) / 2 + 2); // monday and the forks so far
    });
  }));

test('export and import report progress', () => withSavedChat(async ({ client, folder }) => {
  const path = join(folder, 'monday.kvault');
  const seen = [];
  await client.exportSession('monday', path, { onProgress: (step) => seen.push(step) });
  assert.ok(seen.length >= 2);
  assert.ok(seen.every(({ totalBytes }) => totalBytes === seen[0].totalBytes && totalBytes > 0));
  seen.reduce((a, b) => (assert.ok(b.doneBytes >= a.doneBytes), b));
  assert.equal(seen.at(-1).doneBytes, seen.at(-1).totalBytes);
  await assert.rejects(client.exportSession('monday', path), failsWith('already_exists'));

  let n = 0;
  const copy = await client.importSession(path, { name: 'copy', onProgress: () => ++n });
  assert.ok(n >= 2);
  assert.equal(copy.name, 'copy');
  assert.equal(copy.nToken, kToken);
  await assert.rejects(client.importSession(path), failsWith('already_exists'));
  await truncate(path, 1000);
  await assert.rejects(client.importSession(path, { name: 'cut' }),
    (error) => ['truncated', 'corrupt'].includes(error.code));
  const report = await client.verify();
  assert.equal(report.nDamaged, 0);
  assert.ok(report.nRecord >= 2 && report.sizeBytes > 0);
  assert.deepEqual((await client.list()).map(({ name }) => name).sort(), ['copy', 'monday']);
}));

test('a signal cancels before, while waiting and during a call', () =>
  withSavedChat(async ({ client, folder }) => {
    const reason = new Error('the user went away');
    const gone = AbortSignal.abort(reason);
    await assert.rejects(client.list({ signal: gone }), (error) =>
      failsWith('cancelled')(error) && error.cause === reason);

    const waiting = new AbortController();
    const first = client.verify();
    const second = client.fork('monday', 1, 'never', { signal: waiting.signal });
    waiting.abort();
    await assert.rejects(second, failsWith('cancelled'));
    await first;

    const path = join(folder, 'monday.kvault');
    const during = new AbortController();
    await assert.rejects(client.exportSession('monday', path,
      { signal: during.signal, onProgress: () => during.abort(reason) }), (error) =>
      failsWith('cancelled')(error) && error.cause === reason);
    assert.equal(existsSync(path), false);

    const mine = new TypeError('a listener that throws');
    const onProgress = () => { throw mine; };
    await assert.rejects(client.exportSession('monday', path, { onProgress }),
      (error) => error === mine);
    assert.equal(existsSync(path), false);

    const verifying = new AbortController();
    const report = client.verify(null, { signal: verifying.signal });
    setImmediate(() => verifying.abort());
    await report.then(({ nDamaged }) => assert.equal(nDamaged, 0), failsWith('cancelled'));
    assert.deepEqual((await client.list()).map(({ name }) => name), ['monday']);
  }));
