// The structs of kvault.h and kvault_llama.h, member by member.
import { randomUUID } from 'node:crypto';
import koffi from 'koffi';

// koffi's names are global, and an app may load this package twice. (Types without a name will not
// do: koffi 3.3 gives a struct and a prototype the same one.)
const kLoad = randomUUID().replaceAll('-', '');
export const unique = (name) => `kvault_${name}_${kLoad}`;
const struct = (name, members) => koffi.struct(unique(name), members);

const chars = (n) => koffi.array('char', n);

export const ErrorInfo = struct('ErrorInfo', { status: 'int32', message: chars(504) });

export const ClientOptions = struct('ClientOptions', {
  struct_size: 'uint32', no_auto_start: 'uint32', socket_path: 'str', data_directory: 'str',
  daemon_path: 'str', app_name: 'str', timeout_ms: 'uint32', reserved: 'uint32',
});

export const SessionInfo = struct('SessionInfo', {
  id: chars(33), name: chars(257), reserved: 'uint16', reserved2: 'uint32', commit_number: 'uint64',
  n_token: 'uint64', n_page: 'uint64', stored_size_bytes: 'uint64', last_used_unix_s: 'int64',
  expires_unix_s: 'int64', is_pinned: 'uint32', reserved3: 'uint32', forked_from: chars(33),
  reserved4: chars(7), forked_at_token: 'uint64', labels: chars(4160),
});

export const SessionUpdate = struct('SessionUpdate', {
  struct_size: 'uint32', n_label: 'uint32', name: 'str', labels: koffi.pointer('str'),
  clear_labels: 'uint32', pin: 'int32', expires_unix_s: 'int64',
});

export const Kept = struct('Kept', { n_token: 'uint64', exact: 'uint32', reserved: 'uint32' });

export const DaemonStats = struct('DaemonStats', {
  struct_size: 'uint32', n_session: 'uint32', n_connection: 'uint32', reserved: 'uint32',
  live_size_bytes: 'uint64', pack_size_bytes: 'uint64', disk_size_bytes: 'uint64',
  quota_bytes: 'uint64', n_record: 'uint64', n_pack: 'uint64', n_queued_task: 'uint64',
  uptime_s: 'uint64', n_commit: 'uint64', written_size_bytes: 'uint64', n_evicted: 'uint64',
  n_expired: 'uint64', n_pack_deleted: 'uint64', n_compaction: 'uint64', moved_size_bytes: 'uint64',
  n_damage: 'uint64',
});

export const VerifyReport = struct('VerifyReport', {
  n_record: 'uint64', n_damaged: 'uint64', size_bytes: 'uint64',
});

export const Match = struct('Match', {
  found: 'uint32', reserved: 'uint32', n_token: 'uint64', kept: Kept, info: SessionInfo,
});

export const Lora = struct('Lora', { path: 'str', scale: 'float' });

export const ModelOptions = struct('ModelOptions', {
  struct_size: 'uint32', n_lora: 'uint32', path: 'str', lora: koffi.pointer(Lora),
  rope_scaling_type: 'int32', rope_freq_base: 'float', rope_freq_scale: 'float',
  yarn_ext_factor: 'float', yarn_attn_factor: 'float', yarn_beta_fast: 'float',
  yarn_beta_slow: 'float', yarn_orig_ctx: 'uint32',
});

export const ChatOptions = struct('ChatOptions', {
  struct_size: 'uint32', create: 'uint32', client: 'void *', model: 'void *', name: 'str',
  preset: 'str', functions: 'void *', progress: 'void *', progress_user: 'void *',
  n_thread: 'uint32', reserved: 'uint32',
});

export const SaveInfo = struct('SaveInfo', {
  struct_size: 'uint32', way: 'uint32', n_token: 'uint64', n_token_kept: 'uint64',
  copied_bytes: 'uint64', written_bytes: 'uint64', shared_bytes: 'uint64', copy_ms: 'double',
  save_ms: 'double',
});

export const ResumeInfo = struct('ResumeInfo', {
  struct_size: 'uint32', is_verbatim: 'uint32', n_token_saved: 'uint64', n_token_reused: 'uint64',
  n_token_to_decode: 'uint64', stored_bytes: 'uint64', state_bytes: 'uint64', load_ms: 'double',
  resume_ms: 'double',
});

export const Target = struct('Target', {
  struct_size: 'uint32', is_file: 'uint32', n_stream: 'uint32', type_k: 'int32', type_v: 'int32',
  flash_attention: 'int32', rotates: 'int32', reserved: 'uint32',
});

/** A value of a struct: struct_size where it has one, zero and NULL for what is left out. */
export function make(type, values = {}) {
  const result = {};
  for (const [name, member] of Object.entries(type.members)) {
    if (name in values) {
      result[name] = values[name];
    } else if (name === 'struct_size') {
      result[name] = koffi.sizeof(type);
    } else if (member.type.primitive === 'Record') {
      result[name] = make(member.type);
    } else if (member.type.primitive === 'Array') {
      result[name] = '';
    } else {
      result[name] = ['Pointer', 'String'].includes(member.type.primitive) ? null : 0;
    }
  }
  return result;
}
