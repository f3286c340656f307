import koffi from 'koffi';
import * as check from './check.js';
import { KvaultError, invalid } from './error.js';
import { Progress } from './library.js';
import { ProgressGate } from './progress.js';
import * as structs from './structs.js';

const kWays = ['nothing', 'appended', 'replaced', 'forked']; // kvault_llama_way
const kGgmlTypes = { f32: 0, f16: 1, q4_0: 2, q8_0: 8, bf16: 30 };
const kIntMax = 2 ** 31 - 1;

function toType(value, what) {
  if (typeof value !== 'string') return check.integer(value, what, 0, kIntMax);
  if (!Object.hasOwn(kGgmlTypes, value)) {
    throw invalid(`${what} is to be one of ${Object.keys(kGgmlTypes).join(', ')}, or a number`);
  }
  return kGgmlTypes[value];
}

const toFlag = (value, what) => (check.flag(value, what) ? 1 : 0);

const kTargetKeys = ['isFile', 'nStream', 'typeK', 'typeV', 'flashAttention', 'rotates'];

function toTarget(given) {
  const of = (key, otherwise, ...how) => check.optional(given[key], otherwise, how[0],
    `options.${key}`, ...how.slice(1));
  return structs.make(structs.Target, {
    is_file: of('isFile', 0, toFlag),
    n_stream: of('nStream', 1, check.integer, 1, kIntMax),
    type_k: of('typeK', -1, toType),
    type_v: of('typeV', -1, toType),
    flash_attention: of('flashAttention', -1, toFlag),
    rotates: of('rotates', -1, toFlag),
  });
}

/** A saved chat of llama.cpp. Its calls take their turns with those of its client. */
export class LlamaChat {
  #handle = null;
  #progress;
  #gate = new ProgressGate(); // of the call that runs
  #name;

  constructor(client, model, name) {
    this.client = client;
    this.model = model;
    this.#name = name;
  }

  /** The session's name; another one after a save that began a fork. */
  get name() { return this.#name; }

  /** For the package itself: in the client's turn. */
  async open(library, options, gate) {
    this.#progress = koffi.register((done, total) => this.#gate.step(done, total),
      koffi.pointer(Progress));
    this.#gate = gate;
    const handle = [null];
    try {
      const all = structs.make(structs.ChatOptions, { ...options, progress: this.#progress });
      await gate.watch(library.kvault_llama_chat_open(all, handle));
    } catch (error) {
      koffi.unregister(this.#progress);
      throw error;
    } finally {
      this.#gate = new ProgressGate();
    }
    this.#handle = handle[0];
    this.model.hold();
    this.client.open.add(this);
  }

  /** The ids of the saved tokens. */
  async tokens(options) {
    const { signal } = check.options(options, 'options', ['signal']);
    return this.#run({ signal }, async (library) => {
      const pointer = [null];
      const n = [0];
      await library.kvault_llama_chat_tokens(this.#handle, pointer, n);
      const ids = new Int32Array(Number(n[0]));
      if (ids.length > 0) await library.memcpy(ids, pointer[0], ids.byteLength);
      return ids;
    });
  }

  /**
   * Saves a state: what llama_state_seq_get_data gave, with its tokens, or the bytes of a
   * llama_state_seq_save_file, which has its own. They are read in place: leave them be until then.
   */
  async saveLlamaState(state, options) {
    check.bytes(state, 'state');
    const given = check.options(options, 'options', ['tokens', 'signal', 'onProgress']);
    const tokens = check.optional(given.tokens, null, check.tokens, 'options.tokens');
    return this.#run(given, async (library) => {
      const info = structs.make(structs.SaveInfo);
      await library.kvault_llama_save_state(this.#handle, state, state.byteLength, tokens,
        tokens?.length ?? 0, info);
      this.#name = library.kvault_llama_chat_name(this.#handle);
      return {
        way: kWays[info.way],
        nToken: Number(info.n_token),
        nTokenKept: Number(info.n_token_kept),
        copiedBytes: Number(info.copied_bytes),
        writtenBytes: Number(info.written_bytes),
        sharedBytes: Number(info.shared_bytes),
        saveMs: info.save_ms,
      };
    });
  }

  /** A state for a context of these properties; null where nothing can be reused. */
  async makeLlamaState(options) {
    const given = check.options(options, 'options', ['tokens', 'signal', 'onProgress',
      ...kTargetKeys]);
    const tokens = check.optional(given.tokens, null, check.tokens, 'options.tokens');
    const target = toTarget(given);
    return this.#run(given, async (library) => {
      const info = structs.make(structs.ResumeInfo);
      const pointer = [null];
      const size = [0];
      await library.kvault_llama_make_state(this.#handle, target, tokens, tokens?.length ?? 0,
        pointer, size, info);
      const state = Number(size[0]) === 0 ? null : new Uint8Array(Number(size[0]));
      if (state) await library.memcpy(state, pointer[0], state.byteLength);
      return {
        state,
        isVerbatim: info.is_verbatim !== 0,
        nTokenSaved: Number(info.n_token_saved),
        nTokenReused: Number(info.n_token_reused),
        nTokenToDecode: Number(info.n_token_to_decode),
        storedBytes: Number(info.stored_bytes),
        stateBytes: Number(info.state_bytes),
        loadMs: info.load_ms,
      };
    });
  }

  async close() {
    return this.client.run((library) => this.closeNow(library));
  }

  /** For the package itself: in the client's turn. */
  async closeNow(library) {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    this.client.open.delete(this);
    await library.kvault_llama_chat_close_async(handle);
    koffi.unregister(this.#progress);
    this.model.release();
  }

  async #run(caller, work) {
    if (caller.onProgress !== undefined) check.fn(caller.onProgress, 'options.onProgress');
    return this.client.run(async (library) => {
      if (this.#handle === null) throw new KvaultError('invalid_argument', 'the chat is closed');
      this.#gate = new ProgressGate(caller);
      try {
        return await this.#gate.watch(work(library));
      } finally {
        this.#gate = new ProgressGate();
      }
    }, caller.signal);
  }
}

/** @param {() => bigint} model the handle of options.model */
export async function openChat(client, options, model) {
  const given = check.options(options, 'options', ['model', 'name', 'create', 'preset', 'nThread',
    'signal', 'onProgress']);
  const name = check.text(given.name, 'options.name');
  const plain = {
    name,
    create: check.optional(given.create, 0, toFlag, 'options.create'),
    preset: check.optional(given.preset, null, check.text, 'options.preset'),
    n_thread: check.optional(given.nThread, 0, check.integer, 'options.nThread', 1, 1024),
  };
  if (given.onProgress !== undefined) check.fn(given.onProgress, 'options.onProgress');
  return client.run(async (library, handle) => {
    const chat = new LlamaChat(client, given.model, name);
    const gate = new ProgressGate(given);
    await chat.open(library, { ...plain, client: handle, model: model() }, gate);
    return chat;
  }, given.signal);
}
