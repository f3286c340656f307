import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KvaultError } from 'kvault';
import { newSequence, randomTokens, stateOf, theLlama, withKvault, writeModel } from './support.js';

const kToken = 400;

/** A kvaultd, and a state of a real llama.cpp with its tokens. */
const withState = (work) => withKvault(async (kvault) => {
  const path = writeModel(kvault.folder, 1);
  const tokens = randomTokens(kToken, 11);
  const weights = await (await theLlama()).loadModel({ modelPath: path });
  const state = await stateOf(await newSequence(weights, tokens), kvault.folder);
  await work({ ...kvault, model: await kvault.client.openModel({ path }), state, tokens });
});

test('a raw state comes back byte for byte, for files and for memory', () =>
  withState(async ({ client, connect, model, state, tokens }) => {
    const chat = await client.openChat({ model, name: 'a', create: true, preset: 'raw' });
    const seen = [];
    const saved = await chat.saveLlamaState(state, { onProgress: (step) => seen.push(step) });
    assert.equal(saved.way, 'appended');
    assert.equal(saved.nToken, kToken);
    assert.equal(saved.nTokenKept, 0);
    assert.equal(saved.copiedBytes > 0 && saved.writtenBytes > 0, true);
    assert.deepEqual([...await chat.tokens()], tokens);
    assert.equal((await chat.saveLlamaState(state)).way, 'nothing');
    await chat.close();

    const again = await connect();
    const chat2 = await again.openChat({ model: await again.openModel({ path: model.path }),
      name: 'a', onProgress: (step) => seen.push(step) });
    const whole = await chat2.makeLlamaState({ isFile: true });
    assert.equal(whole.nTokenReused, kToken);
    assert.equal(whole.isVerbatim, true);
    assert.equal(Buffer.compare(whole.state, state), 0);
    assert.ok(seen.length > 0);

    // A file has three numbers and the token ids in front, a state in memory two numbers.
    const memory = await chat2.makeLlamaState();
    assert.equal(Buffer.compare(memory.state.subarray(8), state.subarray(12 + 4 * kToken)), 0);

    const prompt = [...tokens.slice(0, 200), 3, 3];
    const part = await chat2.makeLlamaState({ isFile: true, tokens: prompt });
    assert.equal(part.nTokenReused, 200);
    assert.equal(part.nTokenToDecode, 2);
    const nothing = await chat2.makeLlamaState({ isFile: true, tokens: randomTokens(20, 5) });
    assert.deepEqual([nothing.state, nothing.nTokenReused], [null, 0]);
    const q8 = await chat2.makeLlamaState({ typeK: 'q8_0', typeV: 'q8_0' });
    assert.ok(q8.state.length < 0.6 * memory.state.length);
    await again.close();
  }));

test('damaged and foreign states are refused by name, and the saved chat is as before', () =>
  withState(async ({ client, model, state, tokens }) => {
    const chat = await client.openChat({ model, name: 'a', create: true, preset: 'raw' });
    const half = kToken / 2;
    await chat.saveLlamaState((await chatState(chat, state, tokens, half)));
    const forged = [];
    for (let i = 0; i < 40; ++i) forged.push(state.slice(0, Math.floor((state.length * i) / 40)));
    const put = (at, value) => {
      const copy = state.slice();
      new DataView(copy.buffer).setUint32(at, value, true);
      forged.push(copy);
    };
    const begin = 12 + 4 * kToken; // of the state behind the header and the tokens
    for (const value of [0, 1, 0x7FFFFFFF, 0xFFFFFFFF]) {
      for (const at of [0, 4, 8, begin, begin + 4]) {
        if (new DataView(state.buffer).getUint32(at, true) !== value) put(at, value);
      }
    }
    forged.push(Buffer.concat([state, Buffer.from([0])]));
    forged.push(crypto.getRandomValues(new Uint8Array(4096)));
    const codes = new Set();
    for (const bytes of forged) {
      await assert.rejects(chat.saveLlamaState(bytes), (error) => {
        assert.ok(error instanceof KvaultError, `${error.stack}`);
        codes.add(error.code);
        return true;
      });
    }
    assert.equal(codes.has('internal'), false);
    assert.ok(codes.has('truncated') || codes.has('corrupt'), [...codes].join());
    assert.deepEqual([...await chat.tokens()], tokens.slice(0, half));
    const saved = await chat.saveLlamaState(state);
    assert.deepEqual([saved.nToken, saved.nTokenKept], [kToken, half]);
  }));

/** The state of the first n tokens, made by kvault in a chat of its own. */
async function chatState(chat, state, tokens, n) {
  const whole = await chat.client.openChat({ model: chat.model, name: 'whole', create: true,
    preset: 'raw' });
  await whole.saveLlamaState(state);
  const part = await whole.makeLlamaState({ isFile: true, tokens: tokens.slice(0, n + 1) });
  await whole.close();
  return part.state;
}

test('a chat of another model is refused before anything is loaded', () =>
  withState(async ({ client, folder, model, state }) => {
    const chat = await client.openChat({ model, name: 'a', create: true });
    await chat.saveLlamaState(state);
    await assert.rejects(client.openChat({ model, name: 'a' }), { code: 'busy' });
    await assert.rejects(model.close(), { code: 'busy' });
    await chat.close();
    await model.close();
    await assert.rejects(client.openChat({ model, name: 'a' }), { code: 'invalid_argument' });
    await assert.rejects(chat.tokens(), { code: 'invalid_argument' });
    const other = await client.openModel({ path: writeModel(folder, 2) });
    await assert.rejects(client.openChat({ model: other, name: 'a' }),
      { code: 'identity_mismatch' });
    await assert.rejects(client.openChat({ model: other, name: 'b' }), { code: 'not_found' });
  }));

test('arguments are checked', () => withState(async ({ client, model, state, tokens }) => {
  await assert.rejects(client.openChat({ model, name: 'a', create: true, preset: 'best' }),
    { code: 'invalid_argument' });
  const chat = await client.openChat({ model, name: 'a', create: true });
  const wrong = [
    () => chat.saveLlamaState(), () => chat.saveLlamaState([1, 2]), () => chat.saveLlamaState('x'),
    () => chat.saveLlamaState(new Uint8Array(new SharedArrayBuffer(8))),
    () => chat.saveLlamaState(state, { tokens: 'x' }),
    () => chat.saveLlamaState(state, { tokens: [-1] }),
    () => chat.saveLlamaState(state, { tokens: [1.5] }),
    () => chat.saveLlamaState(state, { token: [] }),
    () => chat.makeLlamaState({ typeK: 'q3' }), () => chat.makeLlamaState({ nStream: 0 }),
    () => chat.makeLlamaState({ flashAttention: 1 }), () => chat.makeLlamaState({ tokens: {} }),
  ];
  for (const call of wrong) {
    await assert.rejects(call(), { name: 'KvaultError', code: 'invalid_argument' }, `${call}`);
  }
  const maker = await client.openChat({ model, name: 'maker', create: true, preset: 'raw' });
  await maker.saveLlamaState(state);
  const { state: memory } = await maker.makeLlamaState();
  await assert.rejects(chat.saveLlamaState(memory), { name: 'KvaultError' }, 'without its tokens');
  await assert.rejects(chat.saveLlamaState(memory, { tokens: tokens.slice(1) }),
    { name: 'KvaultError' }, 'a token too few');
  assert.equal((await chat.saveLlamaState(memory, { tokens })).nToken, kToken);
}));

test('a cancelled save leaves the chat as it was, and the event loop runs during one', () =>
  withState(async ({ client, model, state }) => {
    const chat = await client.openChat({ model, name: 'a', create: true });
    const controller = new AbortController();
    const cancelled = chat.saveLlamaState(state,
      { signal: controller.signal, onProgress: () => controller.abort() });
    await assert.rejects(cancelled, { code: 'cancelled' });
    assert.equal((await chat.tokens()).length, 0);
    assert.deepEqual(await client.list(), [], 'nothing is left of a first save');
    let n = 0;
    let goesOn = true;
    const tick = () => { if (goesOn) setImmediate(tick, ++n); };
    tick();
    assert.equal((await chat.saveLlamaState(state)).nToken, kToken);
    goesOn = false;
    assert.ok(n > 1, `${n} ticks`);
  }));
