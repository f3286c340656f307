// Live use in C++: a two-layer "model" attends through kvault, saves after every turn, loses its
// process in between (here: closes everything), resumes, and computes the same bits as one that
// never stopped. Run: embed_cpp DATA_DIRECTORY [KVAULTD]
#include <cstdio>
#include <cstring>
#include <kvault/kvault.hpp>
#include <vector>

namespace sdk = kvault::sdk;

namespace {

constexpr std::uint32_t kHeads = 4, kKvHeads = 2, kHeadDim = 64, kTurn = 150, kTurns = 6;

// Stands for a model's projections: pseudo-random rows that depend on token and layer only.
std::vector<float> make_rows(std::uint32_t token, std::uint32_t layer, std::uint32_t n_head) {
  std::vector<float> row(std::size_t{n_head} * kHeadDim);
  std::uint32_t state = token * 2654435761U + layer * 40503U + n_head + 1U;
  for (float& value : row) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8U) / 8388608.0F - 1.0F;
  }
  return row;
}

bool ok(const char* what, const sdk::Error* error) {
  if (error == nullptr) return true;
  std::fprintf(stderr, "%s: %s\n", what, error->message);
  return false;
}

template <class T>
const sdk::Error* error_of(const sdk::Outcome<T>& outcome) {
  return outcome.is_ok() ? nullptr : &outcome.error();
}

// One turn: every token passes both layers; returns what the last layer gave for each.
bool run_turn(sdk::CacheView cache, std::uint32_t turn, std::vector<float>& outputs) {
  for (std::uint32_t i = 0; i < kTurn; ++i) {
    const std::uint32_t token = turn * kTurn + i;
    std::vector<float> out(std::size_t{kHeads} * kHeadDim);
    for (std::uint32_t layer = 0; layer < 2; ++layer) {
      const auto q = make_rows(token, layer, kHeads);
      const auto k = make_rows(token + 7, layer, kKvHeads);
      const auto v = make_rows(token + 9, layer, kKvHeads);
      const auto done =
          cache.append_attend(layer, {.data = k, .n_token = 1}, {.data = v, .n_token = 1},
                              {.n_q = 1, .q = q, .out = out});
      if (!ok("append_attend", error_of(done))) return false;
    }
    outputs.insert(outputs.end(), out.begin(), out.end());
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DATA_DIRECTORY [KVAULTD]\n", argv[0]);
    return 2;
  }
  const kvault_layer layer = {
      KVAULT_FULL_ATTENTION, kHeads, kKvHeads, kHeadDim, kHeadDim, 0, KVAULT_TQ4, KVAULT_TQ4};
  const kvault_layer layers[] = {layer, layer};
  const sdk::CacheOptions cache = {.layers = layers, .row_type = KVAULT_F32, .n_thread = 1};

  auto uninterrupted = sdk::Cache::create(cache);
  if (!ok("create", error_of(uninterrupted))) return 1;
  std::vector<float> expected;
  for (std::uint32_t turn = 0; turn < kTurns; ++turn) {
    if (!run_turn(uninterrupted->view(), turn, expected)) return 1;
  }

  std::vector<float> outputs;
  for (std::uint32_t turn = 0; turn < kTurns; ++turn) {  // each turn is another life of the app
    auto client = sdk::Client::connect({.data_directory = argv[1],
                                        .daemon_path = argc > 2 ? argv[2] : "",
                                        .app_name = "embed_cpp"});
    if (!ok("connect", error_of(client))) return 1;
    auto session =
        sdk::Session::open(client.value(), {.name = "a live chat", .cache = cache, .create = true});
    if (!ok("open", error_of(session))) return 1;
    if (!run_turn(session->cache(), turn, outputs)) return 1;
    const std::vector<std::uint32_t> ids(kTurn, turn);
    const auto saved = session->save(ids);
    if (!ok("save", error_of(saved))) return 1;
    std::printf("turn %u: %llu tokens saved, %llu bytes written\n", turn,
                static_cast<unsigned long long>(saved->n_token),
                static_cast<unsigned long long>(saved->written_bytes));
    if (turn + 1 == kTurns && !ok("shutdown", error_of(client->shutdown()))) return 1;
  }
  const bool identical =
      outputs.size() == expected.size() &&
      std::memcmp(outputs.data(), expected.data(), outputs.size() * sizeof(float)) == 0;
  std::printf("identical to a run that never stopped: %s\n", identical ? "yes" : "NO");
  return identical ? 0 : 1;
}
