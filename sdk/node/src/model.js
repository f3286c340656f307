import { resolve } from 'node:path';
import * as check from './check.js';
import { KvaultError, invalid } from './error.js';
import * as structs from './structs.js';

/** Which model the states of a client's chats belong to. */
export class LlamaModel {
  #handle;
  #nChat = 0;

  constructor(client, path, handle) {
    this.client = client;
    this.path = path;
    this.#handle = handle;
    client.open.add(this);
  }

  /** For the package itself; a function, because it is to be asked in the call's turn. */
  handle = () => {
    if (this.#handle === null) throw new KvaultError('invalid_argument', 'the model is closed');
    return this.#handle;
  };

  /** Chats that use it. */
  hold() { ++this.#nChat; }
  release() { --this.#nChat; }

  async close() {
    return this.client.run((library) => this.closeNow(library));
  }

  /** For the package itself: in the client's turn. */
  async closeNow(library) {
    if (this.#handle === null) return;
    if (this.#nChat > 0) throw new KvaultError('busy', `${this.#nChat} chats use the model`);
    const handle = this.#handle;
    this.#handle = null;
    this.client.open.delete(this);
    await library.kvault_llama_model_close_async(handle);
  }
}

function toLora(given, i) {
  const what = `options.lora[${i}]`;
  check.options(given, what, ['path', 'scale']);
  return {
    path: resolve(check.text(given?.path, `${what}.path`)),
    scale: check.optional(given.scale, 1, check.real, `${what}.scale`),
  };
}

// What llama.cpp calls "as in the model".
const kRope = {
  rope_scaling_type: -1, rope_freq_base: 0, rope_freq_scale: 0, yarn_ext_factor: -1,
  yarn_attn_factor: -1, yarn_beta_fast: -1, yarn_beta_slow: -1, yarn_orig_ctx: 0,
};
const kRopeNames = {
  scalingType: 'rope_scaling_type', freqBase: 'rope_freq_base', freqScale: 'rope_freq_scale',
  yarnExtFactor: 'yarn_ext_factor', yarnAttnFactor: 'yarn_attn_factor',
  yarnBetaFast: 'yarn_beta_fast', yarnBetaSlow: 'yarn_beta_slow', yarnOrigCtx: 'yarn_orig_ctx',
};

function toRope(given) {
  const rope = { ...kRope };
  for (const [key, value] of Object.entries(check.options(given, 'options.rope',
    Object.keys(kRopeNames)))) {
    const isWhole = key === 'scalingType' || key === 'yarnOrigCtx';
    rope[kRopeNames[key]] = isWhole ? check.integer(value, `options.rope.${key}`, -1, 2 ** 31 - 1)
      : check.real(value, `options.rope.${key}`);
  }
  if (rope.yarn_orig_ctx < 0) throw invalid('options.rope.yarnOrigCtx is to be 0 or more');
  return rope;
}

export async function openModel(client, options) {
  const given = check.options(options, 'options', ['path', 'lora', 'rope', 'signal']);
  const path = resolve(check.text(given.path, 'options.path'));
  if (given.lora !== undefined && !Array.isArray(given.lora)) {
    throw invalid('options.lora is to be an array of {path, scale}');
  }
  const lora = (given.lora ?? []).map(toLora);
  const which = structs.make(structs.ModelOptions, {
    path, n_lora: lora.length, lora: lora.length > 0 ? lora : null, ...toRope(given.rope),
  });
  return client.run(async (library) => {
    const handle = [null];
    await library.kvault_llama_model_open(which, handle);
    return new LlamaModel(client, path, handle[0]);
  }, given.signal);
}
