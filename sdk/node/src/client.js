import { resolve } from 'node:path';
import koffi from 'koffi';
import * as check from './check.js';
import { LlamaChat, openChat } from './chat.js';
import { KvaultError, invalid } from './error.js';
import { loadLibrary } from './library.js';
import { LlamaModel, openModel } from './model.js';
import { ProgressGate } from './progress.js';
import * as structs from './structs.js';
import { Turns } from './turns.js';

const kAllTokens = 0xFFFFFFFFFFFFFFFFn;
const kLabelMax = 32;

const date = (unix_s) => (Number(unix_s) === 0 ? null : new Date(Number(unix_s) * 1000));

/** A kvault_session_info in JavaScript's terms. */
function toSession(info) {
  return {
    id: info.id,
    name: info.name,
    commitNumber: Number(info.commit_number),
    nToken: Number(info.n_token),
    nPage: Number(info.n_page),
    storedSizeBytes: Number(info.stored_size_bytes),
    lastUsed: date(info.last_used_unix_s),
    expires: date(info.expires_unix_s),
    isPinned: info.is_pinned !== 0,
    forkedFrom: info.forked_from === '' ? null : info.forked_from,
    forkedAtToken: Number(info.forked_at_token),
    labels: info.labels.split('\n').slice(0, -1),
  };
}

const toKept = (kept) => ({ nToken: Number(kept.n_token), isExact: kept.exact !== 0 });

/** snake_case members of a struct as camelCase numbers. */
export function toNumbers(values) {
  const names = Object.keys(values).filter((name) => !/^(struct_size|reserved)/.test(name));
  const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  return Object.fromEntries(names.map((name) => [camel(name), Number(values[name])]));
}

function toUpdate(options) {
  const given = check.options(options, 'update', ['name', 'labels', 'pin', 'expires', 'signal']);
  const update = {};
  if (given.name !== undefined) update.name = check.text(given.name, 'update.name');
  if (given.labels !== undefined) {
    if (!Array.isArray(given.labels) || given.labels.length > kLabelMax) {
      throw invalid(`update.labels is to be an array of at most ${kLabelMax} strings`);
    }
    update.labels = given.labels.map((label, i) => check.text(label, `update.labels[${i}]`));
    update.n_label = update.labels.length;
    update.clear_labels = update.n_label === 0 ? 1 : 0;
    if (update.n_label === 0) update.labels = null;
  }
  if (given.pin !== undefined) update.pin = check.flag(given.pin, 'update.pin') ? 1 : -1;
  if (given.expires === null) {
    update.expires_unix_s = -1;
  } else if (given.expires !== undefined) {
    if (!(given.expires instanceof Date) || !(given.expires.getTime() >= 1000)) {
      throw invalid('update.expires is to be a Date after 1970, or null for never');
    }
    update.expires_unix_s = Math.floor(given.expires.getTime() / 1000);
  }
  return structs.make(structs.SessionUpdate, update);
}

/** A connection to kvaultd. Calls may overlap; they are made one after the other. */
export class Client {
  #library;
  #handle;
  #turns = new Turns();
  #open = new Set(); // models and chats
  #closed = false;

  constructor(library, handle) {
    this.#library = library;
    this.#handle = handle;
  }

  /** Runs work(library, handle) in its turn. For the package itself. */
  async run(work, signal, abandon = false) {
    const checked = signal === undefined ? undefined : check.signal(signal);
    if (this.#closed) throw new KvaultError('disconnected', 'the client is closed');
    return this.#turns.take(() => work(this.#library, this.#handle), checked, abandon);
  }

  async list(options) {
    const { signal } = check.options(options, 'options', ['signal']);
    return this.run(async (library, handle) => {
      const sessions = [];
      let failure = null;
      await library.kvault_client_list(handle, (info) => {
        try {
          sessions.push(toSession(koffi.decode(info, structs.SessionInfo)));
          return 1;
        } catch (error) {
          failure = error;
          return 0;
        }
      }, null);
      if (failure) throw failure;
      return sessions;
    }, signal);
  }

  async fork(name, nToken, newName, options) {
    check.text(name, 'name');
    check.text(newName, 'newName');
    const { signal } = check.options(options, 'options', ['signal']);
    const n = nToken === null || nToken === undefined ? kAllTokens
      : check.integer(nToken, 'nToken', 0, Number.MAX_SAFE_INTEGER);
    return this.run(async (library, handle) => {
      const kept = {};
      await library.kvault_client_fork(handle, name, n, newName, kept);
      return toKept(kept);
    }, signal);
  }

  async remove(name, options) {
    check.text(name, 'name');
    const { signal } = check.options(options, 'options', ['signal']);
    return this.run((library, handle) => library.kvault_client_delete(handle, name), signal);
  }

  async update(name, changes) {
    check.text(name, 'name');
    const update = toUpdate(changes);
    return this.run((library, handle) => library.kvault_client_update(handle, name, update),
      changes?.signal);
  }

  async exportSession(name, path, options) {
    check.text(name, 'name');
    const file = resolve(check.text(path, 'path'));
    const given = this.#progressOptions(options, []);
    return this.run((library, handle) => {
      const gate = new ProgressGate(given);
      return gate.watch(library.kvault_client_export(handle, name, file, gate.step, null));
    }, given.signal);
  }

  async importSession(path, options) {
    const file = resolve(check.text(path, 'path'));
    const given = this.#progressOptions(options, ['name']);
    const name = check.optional(given.name, null, check.text, 'options.name');
    return this.run(async (library, handle) => {
      const gate = new ProgressGate(given);
      const info = {};
      await gate.watch(library.kvault_client_import(handle, file, name, gate.step, null, info));
      return toSession(info);
    }, given.signal);
  }

  async stats(options) {
    const { signal } = check.options(options, 'options', ['signal']);
    return this.run(async (library, handle) => {
      const stats = structs.make(structs.DaemonStats);
      await library.kvault_client_stats(handle, stats);
      return toNumbers(stats);
    }, signal);
  }

  /** Aborted, it rejects at once; kvaultd reads on to the end, which later calls wait for. */
  async verify(name, options) {
    return this.#inspect('kvault_client_verify', check.optional(name ?? undefined, null,
      check.text, 'name'), options);
  }

  async repair(name, options) {
    return this.#inspect('kvault_client_repair', check.text(name, 'name'), options);
  }

  async match(model, tokens, options) {
    const { signal } = check.options(options, 'options', ['signal']);
    const handle = this.#own(model, LlamaModel, 'model');
    const ids = check.tokens(tokens, 'tokens');
    return this.run(async (library, client) => {
      const match = {};
      await library.kvault_llama_match(client, handle(), ids, ids.length, match);
      if (match.found === 0) return null;
      return {
        nToken: Number(match.n_token), kept: toKept(match.kept), session: toSession(match.info),
      };
    }, signal);
  }

  /** Reads what a GGUF file says of the model that states belong to. */
  async openModel(options) {
    return openModel(this, options);
  }

  async openChat(options) {
    return openChat(this, options, this.#own(options?.model, LlamaModel, 'options.model'));
  }

  /** Chats and models that close() closes. For the package itself. */
  get open() { return this.#open; }

  /** Ends the daemon. The client stays to be closed. */
  async shutdown() {
    return this.run((library, handle) => library.kvault_client_shutdown(handle));
  }

  /** Closes chats and models, too, after what has been called before. */
  async close() {
    if (this.#closed) return;
    const closing = this.run(async (library, handle) => {
      const open = [...this.#open];
      for (const kind of [LlamaChat, LlamaModel]) {
        for (const each of open.filter((one) => one instanceof kind)) await each.closeNow(library);
      }
      await library.kvault_client_disconnect_async(handle);
    });
    this.#closed = true;
    await closing;
  }

  async [Symbol.for('nodejs.asyncDispose')]() {
    await this.close();
  }

  #progressOptions(options, more) {
    const given = check.options(options, 'options', ['signal', 'onProgress', ...more]);
    if (given.onProgress !== undefined) check.fn(given.onProgress, 'options.onProgress');
    if (given.signal !== undefined) check.signal(given.signal);
    return given;
  }

  async #inspect(function_name, name, options) {
    const { signal } = check.options(options, 'options', ['signal']);
    return this.run(async (library, handle) => {
      const report = {};
      await library[function_name](handle, name, report);
      return toNumbers(report);
    }, signal, true);
  }

  #own(object, kind, what) {
    if (!(object instanceof kind) || object.client !== this) {
      throw invalid(`${what} is to be a ${kind.name} of this client`);
    }
    return object.handle;
  }
}

/** Connects to kvaultd, and starts one where none runs unless autoStart is false. */
export async function connect(options) {
  const given = check.options(options, 'options', ['socketPath', 'dataDirectory', 'daemonPath',
    'autoStart', 'appName', 'timeoutMs', 'libraryPath']);
  const path = (name) => check.optional(given[name], null, check.text, `options.${name}`);
  const connection = structs.make(structs.ClientOptions, {
    no_auto_start: check.optional(given.autoStart, true, check.flag, 'options.autoStart') ? 0 : 1,
    socket_path: path('socketPath'),
    data_directory: path('dataDirectory'),
    daemon_path: path('daemonPath'),
    app_name: path('appName') ?? 'node',
    timeout_ms: check.optional(given.timeoutMs, 0, check.integer, 'options.timeoutMs', 1, 2 ** 31),
  });
  const library = loadLibrary(path('libraryPath') ?? undefined);
  const handle = [null];
  await library.kvault_client_connect(connection, handle);
  return new Client(library, handle[0]);
}
