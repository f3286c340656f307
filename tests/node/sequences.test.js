import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { resumeSequence, saveSequence } from 'kvault';
import { LlamaChatSession } from 'node-llama-cpp';
import { continueWith, newSequence, randomTokens, theLlama, withKvault, writeModel }
  from './support.js';

const kToken = 400;
const kAnswer = 24;

const withChat = (preset, work) => withKvault(async (kvault) => {
  const path = writeModel(kvault.folder, 3);
  const weights = await (await theLlama()).loadModel({ modelPath: path });
  const model = await kvault.client.openModel({ path });
  const chat = await kvault.client.openChat({ model, name: 'a', create: true, preset });
  await work({ ...kvault, weights, model, chat, tokens: randomTokens(kToken, 13) });
});

test('a resumed sequence tells what one that never stopped tells', () =>
  withChat('raw', async ({ connect, client, weights, model, chat, tokens }) => {
    const sequence = await newSequence(weights, tokens);
    const saved = await saveSequence(chat, sequence);
    assert.deepEqual([saved.way, saved.nToken], ['appended', kToken]);
    const expected = await continueWith(sequence, [5], kAnswer);
    const turn = await saveSequence(chat, sequence);
    assert.equal(turn.way, 'appended');
    assert.equal(turn.nTokenKept, kToken);
    const nTurn = turn.nToken - kToken;
    assert.ok(nTurn >= kAnswer && nTurn <= kAnswer + 1, `${nTurn} new tokens`);
    assert.ok(turn.writtenBytes < saved.writtenBytes / 4, `${turn.writtenBytes} bytes`);
    await client.fork('a', kToken, 'b');
    await chat.close();

    const other = await connect();
    const fork = await other.openChat({ model: await other.openModel({ path: model.path }),
      name: 'b' });
    const resumed = await newSequence(weights, []);
    const info = await resumeSequence(fork, resumed);
    assert.equal(info.nTokenReused, kToken);
    assert.equal(info.isVerbatim, true);
    assert.ok(info.resumeMs >= info.loadMs);
    assert.deepEqual([...resumed.contextTokens], tokens);
    assert.deepEqual(await continueWith(resumed, [5], kAnswer), expected);
    await other.close();
  }));

test('a prompt that differs reuses what it begins like; another one empties the sequence', () =>
  withChat('raw', async ({ weights, chat, tokens }) => {
    await saveSequence(chat, await newSequence(weights, tokens));
    const prompt = [...tokens.slice(0, 250), ...randomTokens(10, 17)];
    const expected = await continueWith(await newSequence(weights, []), prompt, kAnswer);
    const sequence = await newSequence(weights, randomTokens(50, 1));
    const info = await resumeSequence(chat, sequence, { tokens: prompt });
    assert.ok(info.nTokenReused >= 250 && info.nTokenReused < prompt.length);
    assert.equal(info.nTokenReused + info.nTokenToDecode, prompt.length);
    assert.deepEqual([...sequence.contextTokens], prompt.slice(0, info.nTokenReused));
    const told = await continueWith(sequence, prompt.slice(info.nTokenReused), kAnswer);
    assert.deepEqual(told, expected);

    const none = await resumeSequence(chat, sequence, { tokens: randomTokens(20, 23) });
    assert.equal(none.nTokenReused, 0);
    assert.deepEqual([...sequence.contextTokens], []);
  }));

test('a chat goes on in contexts of other kinds', () =>
  withChat('k8v8', async ({ weights, chat, tokens }) => {
    await saveSequence(chat, await newSequence(weights, tokens));
    const kinds = [
      { flashAttention: false },
      {
        flashAttention: true,
        experimentalKvCacheKeyType: 'Q8_0',
        experimentalKvCacheValueType: 'Q8_0',
      },
      { sequences: 2 },
    ];
    for (const kind of kinds) {
      const sequence = await newSequence(weights, [], kind);
      const info = await resumeSequence(chat, sequence);
      assert.equal(info.nTokenReused, kToken);
      assert.equal(info.isVerbatim, false);
      assert.equal((await continueWith(sequence, [5], 4)).length, 4);
    }
    const small = await newSequence(weights, [], { contextSize: 256 });
    await assert.rejects(resumeSequence(chat, small), { code: 'limit_exceeded' });
    assert.equal((await continueWith(small, [5], 4)).length, 4);
  }));

test('states are in files that are private and gone afterwards', () =>
  withChat('raw', async ({ weights, chat, tokens }) => {
    const sequence = await newSequence(weights, tokens);
    const modes = [];
    const folders = [];
    const look = async (path) => {
      folders.push(dirname(path));
      modes.push((await stat(path)).mode & 0o777, (await stat(dirname(path))).mode & 0o777);
    };
    const spied = {
      context: sequence.context,
      contextSize: sequence.contextSize,
      clearHistory: () => sequence.clearHistory(),
      async saveStateToFile(path) {
        await sequence.saveStateToFile(path);
        await look(path);
      },
      async loadStateFromFile(path, risk) {
        await look(path);
        await sequence.loadStateFromFile(path, risk);
      },
    };
    await saveSequence(chat, spied);
    await resumeSequence(chat, spied);
    assert.deepEqual(modes, [0o600, 0o700, 0o600, 0o700]);
    spied.saveStateToFile = async (path) => {
      await look(path);
      throw new RangeError('no');
    };
    await assert.rejects(saveSequence(chat, spied), RangeError);
    assert.equal(folders.length, 3);
    assert.deepEqual(folders.filter((folder) => existsSync(folder)), []);
    await assert.rejects(saveSequence(chat, {}), { code: 'invalid_argument' });
    await assert.rejects(resumeSequence({}, spied), { code: 'invalid_argument' });
    await assert.rejects(saveSequence(chat, spied, { signal: AbortSignal.abort() }),
      { code: 'cancelled' });
  }));

test('a LlamaChatSession goes on in a resumed sequence, and reads only what is new', () =>
  withChat('raw', async ({ weights, chat }) => {
    const say = { maxTokens: 16, temperature: 0 };
    const sequence = await newSequence(weights, []);
    const session = new LlamaChatSession({ contextSequence: sequence });
    await session.prompt('hello there my friend, how are you today?', say);
    const { nToken } = await saveSequence(chat, sequence);

    const resumed = await newSequence(weights, []);
    assert.equal((await resumeSequence(chat, resumed)).nTokenReused, nToken);
    const again = new LlamaChatSession({ contextSequence: resumed });
    again.setChatHistory(session.getChatHistory());
    const before = resumed.tokenMeter.getState();
    const answer = await again.prompt('go on', say);
    const nRead = resumed.tokenMeter.diff(before).usedInputTokens;
    assert.ok(nRead > 0 && nRead < nToken / 2, `${nRead} read, ${nToken} saved`);
    assert.equal(answer, await session.prompt('go on', say));
  }));
