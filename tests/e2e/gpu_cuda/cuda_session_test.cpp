#ifdef KVAULT_SDK_HAS_CUDA

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/daemon_process.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/sdk/cuda_engine.hpp"

// A session in a context that an engine lends: saved from it, restored to it layer by layer.

namespace kvault {
namespace {

using test::CudaArray;
using test::CudaEngine;

constexpr std::uint32_t kHeads = 2;
constexpr std::uint32_t kDim = 32;
constexpr std::uint32_t kTokens = 500;
constexpr kvault_layer kLayer = {
    KVAULT_FULL_ATTENTION, kHeads, kHeads, kDim, kDim, 0, KVAULT_TQ4, KVAULT_TQ3};
constexpr kvault_layer kLayers[] = {kLayer, kLayer};

struct ClientDeleter {
  void operator()(kvault_client* client) const { kvault_client_disconnect(client); }
};
struct SessionDeleter {
  void operator()(kvault_session* session) const { kvault_session_close(session); }
};
using OwnedClient = std::unique_ptr<kvault_client, ClientDeleter>;
using OwnedSession = std::unique_ptr<kvault_session, SessionDeleter>;

OwnedClient connect(const test::Daemon& daemon) {
  (void)daemon.connect();  // waits until it has started
  const std::string socket = daemon.socket_path();
  kvault_client_options options = KVAULT_CLIENT_OPTIONS_INIT;
  options.no_auto_start = 1;
  options.socket_path = socket.c_str();
  kvault_client* client = nullptr;
  REQUIRE(kvault_client_connect(&options, &client, nullptr) == KVAULT_OK);
  return OwnedClient(client);
}

OwnedSession open_lent(kvault_client* client, const kvault_cuda_device& lent) {
  kvault_cache_options cache = KVAULT_CACHE_OPTIONS_INIT;
  cache.n_layer = 2;
  cache.layers = kLayers;
  cache.row_type = KVAULT_F32;
  cache.cuda_device = &lent;
  kvault_session_options options = KVAULT_SESSION_OPTIONS_INIT;
  options.name = "lent";
  options.cache = &cache;
  options.create = 1;
  options.stream = 1;
  kvault_session* session = nullptr;
  kvault_error error{};
  kvault_session_open(client, &options, &session, &error);
  INFO(std::string(error.message));
  REQUIRE(session != nullptr);
  return OwnedSession(session);
}

/// What the newest tokens' queries give.
std::vector<float> attend(const CudaEngine& engine, kvault_session* session, std::uint32_t layer) {
  const CudaArray<float> q(engine, test::Random(9).normals(std::size_t{2} * kHeads * kDim));
  const CudaArray<float> out(engine, q.size());
  kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
  options.n_q = 2;
  options.q = q.at();
  options.out = out.at();
  kvault_error error{};
  kvault_cuda_attend(kvault_session_cache(session), layer, &options, &error);
  INFO(std::string(error.message));
  CHECK(error.status == KVAULT_OK);
  return out.read();
}

}  // namespace

TEST_CASE("a session in a context that is lent comes back to it with the same bits") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  const OwnedClient client = connect(daemon);
  const kvault_cuda_device lent = engine->lend();
  std::vector<std::vector<float>> expected;
  {
    const OwnedSession session = open_lent(client.get(), lent);
    for (std::uint32_t layer = 0; layer < 2; ++layer) {
      const CudaArray<float> rows(
          *engine, test::Random(layer).normals(std::size_t{kTokens} * kHeads * kDim));
      const kvault_rows given = {rows.at(), kTokens, 0, 0, 0};
      REQUIRE(kvault_cuda_append(kvault_session_cache(session.get()), layer, &given, &given,
                                 nullptr) == KVAULT_OK);
      expected.push_back(attend(*engine, session.get(), layer));
    }
    const std::vector<std::uint32_t> token_ids(kTokens, 7);
    REQUIRE(kvault_session_save(session.get(), token_ids.data(), token_ids.size(), nullptr,
                                nullptr) == KVAULT_OK);
  }
  const OwnedSession session = open_lent(client.get(), lent);
  CHECK(kvault_cache_n_token(kvault_session_cache(session.get())) == kTokens);
  for (std::uint32_t layer = 0; layer < 2; ++layer) {
    CHECK(attend(*engine, session.get(), layer) == expected[layer]);
  }
}

}  // namespace kvault

#endif
