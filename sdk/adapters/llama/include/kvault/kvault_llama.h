/* kvault for llama.cpp: saves and resumes the chat that a sequence of a llama_context holds.
 *
 * Three calls around what an app does anyway (docs/llama.md begins with a whole program):
 *
 *   kvault_llama_chat_open(&options, &chat, &error);         once per chat
 *   kvault_llama_save(chat, &sequence, tokens, n, ...);      after each turn: writes what is new
 *   kvault_llama_resume(chat, &sequence, tokens, n, ...);    in the next life of the app
 *
 * Nothing of llama.cpp is linked: the app hands in the functions, or a library to find them in. Of
 * its state functions only those in memory are used, never those of files, which end the process
 * when a file is damaged. A state is parsed to its last byte before it is kept, and what is written
 * back is made for the context it goes to: cache types, flash attention and streams may be others
 * than when it was saved.
 *
 * The conventions are those of kvault.h. A chat, its client, its model and the llama_context are
 * used by one thread at a time.
 */
#ifndef KVAULT_LLAMA_H
#define KVAULT_LLAMA_H

#include <kvault/kvault.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1. llama.cpp ------------------------------------------------------------------------ */

struct llama_context;
struct llama_memory_i;

/* The functions of llama.h that are used, as they are declared there. */
typedef struct kvault_llama_functions {
  uint32_t struct_size;
  uint32_t reserved;
  uint32_t (*n_ctx)(const struct llama_context*);
  uint32_t (*n_seq_max)(const struct llama_context*);
  struct llama_memory_i* (*get_memory)(const struct llama_context*);
  bool (*memory_seq_rm)(struct llama_memory_i*, int32_t, int32_t, int32_t);
  void (*memory_seq_cp)(struct llama_memory_i*, int32_t, int32_t, int32_t, int32_t);
  int32_t (*memory_seq_pos_max)(struct llama_memory_i*, int32_t);
  size_t (*state_seq_get_size)(struct llama_context*, int32_t);
  size_t (*state_seq_get_data)(struct llama_context*, uint8_t*, size_t, int32_t);
  size_t (*state_seq_set_data)(struct llama_context*, const uint8_t*, size_t, int32_t);
} kvault_llama_functions;

/* For an app that includes llama.h:
 *   kvault_llama_functions functions = KVAULT_LLAMA_FUNCTIONS; */
#define KVAULT_LLAMA_FUNCTIONS                                                         \
  {                                                                                    \
    sizeof(kvault_llama_functions), 0, llama_n_ctx, llama_n_seq_max, llama_get_memory, \
        llama_memory_seq_rm, llama_memory_seq_cp, llama_memory_seq_pos_max,            \
        llama_state_seq_get_size, llama_state_seq_get_data, llama_state_seq_set_data   \
  }

/* Finds them by name in a library that dlopen returned, or, where `library` is NULL, in the
 * process. NOT_FOUND names the first that is missing. */
KVAULT_API kvault_status kvault_llama_find_functions(void* library,
                                                     kvault_llama_functions* out_functions,
                                                     kvault_error* error);

/* A sequence of a context, and how the context was made. What is -1 is found out: the streams from
 * the context, cache types and flash attention from what the sequence holds or, where it is empty,
 * by trying one-token states (llama.cpp logs those it refuses). */
typedef struct kvault_llama_sequence {
  uint32_t struct_size;
  int32_t seq_id;
  struct llama_context* context;
  /* A sequence of the same context that holds nothing, or -1. With it, and kv_unified, a save
   * copies the new tokens alone out of the context, and a resume puts a plain chat back in parts of
   * a few MiB; without, the whole state is copied, through as much memory again. */
  int32_t scratch_seq_id;
  int32_t type_k; /* enum ggml_type, as in llama_context_params */
  int32_t type_v;
  int32_t flash_attention; /* 0, 1 */
  int32_t rotates; /* 0: this llama.cpp does not rotate quantised rows (before 2026-04); -1: it
                      does, unless LLAMA_ATTN_ROT_DISABLE is set */
  uint32_t reserved;
} kvault_llama_sequence;
#define KVAULT_LLAMA_SEQUENCE_INIT \
  { sizeof(kvault_llama_sequence), 0, NULL, -1, -1, -1, -1, -1, 0 }

/* ---- 2. The model ------------------------------------------------------------------------ */

/* What a GGUF file says that matters to saved states: which model it is, and how its keys are
 * equalised. Reads the head and samples of the weights, no more. */
typedef struct kvault_llama_model kvault_llama_model;

typedef struct kvault_llama_lora {
  const char* path;
  float scale;
} kvault_llama_lora;

/* Rope as in llama_context_params; the INIT macro says "as in the model". */
typedef struct kvault_llama_model_options {
  uint32_t struct_size;
  uint32_t n_lora;
  const char* path;              /* of several files, the first */
  const kvault_llama_lora* lora; /* [n_lora], those that are applied */
  int32_t rope_scaling_type;
  float rope_freq_base;
  float rope_freq_scale;
  float yarn_ext_factor;
  float yarn_attn_factor;
  float yarn_beta_fast;
  float yarn_beta_slow;
  uint32_t yarn_orig_ctx;
} kvault_llama_model_options;
#define KVAULT_LLAMA_MODEL_OPTIONS_INIT \
  { sizeof(kvault_llama_model_options), 0, NULL, NULL, -1, 0, 0, -1, -1, -1, -1, 0 }

/* NOT_FOUND, TRUNCATED, CORRUPT, UNKNOWN_FORMAT: the file. UNSUPPORTED: an architecture whose state
 * has parts that this version does not know. */
KVAULT_API kvault_status kvault_llama_model_open(const kvault_llama_model_options* options,
                                                 kvault_llama_model** out_model,
                                                 kvault_error* error);
KVAULT_API void kvault_llama_model_close(kvault_llama_model* model);
/* The identity of its sessions: [*out_n], borrowed from the model. */
KVAULT_API const kvault_identity_field* kvault_llama_model_identity(const kvault_llama_model* model,
                                                                    uint32_t* out_n);

/* ---- 3. Chats ---------------------------------------------------------------------------- */

/* A session of kvaultd that holds states of one model. */
typedef struct kvault_llama_chat kvault_llama_chat;

typedef struct kvault_llama_chat_options {
  uint32_t struct_size;
  uint32_t create;                 /* 1: begin it where there is none, at the first save */
  kvault_client* client;           /* outlives the chat */
  const kvault_llama_model* model; /* outlives the chat */
  const char* name;                /* of the session */
  /* Of a new chat: raw (the rows as they are: lossless), k8v8, k8v4, k4v4, ...; NULL = k8v4. */
  const char* preset;
  const kvault_llama_functions* functions; /* copied; NULL where only states are given */
  kvault_progress progress;                /* of restoring and saving; may be NULL */
  void* progress_user;
  uint32_t n_thread; /* for coding; 0 = one per core but one, which llama.cpp works on meanwhile */
  uint32_t reserved;
} kvault_llama_chat_options;
#define KVAULT_LLAMA_CHAT_OPTIONS_INIT \
  { sizeof(kvault_llama_chat_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0 }

/* IDENTITY_MISMATCH names what differs (model, LoRA, rope) before a byte is loaded. NOT_FOUND, BUSY
 * (open elsewhere), and what kvault_session_open answers. */
KVAULT_API kvault_status kvault_llama_chat_open(const kvault_llama_chat_options* options,
                                                kvault_llama_chat** out_chat, kvault_error* error);
KVAULT_API void kvault_llama_chat_close(kvault_llama_chat* chat);

/* The session's name; another one after a save that began a fork. Borrowed. */
KVAULT_API const char* kvault_llama_chat_name(const kvault_llama_chat* chat);
/* The ids of the saved tokens: [*out_n_token], borrowed until the next call on the chat. */
KVAULT_API kvault_status kvault_llama_chat_tokens(kvault_llama_chat* chat,
                                                  const int32_t** out_tokens, uint64_t* out_n_token,
                                                  kvault_error* error);

typedef enum kvault_llama_way {
  KVAULT_LLAMA_NOTHING = 0,  /* there was nothing new */
  KVAULT_LLAMA_APPENDED = 1, /* behind what was saved */
  KVAULT_LLAMA_REPLACED = 2, /* an edit or a regenerated answer: took the place of an old end */
  KVAULT_LLAMA_FORKED = 3    /* the context was shifted: a new session, see chat_name */
} kvault_llama_way;

typedef struct kvault_llama_save_info {
  uint32_t struct_size;
  uint32_t way;           /* kvault_llama_way */
  uint64_t n_token;       /* saved now */
  uint64_t n_token_kept;  /* of these, saved before */
  uint64_t copied_bytes;  /* taken from the context */
  uint64_t written_bytes; /* to the disk, all in */
  uint64_t shared_bytes;  /* that other sessions had already */
  double copy_ms;
  double save_ms; /* all in */
} kvault_llama_save_info;
#define KVAULT_LLAMA_SAVE_INFO_INIT \
  { sizeof(kvault_llama_save_info), 0, 0, 0, 0, 0, 0, 0.0, 0.0 }

/* Saves what the sequence holds; durable when it returns. tokens: [n_token], the ids of all tokens
 * of the sequence, in order. What is saved already, as far as the ids agree, is not written again.
 * A sequence that has been shifted (llama_memory_seq_add) or has gaps is never joined with its
 * unshifted past: the common beginning is forked, and the chat goes on in the fork.
 * SHAPE_MISMATCH: another number of tokens than the sequence holds. UNKNOWN_FORMAT, CORRUPT, ...: a
 * state that is none. NOT_FINITE: rows of NaN. After an error the saved chat is as before,
 * and none where there was none. */
KVAULT_API kvault_status kvault_llama_save(kvault_llama_chat* chat,
                                           const kvault_llama_sequence* sequence,
                                           const int32_t* tokens, size_t n_token,
                                           kvault_llama_save_info* out_info, kvault_error* error);

typedef struct kvault_llama_resume_info {
  uint32_t struct_size;
  uint32_t is_verbatim;    /* 1: every byte of the rows is as it was saved */
  uint64_t n_token_saved;  /* of the chat */
  uint64_t n_token_reused; /* the sequence holds now; decode tokens[n_token_reused] on */
  uint64_t n_token_to_decode;
  uint64_t stored_bytes; /* of the chat on disk */
  uint64_t state_bytes;  /* given to the context */
  double load_ms;        /* from disk to a state */
  double resume_ms;      /* all in, the context's part too */
} kvault_llama_resume_info;
#define KVAULT_LLAMA_RESUME_INFO_INIT \
  { sizeof(kvault_llama_resume_info), 0, 0, 0, 0, 0, 0, 0.0, 0.0 }

/* Puts the saved state into the sequence, in place of what it holds: as much of it as `tokens`,
 * [n_token], the prompt to go on with, begins like, and at least one token less than that, because
 * a state has no logits. Recurrent and hybrid models can go on only where a save ended. tokens
 * NULL: all that is saved; decode something behind it.
 * LIMIT_EXCEEDED: the context is too small. UNSUPPORTED: rows of a type that cannot be converted,
 * or llama.cpp refuses. After an error the sequence is empty or as before. */
KVAULT_API kvault_status kvault_llama_resume(kvault_llama_chat* chat,
                                             const kvault_llama_sequence* sequence,
                                             const int32_t* tokens, size_t n_token,
                                             kvault_llama_resume_info* out_info,
                                             kvault_error* error);

/* The saved session of this model that begins most like these tokens: fork it with
 * kvault_client_fork, open the fork, resume. */
KVAULT_API kvault_status kvault_llama_match(kvault_client* client, const kvault_llama_model* model,
                                            const int32_t* tokens, size_t n_token,
                                            kvault_match* out_match, kvault_error* error);

/* ---- 4. States as bytes ------------------------------------------------------------------ */

/* For callers that cannot hand in functions: they bring and take states. A state is what
 * llama_state_seq_get_data gives, or the bytes of a llama_state_seq_save_file. */

/* tokens may be NULL for a file, which has its own. */
KVAULT_API kvault_status kvault_llama_save_state(kvault_llama_chat* chat, const void* state,
                                                 size_t state_bytes, const int32_t* tokens,
                                                 size_t n_token, kvault_llama_save_info* out_info,
                                                 kvault_error* error);

typedef struct kvault_llama_target {
  uint32_t struct_size;
  uint32_t is_file;  /* 1: for llama_state_seq_load_file; 0: for llama_state_seq_set_data */
  uint32_t n_stream; /* 1 where kv_unified or one sequence, else n_seq_max; 0 = 1 */
  int32_t type_k;    /* enum ggml_type; -1: as saved */
  int32_t type_v;
  int32_t flash_attention; /* 0, 1; -1: on */
  int32_t rotates;         /* as in kvault_llama_sequence */
  uint32_t reserved;
} kvault_llama_target;
#define KVAULT_LLAMA_TARGET_INIT \
  { sizeof(kvault_llama_target), 0, 1, -1, -1, -1, -1, 0 }

/* A state for such a context, as kvault_llama_resume makes it: [*out_state_bytes], borrowed until
 * the next call on the chat; empty where nothing can be reused. */
KVAULT_API kvault_status kvault_llama_make_state(kvault_llama_chat* chat,
                                                 const kvault_llama_target* target,
                                                 const int32_t* tokens, size_t n_token,
                                                 const void** out_state, size_t* out_state_bytes,
                                                 kvault_llama_resume_info* out_info,
                                                 kvault_error* error);

#ifdef __cplusplus
}
#endif

#endif /* KVAULT_LLAMA_H */
