// A kvaultd, a client and a model of a test's own.
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'kvault';
import { getLlama } from 'node-llama-cpp';

/** work({client, connect, folder}) in a new folder, with a kvaultd that ends after it. */
export async function withKvault(work) {
  const folder = await mkdtemp(join(tmpdir(), 'kvault-node-'));
  const where = {
    socketPath: join(folder, 's', 'kvaultd.sock'), dataDirectory: join(folder, 'data'),
    appName: 'test',
  };
  process.env.KVAULT_RUNTIME_DIR = join(folder, 'run');
  try {
    const client = await connect(where);
    try {
      await work({ client, connect: () => connect({ ...where, autoStart: false }), folder });
    } finally {
      await client.shutdown();
      await client.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export function writeModel(folder, seed) {
  const path = join(folder, `tiny-${seed}.gguf`);
  execFileSync(process.env.KVAULT_TEST_TINY_MODEL, [path, String(seed)]);
  return path;
}

let llama = null;

/** A llama.cpp, one per process; its models and contexts end with it. */
export async function theLlama() {
  llama ??= await getLlama({
    gpu: false, build: 'never', progressLogs: false, logLevel: 'error',
  });
  return llama;
}

/** n token ids of the tiny model that are no control tokens, by a seed. */
export function randomTokens(n, seed) {
  let state = seed >>> 0;
  return Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 3 + (state >>> 8) % 256;
  });
}

/** A new sequence that has read these tokens. */
export async function newSequence(model, tokens, options = {}) {
  const context = await model.createContext({
    contextSize: 1024, sequences: 1, threads: 1, ...options,
  });
  const sequence = context.getSequence();
  if (tokens.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(tokens);
  return sequence;
}

/** The likeliest n tokens behind these. */
export async function continueWith(sequence, tokens, n) {
  const result = [];
  for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    result.push(token);
    if (result.length === n) break;
  }
  return result;
}

/** The bytes of a sequence's state file: what a binding that has bytes only would bring. */
export async function stateOf(sequence, folder) {
  const path = join(folder, 'state');
  await sequence.saveStateToFile(path);
  return new Uint8Array(await readFile(path));
}
