/* A terminal chat on llama.cpp that remembers: quit it, start it again, and it goes on where it was
 * without reading the chat again.
 *
 *   chat MODEL.gguf NAME [KVAULTD [DATA_DIRECTORY]]
 *
 * Every line you type is a turn; an empty line or the end of the input ends the program. */
#include <kvault/kvault_llama.h>
#include <llama.h>
#include <stdio.h>
#include <string.h>

enum { N_CTX = 512, N_ANSWER = 24, N_LINE = 1024 };

typedef struct chat_app {
  struct llama_context* context;
  const struct llama_vocab* vocab;
  kvault_llama_chat* chat;
  kvault_llama_sequence sequence;
  int32_t tokens[N_CTX]; /* all of the chat */
  int32_t n_token;
  int32_t n_decoded; /* of them, the context holds */
} chat_app;

static int fail(const char* what, const kvault_error* error) {
  fprintf(stderr, "%s: %s: %s\n", what, kvault_status_name(error->status), error->message);
  return 1;
}

static void quiet(enum ggml_log_level level, const char* text, void* user) {
  (void)user;
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

/* Decodes what the context does not hold yet; 0 where that worked. */
static int decode(chat_app* app) {
  const int32_t n = app->n_token - app->n_decoded;
  if (llama_decode(app->context, llama_batch_get_one(app->tokens + app->n_decoded, n)) != 0) {
    return fprintf(stderr, "llama_decode failed\n");
  }
  app->n_decoded = app->n_token;
  return 0;
}

/* The likeliest next token. */
static int32_t choose(const chat_app* app) {
  const float* logits = llama_get_logits_ith(app->context, -1);
  const int32_t n = llama_vocab_n_tokens(app->vocab);
  int32_t best = 0;
  for (int32_t i = 1; i < n; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

static int answer(chat_app* app) {
  for (int i = 0; i < N_ANSWER && app->n_token < N_CTX - 1; ++i) {
    char piece[64];
    if (decode(app) != 0) return 1;
    const int32_t token = choose(app);
    if (llama_vocab_is_eog(app->vocab, token)) break;
    const int32_t n = llama_token_to_piece(app->vocab, token, piece, sizeof piece, 0, false);
    if (n > 0) printf("%.*s", (int)n, piece);
    app->tokens[app->n_token++] = token;
  }
  printf("\n");
  return app->n_token > app->n_decoded ? decode(app) : 0;
}

static int save(chat_app* app) {
  kvault_llama_save_info info = KVAULT_LLAMA_SAVE_INFO_INIT;
  kvault_error error;
  if (kvault_llama_save(app->chat, &app->sequence, app->tokens, (size_t)app->n_token, &info,
                        &error) != KVAULT_OK) {
    return fail("save", &error);
  }
  printf("[saved %d tokens, %d of them new, %d bytes]\n", (int)info.n_token,
         (int)(info.n_token - info.n_token_kept), (int)info.written_bytes);
  return 0;
}

/* Puts back what is saved; a chat that is new has nothing. */
static int resume(chat_app* app) {
  kvault_llama_resume_info info = KVAULT_LLAMA_RESUME_INFO_INIT;
  const int32_t* tokens = NULL;
  uint64_t n = 0;
  kvault_error error;
  if (kvault_llama_chat_tokens(app->chat, &tokens, &n, &error) != KVAULT_OK) {
    return fail("tokens", &error);
  }
  if (n == 0 || n >= N_CTX) return 0;
  memcpy(app->tokens, tokens, n * sizeof *tokens);
  app->n_token = (int32_t)n;
  if (kvault_llama_resume(app->chat, &app->sequence, NULL, 0, &info, &error) != KVAULT_OK) {
    return fail("resume", &error);
  }
  app->n_decoded = (int32_t)info.n_token_reused;
  printf("[resumed %d tokens of %d, %.1f ms]\n", (int)info.n_token_reused, (int)n, info.resume_ms);
  return 0;
}

static int talk(chat_app* app) {
  char line[N_LINE];
  if (resume(app) != 0) return 1;
  while (fgets(line, sizeof line, stdin) != NULL && line[0] != '\n') {
    const int32_t room = N_CTX - N_ANSWER - app->n_token;
    line[strcspn(line, "\n")] = '\0';
    const int32_t n = llama_tokenize(app->vocab, line, (int32_t)strlen(line),
                                     app->tokens + app->n_token, room > 0 ? room : 0,
                                     app->n_token == 0, false);
    if (n <= 0) {
      printf("[the context is full]\n");
      break;
    }
    app->n_token += n;
    if (answer(app) != 0 || save(app) != 0) return 1;
  }
  return 0;
}

static int run(struct llama_model* model, const char* path, const char* name,
               const kvault_client_options* where) {
  const kvault_llama_functions functions = KVAULT_LLAMA_FUNCTIONS;
  kvault_llama_chat_options options = KVAULT_LLAMA_CHAT_OPTIONS_INIT;
  kvault_llama_model_options which = KVAULT_LLAMA_MODEL_OPTIONS_INIT;
  const kvault_llama_sequence none = KVAULT_LLAMA_SEQUENCE_INIT;
  struct llama_context_params params = llama_context_default_params();
  kvault_llama_model* file = NULL;
  kvault_client* client = NULL;
  kvault_error error;
  chat_app app = {0};
  int result = 1;
  params.n_ctx = N_CTX;
  params.n_seq_max = 2; /* the second is scratch: turns are saved by themselves */
  params.kv_unified = true;
  params.n_threads = params.n_threads_batch = 1;
  app.context = llama_init_from_model(model, params);
  app.vocab = llama_model_get_vocab(model);
  app.sequence = none;
  app.sequence.context = app.context;
  app.sequence.scratch_seq_id = 1;
  which.path = path;
  options.name = name;
  options.create = 1;
  options.functions = &functions;
  if (app.context == NULL) {
    fprintf(stderr, "no context\n");
  } else if (kvault_client_connect(where, &client, &error) != KVAULT_OK) {
    fail("connect", &error);
  } else if (kvault_llama_model_open(&which, &file, &error) != KVAULT_OK) {
    fail("model", &error);
  } else {
    options.client = client;
    options.model = file;
    if (kvault_llama_chat_open(&options, &app.chat, &error) != KVAULT_OK) {
      fail("chat", &error);
    } else {
      result = talk(&app);
    }
  }
  kvault_llama_chat_close(app.chat);
  kvault_llama_model_close(file);
  kvault_client_disconnect(client);
  llama_free(app.context);
  return result;
}

int main(int argc, char** argv) {
  kvault_client_options where = KVAULT_CLIENT_OPTIONS_INIT;
  if (argc < 3) {
    fprintf(stderr, "usage: chat MODEL.gguf NAME [KVAULTD [DATA_DIRECTORY]]\n");
    return 2;
  }
  where.daemon_path = argc > 3 ? argv[3] : NULL;
  where.data_directory = argc > 4 ? argv[4] : NULL;
  where.app_name = "chat-c";
  llama_log_set(quiet, NULL);
  ggml_backend_load_all();
  struct llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == NULL) return 1;
  const int result = run(model, argv[1], argv[2], &where);
  llama_model_free(model);
  return result;
}
