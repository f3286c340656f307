// libkvault, found and loaded, with one asynchronous call for each of its functions.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { KvaultError } from './error.js';
import * as structs from './structs.js';

const kVersion = '0.1'; // the first two numbers of the library's have to be these

export const Progress = koffi.proto(structs.unique('Progress'), 'int',
  ['uint64', 'uint64', 'void *']);
const Visitor = koffi.proto(structs.unique('Visitor'), 'int', ['void *', 'void *']);

const at = (type) => koffi.pointer(type);
const out = (type) => koffi.out(at(type));
const inout = (type) => koffi.inout(at(type));

/** name: its arguments; those that can fail end with a kvault_error and return a status. */
const kFallible = {
  kvault_client_connect: [at(structs.ClientOptions), out('void *')],
  kvault_client_list: ['void *', at(Visitor), 'void *'],
  kvault_client_delete: ['void *', 'str'],
  kvault_client_update: ['void *', 'str', at(structs.SessionUpdate)],
  kvault_client_fork: ['void *', 'str', 'uint64', 'str', out(structs.Kept)],
  kvault_client_stats: ['void *', inout(structs.DaemonStats)],
  kvault_client_verify: ['void *', 'str', out(structs.VerifyReport)],
  kvault_client_repair: ['void *', 'str', out(structs.VerifyReport)],
  kvault_client_shutdown: ['void *'],
  kvault_client_export: ['void *', 'str', 'str', at(Progress), 'void *'],
  kvault_client_import: ['void *', 'str', 'str', at(Progress), 'void *', out(structs.SessionInfo)],
  kvault_llama_model_open: [at(structs.ModelOptions), out('void *')],
  kvault_llama_chat_open: [at(structs.ChatOptions), out('void *')],
  kvault_llama_chat_tokens: ['void *', out('void *'), out('uint64')],
  kvault_llama_match: ['void *', 'void *', at('int32'), 'size_t', out(structs.Match)],
  kvault_llama_save_state: ['void *', 'void *', 'size_t', at('int32'), 'size_t',
    inout(structs.SaveInfo)],
  kvault_llama_make_state: ['void *', at(structs.Target), at('int32'), 'size_t', out('void *'),
    out('size_t'), inout(structs.ResumeInfo)],
};

const kInfallible = {
  kvault_client_disconnect: ['void', ['void *']],
  kvault_llama_model_close: ['void', ['void *']],
  kvault_llama_chat_close: ['void', ['void *']],
  kvault_llama_chat_name: ['str', ['void *']],
  kvault_status_name: ['str', ['int32']],
  kvault_version_string: ['str', []],
};

/** A function of C on a thread of koffi's pool; the event loop goes on. */
function promised(func) {
  return (...args) => new Promise((resolve, reject) => {
    func.async(...args, (error, result) => {
      // Naming the arguments here keeps their memory until C is done with it.
      if (error) reject(error);
      else resolve(result, args);
    });
  });
}

class Library {
  constructor(handle) {
    const bind = (name, result, args) => handle.func(name, result, args);
    for (const [name, [result, args]] of Object.entries(kInfallible)) {
      const func = bind(name, result, args);
      this[name] = func;
      this[`${name}_async`] = promised(func);
    }
    for (const [name, args] of Object.entries(kFallible)) {
      const call = promised(bind(name, 'int32', [...args, out(structs.ErrorInfo)]));
      this[name] = async (...given) => {
        const error = {};
        if (await call(...given, error) === 0) return;
        throw new KvaultError(this.kvault_status_name(error.status), error.message);
      };
    }
    this.memcpy = promised(
      koffi.load(null).func('memcpy', 'void *', ['void *', 'void *', 'size_t']));
  }
}

/** Where it is looked for, first to last. */
function candidates(path) {
  if (path !== undefined) return [path];
  if (process.env.KVAULT_LIBRARY) return [process.env.KVAULT_LIBRARY];
  // A library cannot be loaded out of Electron's archive, but from the folder beside it.
  const folder = join(dirname(fileURLToPath(import.meta.url)), '..')
    .replace(/app\.asar(?=[/\\])/, 'app.asar.unpacked');
  const beside = ['lib/libkvault.so.0', 'lib/libkvault.so'].map((name) => join(folder, name));
  return [...beside.filter((file) => existsSync(file)), 'libkvault.so.0', 'libkvault.so'];
}

// koffi gives calls stacks of its own, of 128 KiB, where threads have 8 MiB; the tests need < 64.
const kStackBytes = 2 << 20;
const kStackBytesMin = 128 << 10;

/** Asks for more, which koffi grants until some package of the app has loaded a library. */
function widenStacks() {
  const config = koffi.config();
  if (config.async_stack_size >= kStackBytes) return;
  try {
    koffi.config({ ...config, async_stack_size: kStackBytes });
  } catch {
    if (config.async_stack_size >= kStackBytesMin) return;
    throw new KvaultError('unsupported', `koffi's async_stack_size is ${config.async_stack_size}; `
      + `kvault needs ${kStackBytesMin}`);
  }
}

function open(file) {
  widenStacks();
  const library = new Library(koffi.load(file));
  const version = library.kvault_version_string();
  if (!version.startsWith(`${kVersion}.`)) {
    throw new KvaultError('version', `${file} is ${version}; this package needs ${kVersion}.x`);
  }
  return library;
}

const loaded = new Map();

/** @param {string | undefined} path */
export function loadLibrary(path) {
  const failures = [];
  for (const file of candidates(path)) {
    if (loaded.has(file)) return loaded.get(file);
    try {
      const library = open(file);
      loaded.set(file, library);
      return library;
    } catch (error) {
      if (error instanceof KvaultError) throw error;
      failures.push(`${file}: ${error.message}`);
    }
  }
  throw new KvaultError('not_found', `libkvault cannot be loaded: ${failures.join('; ')}`);
}
