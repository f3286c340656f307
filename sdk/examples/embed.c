/* The vault in C: an engine keeps its own cache, and saves a chat's rows to kvault after a turn; in
 * the next life of the app it gets them back. Run: embed DATA_DIRECTORY [KVAULTD] */
#include <kvault/kvault.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_KV_HEAD = 2, HEAD_DIM = 64, ROW = N_KV_HEAD * HEAD_DIM, N_TOKEN = 600 };

static int fail(const char* what, const kvault_error* error) {
  fprintf(stderr, "%s: %s: %s\n", what, kvault_status_name(error->status), error->message);
  return 1;
}

/* Stands for an engine's keys: small numbers that differ per token, head and channel. */
static float element(uint32_t token, uint32_t i) {
  return (float)((token * 31 + i * 17) % 101) / 50.0F - 1.0F;
}

static kvault_status open_chat(kvault_client* client, const char* rope, kvault_session** session,
                               kvault_error* error) {
  kvault_layer layer = {KVAULT_FULL_ATTENTION, 4, N_KV_HEAD, HEAD_DIM, HEAD_DIM, 0, KVAULT_TQ4,
                        KVAULT_TQ4};
  kvault_identity_field identity[2] = {{"weights", "xxh3:0123456789abcdef"}, {"rope", NULL}};
  kvault_cache_options cache = KVAULT_CACHE_OPTIONS_INIT;
  kvault_session_options options = KVAULT_SESSION_OPTIONS_INIT;
  identity[1].value = rope;
  cache.n_layer = 1;
  cache.layers = &layer;
  cache.row_type = KVAULT_F32;
  cache.equalise = KVAULT_EQUALISE_NONE; /* a vault never sees queries */
  options.name = "a chat kept by an engine";
  options.identity = identity;
  options.n_identity = 2;
  options.cache = &cache;
  options.create = 1;
  return kvault_session_open(client, &options, session, error);
}

static int save_chat(kvault_client* client) {
  kvault_error error;
  kvault_session* session = NULL;
  kvault_save_info saved;
  float* rows = malloc(sizeof(float) * N_TOKEN * ROW);
  uint32_t* tokens = malloc(sizeof(uint32_t) * N_TOKEN);
  kvault_rows view = {rows, N_TOKEN, 0, 0, 0};
  int result = 1;
  for (uint32_t t = 0; t < N_TOKEN; ++t) {
    tokens[t] = t;
    for (uint32_t i = 0; i < ROW; ++i) rows[t * ROW + i] = element(t, i);
  }
  if (open_chat(client, "base 10000", &session, &error) != KVAULT_OK) {
    fail("open", &error);
  } else if (kvault_cache_append(kvault_session_cache(session), 0, &view, &view, &error) !=
             KVAULT_OK) {
    fail("append", &error);
  } else if (kvault_session_save(session, tokens, N_TOKEN, &saved, &error) != KVAULT_OK) {
    fail("save", &error);
  } else {
    printf("saved %d tokens as commit %d, %d pages sealed\n", (int)saved.n_token,
           (int)saved.commit_number, (int)saved.n_page);
    result = 0;
  }
  kvault_session_close(session);
  free(rows);
  free(tokens);
  return result;
}

static int restore_chat(kvault_client* client) {
  kvault_error error;
  kvault_session* session = NULL;
  float* rows = malloc(sizeof(float) * N_TOKEN * ROW);
  double worst_raw = 0, worst = 0;
  int result = 1;
  if (open_chat(client, "base 1000000", &session, &error) != KVAULT_IDENTITY_MISMATCH) {
    fprintf(stderr, "another model's session was not refused\n");
    goto done;
  }
  printf("refused as it should: %s\n", error.message);
  if (open_chat(client, "base 10000", &session, &error) != KVAULT_OK) {
    fail("open again", &error);
    goto done;
  }
  if (kvault_cache_read_rows(kvault_session_cache(session), 0, KVAULT_KEY, 0, N_TOKEN, KVAULT_F32,
                             rows, sizeof(float) * N_TOKEN * ROW, &error) != KVAULT_OK) {
    fail("read", &error);
    goto done;
  }
  for (uint32_t t = 0; t < N_TOKEN; ++t) {
    for (uint32_t i = 0; i < ROW; ++i) {
      const double difference = rows[t * ROW + i] - element(t, i);
      const double distance = difference < 0 ? -difference : difference;
      const int is_raw = t < 128 || t >= 384; /* the first page and the tail */
      if (is_raw && distance > worst_raw) worst_raw = distance;
      if (distance > worst) worst = distance;
    }
  }
  printf("restored: raw rows differ by %g, sealed ones by at most %.3f\n", worst_raw, worst);
  result = worst_raw == 0 && worst > 0 && worst < 0.5 ? 0 : 1;
done:
  kvault_session_close(session);
  free(rows);
  return result;
}

int main(int argc, char** argv) {
  kvault_error error;
  kvault_client* client = NULL;
  kvault_client_options options = KVAULT_CLIENT_OPTIONS_INIT;
  int result = 0;
  if (argc < 2) {
    fprintf(stderr, "usage: %s DATA_DIRECTORY [KVAULTD]\n", argv[0]);
    return 2;
  }
  options.data_directory = argv[1];
  options.daemon_path = argc > 2 ? argv[2] : NULL;
  options.app_name = "embed";
  for (int life = 0; life < 2 && result == 0; ++life) { /* as two runs of the app */
    if (kvault_client_connect(&options, &client, &error) != KVAULT_OK) {
      return fail("connect", &error);
    }
    result = life == 0 ? save_chat(client) : restore_chat(client);
    if (life == 1) kvault_client_shutdown(client, NULL);
    kvault_client_disconnect(client);
  }
  return result;
}
