// What index.d.ts takes and what it refuses. Compiled, never run.
import { KvaultError, connect, resumeSequence, saveSequence } from 'kvault';
import { getLlama } from 'node-llama-cpp';

const llama = await getLlama();
const context = await (await llama.loadModel({ modelPath: 'model.gguf' })).createContext();
const sequence = context.getSequence();

const client = await connect({ socketPath: 'socket', autoStart: false });
const model = await client.openModel({ path: 'model.gguf', lora: [{ path: 'lora.gguf' }] });
const chat = await client.openChat({
  model, name: 'monday', create: true, preset: 'raw', onProgress: ({ doneBytes }) => { doneBytes; },
});
const resumed = await resumeSequence(chat, sequence, { tokens: sequence.contextTokens });
export const n: number = resumed.nTokenReused + resumed.resumeMs;
const saved = await saveSequence(chat, sequence, { signal: new AbortController().signal });
export const way: 'nothing' | 'appended' | 'replaced' | 'forked' = saved.way;
const { state } = await chat.makeLlamaState({ isFile: true, typeK: 'q8_0' });
if (state !== null) await chat.saveLlamaState(state);
try {
  await client.remove('monday');
} catch (error) {
  if (!(error instanceof KvaultError) || error.code !== 'not_found') throw error;
}

// @ts-expect-error: a number or null
await client.fork('monday', 'all', 'tuesday');
// @ts-expect-error: no such preset
await client.openChat({ model, name: 'monday', preset: 'best' });
// @ts-expect-error: may be null
await chat.saveLlamaState((await chat.makeLlamaState()).state);
// @ts-expect-error: no such code
export const isLost = (error: KvaultError) => error.code === 'lost';
