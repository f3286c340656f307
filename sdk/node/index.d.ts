/** kvault for Node and Electron: saved chats of a language model, over libkvault and kvaultd. */

/** Names of kvault's table of errors. */
export type KvaultErrorCode =
  | 'invalid_argument' | 'shape_mismatch' | 'type_mismatch' | 'out_of_range' | 'not_finite'
  | 'unsupported' | 'limit_exceeded' | 'not_found' | 'already_exists' | 'identity_mismatch'
  | 'incomplete' | 'conflict' | 'busy' | 'corrupt' | 'truncated' | 'unknown_format'
  | 'out_of_memory' | 'io' | 'disk_full' | 'device_absent' | 'device_lost' | 'permission'
  | 'unreachable' | 'disconnected' | 'protocol' | 'version' | 'timeout' | 'cancelled' | 'internal';

/** What every call that fails rejects with. `cause` of a cancelled one: the signal's reason. */
export class KvaultError extends Error {
  constructor(code: KvaultErrorCode, message: string, options?: { cause?: unknown });
  readonly code: KvaultErrorCode;
}

export interface CallOptions {
  /** Aborted: rejects with code "cancelled". What has not begun does not begin. */
  signal?: AbortSignal;
}

export interface Progress {
  doneBytes: number;
  totalBytes: number;
}

export interface ProgressOptions extends CallOptions {
  /** Called on the event loop; one that throws cancels the call, which rejects with that. */
  onProgress?: (progress: Progress) => void;
}

export interface ConnectOptions {
  /** The daemon's socket; the user's default where left out. */
  socketPath?: string;
  /** Given to a kvaultd that is started; the user's default where left out. */
  dataDirectory?: string;
  /** $KVAULTD, beside the library, then PATH. */
  daemonPath?: string;
  /** Starts kvaultd where none runs: true. */
  autoStart?: boolean;
  /** For the daemon's log: "node". */
  appName?: string;
  /** Of one request: 30000. */
  timeoutMs?: number;
  /** libkvault.so; $KVAULT_LIBRARY, lib/ beside this package, then the system's. */
  libraryPath?: string;
}

export interface Session {
  id: string;
  name: string;
  commitNumber: number;
  nToken: number;
  nPage: number;
  /** On disk, records and padding included; forks share some of it. */
  storedSizeBytes: number;
  lastUsed: Date | null;
  /** null: never. */
  expires: Date | null;
  isPinned: boolean;
  /** Id of the session this one was forked from. */
  forkedFrom: string | null;
  forkedAtToken: number;
  labels: string[];
}

/** Where a fork begins. isExact: a replay gives the bits of a fresh run. */
export interface Kept {
  nToken: number;
  isExact: boolean;
}

export interface SessionChanges extends CallOptions {
  name?: string;
  /** Replace all there are; at most 32 of 1 to 128 bytes. */
  labels?: string[];
  /** Never evicted to keep the daemon's quota. */
  pin?: boolean;
  /** null: never. */
  expires?: Date | null;
}

export interface DaemonStats {
  nSession: number;
  nConnection: number;
  liveSizeBytes: number;
  packSizeBytes: number;
  diskSizeBytes: number;
  /** 0: none. */
  quotaBytes: number;
  nRecord: number;
  nPack: number;
  nQueuedTask: number;
  uptimeS: number;
  nCommit: number;
  writtenSizeBytes: number;
  nEvicted: number;
  nExpired: number;
  nPackDeleted: number;
  nCompaction: number;
  movedSizeBytes: number;
  nDamage: number;
}

export interface VerifyReport {
  nRecord: number;
  nDamaged: number;
  sizeBytes: number;
}

export interface Match {
  /** Tokens that are equal. */
  nToken: number;
  /** Where fork(session.name, nToken, ...) would begin. */
  kept: Kept;
  session: Session;
}

export interface ModelOptions extends CallOptions {
  /** The GGUF; of several files, the first. */
  path: string;
  /** Those that are applied; scale: 1. */
  lora?: { path: string; scale?: number }[];
  /** As in llama_context_params; as in the model where left out. */
  rope?: {
    scalingType?: number;
    freqBase?: number;
    freqScale?: number;
    yarnExtFactor?: number;
    yarnAttnFactor?: number;
    yarnBetaFast?: number;
    yarnBetaSlow?: number;
    yarnOrigCtx?: number;
  };
}

export type Preset = 'raw' | 'f16' | 'k8v8' | 'k8v4' | 'k4v4' | 'k4v3' | 'k3v3' | 'k3v2' | 'k2v2';

export interface ChatOptions extends ProgressOptions {
  model: LlamaModel;
  /** Of the session. */
  name: string;
  /** Begin it where there is none, at the first save: false. */
  create?: boolean;
  /** Of a new chat: "k8v4". "raw" is lossless. */
  preset?: Preset;
  /** For coding; where left out one per core but one, which llama.cpp works on meanwhile. */
  nThread?: number;
}

/** A connection to kvaultd. Calls may overlap; they are made one after the other. */
export class Client {
  private constructor();
  list(options?: CallOptions): Promise<Session[]>;
  /** A new session of the first nToken tokens (null: all) of another; nothing is copied. */
  fork(name: string, nToken: number | null, newName: string, options?: CallOptions): Promise<Kept>;
  remove(name: string, options?: CallOptions): Promise<void>;
  /** Renames, labels, pins a session, lets it expire. */
  update(name: string, changes: SessionChanges): Promise<void>;
  /** Writes a session to one file, which appears once it is whole. */
  exportSession(name: string, path: string, options?: ProgressOptions): Promise<void>;
  /** Makes a session of such a file, under a new name or the one it had. */
  importSession(path: string, options?: ProgressOptions & { name?: string }): Promise<Session>;
  stats(options?: CallOptions): Promise<DaemonStats>;
  /**
   * Reads every stored byte of a session, or of all, and checks it. Aborted, it rejects at once;
   * the daemon reads on to the end, which later calls of this client wait for.
   */
  verify(name?: string | null, options?: CallOptions): Promise<VerifyReport>;
  /** The same, and takes a damaged session back to the newest position before the damage. */
  repair(name: string, options?: CallOptions): Promise<VerifyReport>;
  /** The saved session of this model that begins most like these tokens; null: none. */
  match(model: LlamaModel, tokens: TokenIds, options?: CallOptions): Promise<Match | null>;
  openModel(options: ModelOptions): Promise<LlamaModel>;
  /** identity_mismatch names what differs before a byte is loaded. */
  openChat(options: ChatOptions): Promise<LlamaChat>;
  /** Finishes what is queued and ends the daemon. The client stays to be closed. */
  shutdown(): Promise<void>;
  /** Closes chats and models, too, after what has been called before. */
  close(): Promise<void>;
}

export function connect(options?: ConnectOptions): Promise<Client>;

/** Which model states belong to; by its file. */
export class LlamaModel {
  private constructor();
  readonly client: Client;
  readonly path: string;
  close(): Promise<void>;
}

export type TokenIds = readonly number[] | Int32Array | Uint32Array;
export type CacheType = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_0' | number;

export interface SaveInfo {
  /** forked: the context was shifted, and the chat goes on in a new session; see LlamaChat.name. */
  way: 'nothing' | 'appended' | 'replaced' | 'forked';
  nToken: number;
  /** Of these, saved before. */
  nTokenKept: number;
  copiedBytes: number;
  writtenBytes: number;
  /** That other sessions had already. */
  sharedBytes: number;
  saveMs: number;
}

export interface ResumeInfo {
  /** Every byte of the rows is as it was saved. */
  isVerbatim: boolean;
  nTokenSaved: number;
  /** The state holds these; decode the rest. */
  nTokenReused: number;
  nTokenToDecode: number;
  storedBytes: number;
  stateBytes: number;
  loadMs: number;
}

export interface StateOptions extends ProgressOptions {
  /** The prompt to go on with; all that is saved where left out. */
  tokens?: TokenIds;
  /** For llama_state_seq_load_file, not llama_state_seq_set_data: false. */
  isFile?: boolean;
  /** 1 where kv_unified or one sequence, else n_seq_max. */
  nStream?: number;
  /** Of the context; as saved where left out. */
  typeK?: CacheType;
  typeV?: CacheType;
  /** true. */
  flashAttention?: boolean;
  /** Whether this llama.cpp rotates quantised rows (since 2026-04). */
  rotates?: boolean;
}

/** A saved chat of llama.cpp. */
export class LlamaChat {
  private constructor();
  readonly client: Client;
  readonly model: LlamaModel;
  /** The session's; another one after a save that began a fork. */
  readonly name: string;
  /** The ids of the saved tokens. */
  tokens(options?: CallOptions): Promise<Int32Array>;
  /**
   * Saves a state: what llama_state_seq_get_data gave, with its tokens, or the bytes of a
   * llama_state_seq_save_file, which has its own. The bytes are read in place: do not change or
   * transfer them before the promise is settled. After an error the saved chat is as before.
   */
  saveLlamaState(state: Uint8Array, options?: ProgressOptions & { tokens?: TokenIds }):
    Promise<SaveInfo>;
  /** A state for a context of these properties; null where nothing can be reused. */
  makeLlamaState(options?: StateOptions): Promise<ResumeInfo & { state: Uint8Array | null }>;
  close(): Promise<void>;
}

/** The part of node-llama-cpp's LlamaContextSequence that is used. */
export interface SequenceLike {
  readonly contextSize: number;
  readonly context: {
    readonly totalSequences: number;
    readonly flashAttention: boolean | 'auto';
    readonly kvCacheKeyType?: number;
    readonly kvCacheValueType?: number;
  };
  saveStateToFile(path: string): Promise<unknown>;
  loadStateFromFile(path: string, risk: { acceptRisk: true }): Promise<void>;
  clearHistory(): Promise<void>;
}

/** Saves what a sequence of node-llama-cpp holds. */
export function saveSequence(chat: LlamaChat, sequence: SequenceLike, options?: ProgressOptions):
  Promise<SaveInfo>;

/**
 * Puts the saved chat into a sequence of node-llama-cpp, in place of what it holds: as much of it
 * as `tokens`, the prompt to go on with, begins like, or all of it. Evaluate the rest as ever.
 * limit_exceeded: the context is too small.
 */
export function resumeSequence(chat: LlamaChat, sequence: SequenceLike,
  options?: ProgressOptions & { tokens?: TokenIds }): Promise<ResumeInfo & { resumeMs: number }>;
