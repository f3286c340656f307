// For node-llama-cpp, which saves and loads sequences as files only. llama.cpp ends the process
// when such a file is damaged; these are written and read here within one call, in a folder that
// nobody else may enter, and what llama.cpp reads has just been made by kvault.
import { constants } from 'node:fs';
import { access, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as check from './check.js';
import { LlamaChat } from './chat.js';
import { KvaultError, cancelled, invalid } from './error.js';

const kMemory = '/dev/shm'; // files that never reach a disk

async function scratchFolder() {
  try {
    await access(kMemory, constants.W_OK | constants.X_OK);
    return await mkdtemp(join(kMemory, 'kvault-')); // mode 0700
  } catch {
    return mkdtemp(join(tmpdir(), 'kvault-'));
  }
}

/** work(path) with the path of an empty file, mode 0600, which is removed whatever happens. */
async function withPrivateFile(work) {
  const folder = await scratchFolder();
  try {
    const path = join(folder, 'state');
    await (await open(path, 'wx', 0o600)).close();
    return await work(path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function checkArguments(chat, sequence) {
  if (!(chat instanceof LlamaChat)) throw invalid('chat is to be a LlamaChat');
  for (const name of ['saveStateToFile', 'loadStateFromFile', 'clearHistory']) {
    check.fn(sequence?.[name], `sequence.${name}`);
  }
}

/**
 * Saves what a LlamaContextSequence holds. The whole state is copied; what is written to the disk
 * is what is new.
 */
export async function saveSequence(chat, sequence, options) {
  checkArguments(chat, sequence);
  const given = check.options(options, 'options', ['signal', 'onProgress']);
  if (given.signal !== undefined && check.signal(given.signal).aborted) {
    throw cancelled(given.signal);
  }
  const state = await withPrivateFile(async (path) => {
    await sequence.saveStateToFile(path);
    return readFile(path);
  });
  return chat.saveLlamaState(state, given);
}

const kTypeF16 = 1;

/** What kind of states the sequence's context takes. */
function targetOf(sequence) {
  const context = sequence.context;
  return {
    isFile: true,
    nStream: context.totalSequences, // node-llama-cpp does not unify the cache
    typeK: context.kvCacheKeyType ?? kTypeF16,
    typeV: context.kvCacheValueType ?? kTypeF16,
    flashAttention: context.flashAttention !== false, // true, false or "auto"
  };
}

/**
 * Puts the saved chat into a LlamaContextSequence, in place of what it holds: as much of it as
 * `tokens`, the prompt to go on with, begins like, or all of it. Evaluate the rest as ever.
 */
export async function resumeSequence(chat, sequence, options) {
  checkArguments(chat, sequence);
  const given = check.options(options, 'options', ['tokens', 'signal', 'onProgress']);
  const begin = performance.now();
  const attempt = async (target) => {
    const { state, ...info } = await chat.makeLlamaState({ ...given, ...target });
    if (info.nTokenReused >= sequence.contextSize) {
      throw new KvaultError('limit_exceeded', `${info.nTokenReused} tokens and one more do not go `
        + `into a context of ${sequence.contextSize}`);
    }
    if (state === null) {
      await sequence.clearHistory();
    } else {
      await withPrivateFile(async (path) => {
        await writeFile(path, state);
        await sequence.loadStateFromFile(path, { acceptRisk: true });
      });
    }
    return { ...info, resumeMs: performance.now() - begin };
  };
  const target = targetOf(sequence);
  try {
    return await attempt(target);
  } catch (error) {
    // "auto": llama.cpp may have decided against it, and it refuses a state of the other kind.
    if (sequence.context.flashAttention !== 'auto' || error.name === 'KvaultError') throw error;
    return attempt({ ...target, flashAttention: false });
  }
}
