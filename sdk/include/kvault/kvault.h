/* kvault: keeps a language model's KV cache compressed, attends over it without unpacking, and
 * keeps it safe across sessions. This header is the whole C interface, and its manual.
 *
 * Read it in order:
 *   1 version and status   2 shapes   3 caches (in this process)   4 the daemon   5 sessions
 *
 * Conventions, for every function:
 *   1. Objects are opaque. What a *_create, *_fork, *_connect or *_open hands out, the caller gives
 *      back with the matching *_destroy, *_disconnect or *_close; those accept NULL.
 *   2. Functions that can fail return kvault_status and take a kvault_error* last, which may be
 *      NULL; on failure it holds one sentence with the offending numbers, and out parameters that
 *      are pointers are NULL. Nothing is lost and nothing is half-done.
 *   3. Option structs begin with struct_size; set it with the *_INIT macro. Fields are only ever
 *      appended; zero means the default.
 *   4. Arrays are borrowed for the length of the call. Shapes stand in brackets, slowest first.
 *   5. One object is used by one thread at a time; different objects are independent.
 *   6. No function throws, exits, or writes to standard streams.
 */
#ifndef KVAULT_H
#define KVAULT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define KVAULT_API __declspec(dllexport)
#else
#define KVAULT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1. Version and status --------------------------------------------------------------- */

#define KVAULT_VERSION_MAJOR 0
#define KVAULT_VERSION_MINOR 1
#define KVAULT_VERSION_PATCH 0

/* "0.1.0", of the library that runs, which may differ from the header's. */
KVAULT_API const char* kvault_version_string(void);

/* Stable numbers and sentences: errors.inc, beside this header. */
typedef enum kvault_status {
  KVAULT_OK = 0,
#define KVAULT_ERROR(name, NAME, number, text) KVAULT_##NAME = number,
#include <kvault/errors.inc>
#undef KVAULT_ERROR
  KVAULT_STATUS_FORCE_INT = 0x7FFFFFFF
} kvault_status;

typedef struct kvault_error {
  kvault_status status;
  char message[504]; /* NUL-terminated; cut where longer */
} kvault_error;

/* The name ("shape_mismatch") and the sentence of a status; never NULL. */
KVAULT_API const char* kvault_status_name(kvault_status status);
KVAULT_API const char* kvault_status_text(kvault_status status);

/* ---- 2. Shapes --------------------------------------------------------------------------- */

/* Tokens per page. Pages are sealed (encoded, immutable) whole. */
#define KVAULT_PAGE_TOKENS 128

typedef enum kvault_row_type { KVAULT_F16 = 1, KVAULT_BF16 = 2, KVAULT_F32 = 3 } kvault_row_type;

typedef enum kvault_side { KVAULT_KEY = 0, KVAULT_VALUE = 1 } kvault_side;

/* How one side of a layer is kept once its page is sealed. RAW: the engine's rows verbatim. */
typedef enum kvault_scheme {
  KVAULT_RAW = 0,
  KVAULT_Q8 = 16,
  KVAULT_TQ4 = 17,
  KVAULT_TQ3 = 18,
  KVAULT_TQ2 = 19
} kvault_scheme;

typedef enum kvault_layer_kind {
  KVAULT_FULL_ATTENTION = 1, /* K and V of every token, compressed */
  KVAULT_SLIDING_WINDOW = 2, /* raw K and V of the newest `window` tokens */
  KVAULT_RECURRENT = 3,      /* an opaque state per position kept */
  KVAULT_NO_MEMORY = 4       /* nothing */
} kvault_layer_kind;

/* One layer of the model. head_dim: 32, 48, 64, 80, 96, 112, 128, 160, 192, 256 or 512; where both
 * schemes are RAW, anything up to 512 is kept, but only these are attended (UNSUPPORTED). */
typedef struct kvault_layer {
  kvault_layer_kind kind;
  uint32_t n_head; /* query heads, a multiple of n_kv_head */
  uint32_t n_kv_head;
  uint32_t key_head_dim;
  uint32_t value_head_dim;
  uint32_t window; /* sliding window: tokens a query sees, itself included */
  kvault_scheme key_scheme;
  kvault_scheme value_scheme;
} kvault_layer;

/* Sets key_scheme and value_scheme from a preset's name: raw (or f16), k8v8, k8v4, k4v4, k4v3,
 * k3v3, k3v2, k2v2; near-lossless (k8v8), balanced (k4v4), small (k3v3). Else INVALID_ARGUMENT. */
KVAULT_API kvault_status kvault_preset(const char* name, kvault_scheme* key_scheme,
                                       kvault_scheme* value_scheme, kvault_error* error);

/* Names of the devices this build can try, "cpu" first; NULL past the last. Behind a colon such a
 * name may say which of the machine's devices is meant, by its index, UUID or part of its name as
 * `kvault devices` lists them: "vulkan:0". No device ever takes another one's place: NOT_FOUND
 * names what this build has, DEVICE_ABSENT what this machine has. */
KVAULT_API const char* kvault_device_name(uint32_t index);

/* ---- 3. Caches --------------------------------------------------------------------------- */

/* A cache is the memory of one chat: for every layer the first page raw, the newest 128 to 255
 * tokens raw, and everything between sealed. All layers advance together: a step of the model
 * appends the same tokens to each layer, in any portions. */
typedef struct kvault_cache kvault_cache;

/* How keys are equalised channel by channel before they are coded. */
typedef enum kvault_equalise {
  KVAULT_EQUALISE_LEARN = 0, /* from the first 256 tokens' queries and keys */
  KVAULT_EQUALISE_GIVEN = 1, /* by the vectors in `equaliser` */
  KVAULT_EQUALISE_NONE = 2
} kvault_equalise;

typedef enum kvault_raw_pages {
  KVAULT_RAW_SINK_AND_TAIL = 0, /* first page and newest 128 to 255 tokens stay raw */
  KVAULT_RAW_NONE = 1           /* every full page is sealed at once: to measure the codec */
} kvault_raw_pages;

/* A VkDevice that the engine owns and lends: kvault_vulkan.h. */
typedef struct kvault_vulkan_device kvault_vulkan_device;
/* A CUDA context and stream that the engine owns and lends: kvault_cuda.h. */
typedef struct kvault_cuda_device kvault_cuda_device;

typedef struct kvault_cache_options {
  uint32_t struct_size;
  uint32_t n_layer;
  const kvault_layer* layers; /* [n_layer] */
  kvault_row_type row_type;   /* of the rows that append takes; 0 = f16 */
  kvault_equalise equalise;
  kvault_raw_pages raw_pages;
  const uint16_t* equaliser; /* f16 [full-attention layer][n_kv_head][key_head_dim], for GIVEN */
  uint64_t n_token_max;      /* limit; 0 = 2^24 */
  const char* device;        /* "cpu", "vulkan:0", ...: see kvault_device_name; NULL = cpu */
  uint32_t n_thread;         /* of the cpu device; 0 = one per core */
  uint32_t centre_values;    /* 1: values are centred per page as keys are */
  const kvault_vulkan_device* vulkan_device; /* NULL, or the device; `device` is NULL then */
  const kvault_cuda_device* cuda_device;     /* likewise; at most one of the three is given */
} kvault_cache_options;
#define KVAULT_CACHE_OPTIONS_INIT                                                     \
  {                                                                                   \
    sizeof(kvault_cache_options), 0, NULL, (kvault_row_type)0, KVAULT_EQUALISE_LEARN, \
        KVAULT_RAW_SINK_AND_TAIL, NULL, 0, NULL, 0, 0, NULL, NULL                     \
  }

KVAULT_API kvault_status kvault_cache_create(const kvault_cache_options* options,
                                             kvault_cache** out_cache, kvault_error* error);
KVAULT_API void kvault_cache_destroy(kvault_cache* cache);

/* Tokens that every layer holds. */
KVAULT_API uint64_t kvault_cache_n_token(const kvault_cache* cache);

/* Rows of one side: [n_token][n_kv_head][head_dim] of the cache's row type. A stride of 0 means
 * dense. Every element must be finite. */
typedef struct kvault_rows {
  const void* data;
  uint32_t n_token;
  uint32_t reserved;
  int64_t token_stride_bytes;
  int64_t head_stride_bytes;
} kvault_rows;

/* Appends keys and values of one layer. The first append of a step fixes how far the step goes. */
KVAULT_API kvault_status kvault_cache_append(kvault_cache* cache, uint32_t layer,
                                             const kvault_rows* keys, const kvault_rows* values,
                                             kvault_error* error);

typedef struct kvault_attend_options {
  uint32_t struct_size;
  uint32_t n_q;
  const float* q;       /* [n_q][n_head][key_head_dim] */
  float* out;           /* [n_q][n_head][value_head_dim] */
  float* lse;           /* [n_q][n_head], or NULL: log-sum-exp of the scaled, masked logits */
  float softmax_scale;  /* 0 = 1/sqrt(key_head_dim) */
  float logit_softcap;  /* 0 = none; c: logits become c * tanh(logit / c) */
  uint32_t window;      /* 0 = none; a sliding-window layer's own window always applies */
  uint32_t not_causal;  /* 0: query i of n_q stands at n_token - n_q + i and sees no later key */
  const uint8_t* mask;  /* [n_q][mask_stride], nonzero = visible, or NULL */
  uint64_t mask_stride; /* >= n_token of the layer */
  /* Leaves out the values of pages that provably hold less than sparse_threshold * 128 / n_token of
   * a row's probability: at most sparse_threshold of it is lost. In [0, 1); 0 = off. Contexts of
   * fewer than sparse_n_token_min tokens are attended whole. `kvault-bench --calibrate` says where
   * it pays. */
  float sparse_threshold;
  uint32_t sparse_n_token_min;
} kvault_attend_options;
#define KVAULT_ATTEND_OPTIONS_INIT \
  { sizeof(kvault_attend_options), 0, NULL, NULL, NULL, 0.0F, 0.0F, 0, 0, NULL, 0, 0.0F, 0 }

/* Attends with the newest n_q tokens' queries. Those may reach back into the page before the
 * newest, no further (OUT_OF_RANGE): for longer stretches use kvault_cache_append_attend. A row
 * that sees no key gives zeros and an lse of -infinity. */
KVAULT_API kvault_status kvault_cache_attend(kvault_cache* cache, uint32_t layer,
                                             const kvault_attend_options* options,
                                             kvault_error* error);

/* Appends n_q tokens and attends with their n_q queries, of any number: prefill. How a stretch is
 * cut into calls never changes what a query sees. */
KVAULT_API kvault_status kvault_cache_append_attend(kvault_cache* cache, uint32_t layer,
                                                    const kvault_rows* keys,
                                                    const kvault_rows* values,
                                                    const kvault_attend_options* options,
                                                    kvault_error* error);

/* The state of a recurrent layer after its first `position` tokens; replaces the one before. */
KVAULT_API kvault_status kvault_cache_set_state(kvault_cache* cache, uint32_t layer,
                                                uint64_t position, const void* bytes,
                                                size_t size_bytes, kvault_error* error);
/* Borrowed until the next set_state, rollback or destroy; *out_size_bytes = 0 where none is set. */
KVAULT_API kvault_status kvault_cache_state(const kvault_cache* cache, uint32_t layer,
                                            const void** out_bytes, size_t* out_size_bytes,
                                            kvault_error* error);

/* Where a rollback or fork landed. */
typedef struct kvault_kept {
  uint64_t n_token; /* kept; the engine replays what lies between this and what it asked for */
  uint32_t exact;   /* 1: a replay gives the bits of a fresh run. 0: the page before the kept
                       position is no longer raw, so the first 128 replayed queries see it coded */
  uint32_t reserved;
} kvault_kept;

/* Forgets tokens >= n_token: exactly where the position lies in the raw tail or the first page,
 * else down to the last page boundary before it. OUT_OF_RANGE beyond the end. */
KVAULT_API kvault_status kvault_cache_rollback(kvault_cache* cache, uint64_t n_token,
                                               kvault_kept* out_kept, kvault_error* error);
/* A second cache with the first n_token tokens (kept as rollback keeps them). Sealed pages are
 * shared, not copied. */
KVAULT_API kvault_status kvault_cache_fork(const kvault_cache* cache, uint64_t n_token,
                                           kvault_cache** out_fork, kvault_kept* out_kept,
                                           kvault_error* error);

/* Reads rows back, in any row type: raw ones verbatim, sealed ones reconstructed.
 * out: [n_token][n_kv_head][head_dim] */
KVAULT_API kvault_status kvault_cache_read_rows(kvault_cache* cache, uint32_t layer,
                                                kvault_side side, uint64_t first_token,
                                                uint64_t n_token, kvault_row_type type, void* out,
                                                size_t out_size_bytes, kvault_error* error);

/* One block as stored: its format byte (docs/format.md) and its bytes. Pages that are not sealed
 * are raw blocks of which only the first n_valid rows exist. */
typedef struct kvault_block {
  uint32_t format;
  uint32_t n_valid;
  size_t size_bytes;
} kvault_block;
/* out may be NULL to ask for the size. */
KVAULT_API kvault_status kvault_cache_read_block(kvault_cache* cache, uint32_t layer,
                                                 kvault_side side, uint64_t page, uint32_t kv_head,
                                                 kvault_block* out_block, void* out,
                                                 size_t out_size_bytes, kvault_error* error);

typedef struct kvault_cache_stats {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t n_token;
  uint64_t n_sealed_page;     /* per layer */
  uint64_t f16_size_bytes;    /* what an f16 cache of these tokens would take; here and below,
                                 layers of a streamed session count once they are loaded */
  uint64_t stored_size_bytes; /* all blocks and raw rows in use, padding included */
  double bits_per_element;    /* stored bits over elements of K and V, all-in */
} kvault_cache_stats;
#define KVAULT_CACHE_STATS_INIT \
  { sizeof(kvault_cache_stats), 0, 0, 0, 0, 0, 0.0 }
KVAULT_API kvault_status kvault_cache_get_stats(const kvault_cache* cache,
                                                kvault_cache_stats* out_stats, kvault_error* error);

/* ---- 4. The daemon ----------------------------------------------------------------------- */

/* A connection to kvaultd, which keeps sessions on disk. Local socket only. */
typedef struct kvault_client kvault_client;

typedef struct kvault_client_options {
  uint32_t struct_size;
  uint32_t no_auto_start;     /* 1: UNREACHABLE instead of starting kvaultd where none runs */
  const char* socket_path;    /* NULL: the user's default */
  const char* data_directory; /* given to a kvaultd that is started; NULL: the default */
  const char* daemon_path;    /* NULL: $KVAULTD, beside the library, then PATH */
  const char* app_name;       /* for the daemon's log; NULL: "app" */
  uint32_t timeout_ms;        /* of one request; 0 = 30000 */
  /* What to do where namespace_name does not exist: 0 NOT_FOUND, 1 make it, 2 make it encrypted;
   * with 2, one that exists and is not encrypted is UNSUPPORTED. */
  uint32_t namespace_create;
  /* A client sees the sessions of one namespace alone. NULL: the shared one, which every app of the
   * user sees. Another one asks for its token, the one it was made with (PERMISSION otherwise). */
  const char* namespace_name;  /* 1 to 64 of a-z 0-9 . _ - */
  const char* namespace_token; /* 64 hexadecimal digits; see kvault_new_token */
} kvault_client_options;
#define KVAULT_CLIENT_OPTIONS_INIT \
  { sizeof(kvault_client_options), 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL }

/* 32 random bytes as 64 hexadecimal digits and a zero. Keep it where secrets are kept (the
 * desktop's keyring, say): of an encrypted namespace it is the only key, and nothing can be read
 * without it. */
KVAULT_API kvault_status kvault_new_token(char out_token[65], kvault_error* error);

KVAULT_API kvault_status kvault_client_connect(const kvault_client_options* options,
                                               kvault_client** out_client, kvault_error* error);
/* Sessions of the client are closed first. */
KVAULT_API void kvault_client_disconnect(kvault_client* client);

typedef struct kvault_session_info {
  char id[33]; /* 32 hexadecimal digits */
  char name[257];
  uint16_t reserved;
  uint32_t reserved2;
  uint64_t commit_number;
  uint64_t n_token;
  uint64_t n_page;
  uint64_t stored_size_bytes; /* on disk, records and padding included; forks share some of it */
  int64_t last_used_unix_s;
  int64_t expires_unix_s; /* removed after that, unless open; 0: never */
  uint32_t is_pinned;     /* never evicted to keep the daemon's quota */
  uint32_t reserved3;
  char forked_from[33]; /* id of the session this one was forked from, or "" */
  char reserved4[7];
  uint64_t forked_at_token;
  char labels[4160]; /* ascending, each followed by a newline */
} kvault_session_info;

/* Called once per session; return 0 to stop. */
typedef int (*kvault_session_visitor)(const kvault_session_info* info, void* user);
KVAULT_API kvault_status kvault_client_list(kvault_client* client, kvault_session_visitor visitor,
                                            void* user, kvault_error* error);
/* name_or_id: a session's name or its id. */
KVAULT_API kvault_status kvault_client_delete(kvault_client* client, const char* name_or_id,
                                              kvault_error* error);

/* The same, and the session's key is destroyed when it returns: nobody can read its bytes again,
 * wherever a copy of them lies. UNSUPPORTED where the namespace is not encrypted; BUSY while forks
 * of the same chat share the key. */
KVAULT_API kvault_status kvault_client_destroy(kvault_client* client, const char* name_or_id,
                                               kvault_error* error);
/* 1 where what this client saves is encrypted (XChaCha20-Poly1305), else 0. Exports are not. */
KVAULT_API int kvault_client_is_encrypted(const kvault_client* client);

typedef struct kvault_namespace_info {
  char name[65]; /* "" for the shared one */
  char reserved[3];
  uint32_t n_client;
  uint64_t size_bytes; /* of all its files; the quota counts those of all namespaces */
} kvault_namespace_info;
typedef int (*kvault_namespace_visitor)(const kvault_namespace_info* info, void* user);
/* Calls the visitor for every namespace, by name, until it returns 0. */
KVAULT_API kvault_status kvault_client_namespaces(kvault_client* client,
                                                  kvault_namespace_visitor visitor, void* user,
                                                  kvault_error* error);

/* Removes the namespace that this client is in, with every session in it, durably; of an encrypted
 * one all keys are destroyed first, and nobody can read its payload again. The connection ends with
 * it, and nothing but kvault_client_disconnect is of use then. BUSY while another client is in the
 * namespace, or sessions of this one are open; INVALID_ARGUMENT in the shared one. */
KVAULT_API kvault_status kvault_client_remove_namespace(kvault_client* client, kvault_error* error);

/* What kvault_client_update changes. Fields that are NULL or 0 leave things as they are. */
typedef struct kvault_session_update {
  uint32_t struct_size;
  uint32_t n_label;          /* at most 32 */
  const char* name;          /* a new name; ALREADY_EXISTS where it is in use */
  const char* const* labels; /* [n_label], 1 to 128 bytes each; replace all there are */
  uint32_t clear_labels;     /* 1: no labels */
  int32_t pin;               /* 1: never evict, -1: may be evicted */
  int64_t expires_unix_s;    /* -1: never */
} kvault_session_update;
#define KVAULT_SESSION_UPDATE_INIT \
  { sizeof(kvault_session_update), 0, NULL, NULL, 0, 0, 0 }

/* Renames, labels, pins a session, lets it expire. Durable when it returns; a session that is open
 * for writing is not disturbed. */
KVAULT_API kvault_status kvault_client_update(kvault_client* client, const char* name_or_id,
                                              const kvault_session_update* update,
                                              kvault_error* error);

/* A new session of the first n_token tokens that another has on disk, or fewer (out_kept, as
 * kvault_cache_rollback; may be NULL). Nothing is copied, and neither session notices the other.
 * UINT64_MAX: all tokens. ALREADY_EXISTS, OUT_OF_RANGE. Open it with kvault_session_open. */
KVAULT_API kvault_status kvault_client_fork(kvault_client* client, const char* name_or_id,
                                            uint64_t n_token, const char* new_name,
                                            kvault_kept* out_kept, kvault_error* error);

typedef struct kvault_daemon_stats {
  uint32_t struct_size;
  uint32_t n_session;
  uint32_t n_connection;
  uint32_t reserved;
  uint64_t live_size_bytes; /* records that some session needs */
  uint64_t pack_size_bytes; /* all packs on disk */
  uint64_t disk_size_bytes; /* packs, catalog and whatever else the daemon keeps */
  uint64_t quota_bytes;     /* 0: none */
  uint64_t n_record;
  uint64_t n_pack;
  uint64_t n_queued_task;
  uint64_t uptime_s;
  uint64_t n_commit; /* this and the following: since the daemon's start */
  uint64_t written_size_bytes;
  uint64_t n_evicted;
  uint64_t n_expired;
  uint64_t n_pack_deleted;
  uint64_t n_compaction;
  uint64_t moved_size_bytes;
  uint64_t n_damage; /* damaged records met by verify and compaction */
} kvault_daemon_stats;
#define KVAULT_DAEMON_STATS_INIT \
  { sizeof(kvault_daemon_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
KVAULT_API kvault_status kvault_client_stats(kvault_client* client, kvault_daemon_stats* out_stats,
                                             kvault_error* error);

/* Reads every stored byte of a session (NULL: of all) and checks it. */
typedef struct kvault_verify_report {
  uint64_t n_record;
  uint64_t n_damaged;
  uint64_t size_bytes;
} kvault_verify_report;
KVAULT_API kvault_status kvault_client_verify(kvault_client* client, const char* name_or_id,
                                              kvault_verify_report* out_report,
                                              kvault_error* error);
/* The same, and takes a damaged session back to the newest position before the damage; the report
 * says what was found. BUSY while the session is open. */
KVAULT_API kvault_status kvault_client_repair(kvault_client* client, const char* name_or_id,
                                              kvault_verify_report* out_report,
                                              kvault_error* error);
/* Finishes what is queued and ends the daemon. */
KVAULT_API kvault_status kvault_client_shutdown(kvault_client* client, kvault_error* error);

/* Called during long work; return 0 to cancel (CANCELLED). A restore counts the bytes of layers
 * that are loaded and verified; what is cancelled stays as it was stored, and may be tried again.
 */
typedef int (*kvault_progress)(uint64_t done_bytes, uint64_t total_bytes, void* user);

/* Writes a session as of its last save to one file, which kvault_client_import reads on any machine
 * (docs/format.md, section 6). Every byte is verified before it is written. The file, mode 0600,
 * appears at `path` once it is whole and on the disk: after an error nothing is there. Nothing is
 * replaced (ALREADY_EXISTS). It is not encrypted. Counts bytes of records; progress may be NULL.
 * NOT_FOUND, CORRUPT, CANCELLED, DISK_FULL, PERMISSION, IO. */
KVAULT_API kvault_status kvault_client_export(kvault_client* client, const char* name_or_id,
                                              const char* path, kvault_progress progress,
                                              void* user, kvault_error* error);
/* Makes a session of such a file, under new_name or, where that is NULL, the name it had; labels,
 * pin and expiry come along, unless the expiry has passed. All of the file is verified before
 * anything is stored. Durable when it returns; after an error there is no session, and where the
 * connection was lost at most one without this name, which expires within a day. Counts every byte
 * of the file twice: verified, sent; progress and out_info may be NULL.
 * ALREADY_EXISTS: the name. TRUNCATED, CORRUPT, UNKNOWN_FORMAT: the file. LIMIT_EXCEEDED: a session
 * of more than 16384 records. CANCELLED, NOT_FOUND, PERMISSION, IO, DISK_FULL. */
KVAULT_API kvault_status kvault_client_import(kvault_client* client, const char* path,
                                              const char* new_name, kvault_progress progress,
                                              void* user, kvault_session_info* out_info,
                                              kvault_error* error);

/* ---- 5. Sessions ------------------------------------------------------------------------- */

/* A session is a cache with a home on disk. */
typedef struct kvault_session kvault_session;

/* What must be equal for a saved state to mean anything: weights hash, LoRA, rope, vocabulary, ...
 * Compared field by field; IDENTITY_MISMATCH names the first that differs. */
typedef struct kvault_identity_field {
  const char* name;
  const char* value;
} kvault_identity_field;

typedef struct kvault_session_options {
  uint32_t struct_size;
  uint32_t n_identity;
  const char* name;                      /* unique among the user's sessions */
  const kvault_identity_field* identity; /* [n_identity] */
  const kvault_cache_options* cache;     /* shape, row type, device */
  kvault_progress progress;              /* may be NULL */
  void* progress_user;
  uint32_t create; /* 1: create it where there is none (kvault_session_open) */
  uint32_t copy;   /* 1: copy the pages into memory instead of mapping the packs */
  /* 1: kvault_session_open reads only what the session consists of; each layer is loaded when
   * kvault_session_load_layer asks for it or the cache first uses it, while the next one is read
   * ahead. So an engine starts on layer 0 while the others are still on the disk. */
  uint32_t stream;
  /* Milliseconds from the call of kvault_session_open until the last layer must be loaded; 0: no
   * limit. Loading that goes on past it ends with TIMEOUT; it is looked at between pages, not while
   * the daemon is waited for (kvault_client_options, timeout_ms). */
  uint32_t deadline_ms;
} kvault_session_options;
#define KVAULT_SESSION_OPTIONS_INIT \
  { sizeof(kvault_session_options), 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0 }

/* Opens a session for reading and writing and restores its cache as of the last acknowledged
 * save. Every segment's checksum is verified before it is used (CORRUPT). One writer at a time
 * (BUSY). The client must outlive the session.
 *
 * With `stream`, the checksums of a layer are verified when it is loaded, and every call that uses
 * a layer loads it first (kvault_cache_fork, kvault_session_rollback and _save: all they need).
 * Such a call may then also answer CORRUPT, CANCELLED, TIMEOUT or what its device says; the layer
 * stays not loaded, the call has done nothing, and all other layers go on working.
 *
 * After TIMEOUT the app recomputes: with kvault_session_rollback(session, 0, ...), which loads
 * nothing, a streamed session is empty, and what is appended and saved then takes its place. */
KVAULT_API kvault_status kvault_session_open(kvault_client* client,
                                             const kvault_session_options* options,
                                             kvault_session** out_session, kvault_error* error);
/* Closes without saving. */
KVAULT_API void kvault_session_close(kvault_session* session);

/* Loads one layer of a streamed session; nothing happens where it is loaded. The progress and the
 * deadline of the options apply. On a GPU the layer's copies are queued, not waited for.
 * OUT_OF_RANGE, CORRUPT (names the layer), CANCELLED, TIMEOUT. */
KVAULT_API kvault_status kvault_session_load_layer(kvault_session* session, uint32_t layer,
                                                   kvault_error* error);
/* Loads all that is not loaded, in the order of the layers, and waits until it is on the device.
 * Ends at the first layer that fails; those before it are loaded. */
KVAULT_API kvault_status kvault_session_load_all(kvault_session* session, kvault_error* error);

/* The session's cache; borrowed, lives as long as the session. */
KVAULT_API kvault_cache* kvault_session_cache(kvault_session* session);
/* As of the opening and the saves since. After a save the daemon is asked what the session takes on
 * disk; where it does not answer, stored_size_bytes is as of before. */
KVAULT_API kvault_status kvault_session_get_info(const kvault_session* session,
                                                 kvault_session_info* out_info,
                                                 kvault_error* error);

/* Bytes are 0 where kvaultd's answer was lost with the connection and the save was found done. */
typedef struct kvault_save_info {
  uint64_t commit_number;
  uint64_t n_token;
  uint64_t n_page;        /* sealed pages written by this save */
  uint64_t written_bytes; /* to the disk by this save, all in */
  uint64_t raw_bytes;     /* of these: raw rows and recurrent states */
  uint64_t coded_bytes;   /* of these: sealed pages */
  uint64_t shared_bytes;  /* pages that other sessions had already, byte for byte */
} kvault_save_info;

/* Saves everything appended since the last save; returns once it is durable. token_id:
 * [n_token_id], the ids of the tokens since the last saved position (or since the position a
 * rollback kept). CONFLICT where someone else has saved in between. */
KVAULT_API kvault_status kvault_session_save(kvault_session* session, const uint32_t* token_id,
                                             size_t n_token_id, kvault_save_info* out_info,
                                             kvault_error* error);

/* The ids of the saved tokens: [*out_n_token], borrowed until the next call on the session. */
KVAULT_API kvault_status kvault_session_tokens(const kvault_session* session,
                                               const uint32_t** out_token_id, uint64_t* out_n_token,
                                               kvault_error* error);

/* kvault_cache_rollback on the session's cache; durable with the next save. */
KVAULT_API kvault_status kvault_session_rollback(kvault_session* session, uint64_t n_token,
                                                 kvault_kept* out_kept, kvault_error* error);

/* A token id for what is no text (a picture's patch). It is equal to nothing, itself included, so
 * nothing behind it is shared; an app that can name such content gives it ids made of its hash. */
#define KVAULT_TOKEN_OPAQUE 0xFFFFFFFFU

typedef struct kvault_match {
  uint32_t found; /* 0: nothing is worth sharing, and all else is 0 */
  uint32_t reserved;
  uint64_t n_token; /* tokens that are equal */
  kvault_kept kept; /* where kvault_client_fork at n_token would begin */
  kvault_session_info info;
} kvault_match;

/* Which session of the same identity, shape and row type begins most like these tokens: ask before
 * prefilling a new chat, fork what is found, and prefill only the rest. The name in `options` is
 * not used. Looks at the first 180000 tokens. */
KVAULT_API kvault_status kvault_client_match(kvault_client* client,
                                             const kvault_session_options* options,
                                             const uint32_t* token_id, size_t n_token_id,
                                             kvault_match* out_match, kvault_error* error);

/* What a session is, for whoever wants to open one without knowing: the shape and the identity that
 * kvault_session_open compares. */
typedef struct kvault_description kvault_description;

KVAULT_API kvault_status kvault_client_describe(kvault_client* client, const char* name_or_id,
                                                kvault_description** out_description,
                                                kvault_error* error);
KVAULT_API void kvault_description_destroy(kvault_description* description);
/* Borrowed from the description, which is not NULL: [*out_n_layer], [*out_n_identity]. */
KVAULT_API kvault_row_type kvault_description_row_type(const kvault_description* description);
KVAULT_API const kvault_layer* kvault_description_layers(const kvault_description* description,
                                                         uint32_t* out_n_layer);
KVAULT_API const kvault_identity_field* kvault_description_identity(
    const kvault_description* description, uint32_t* out_n_identity);

#ifdef __cplusplus
}
#endif

#endif /* KVAULT_H */
