#ifdef KVAULT_SDK_HAS_VULKAN

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/daemon_process.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/sdk/lent_cache.hpp"

// A session on a device that an engine lends: saved from it, restored to it, closed before it.

namespace kvault {
namespace {

using test::Engine;
using test::Step;
using test::StepBuffers;

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

OwnedSession open_lent(kvault_client* client, const kvault_vulkan_device& lent) {
  kvault_cache_options cache = KVAULT_CACHE_OPTIONS_INIT;
  cache.n_layer = 1;
  cache.layers = &test::kLentLayer;
  cache.row_type = KVAULT_F32;
  cache.vulkan_device = &lent;
  kvault_session_options options = KVAULT_SESSION_OPTIONS_INIT;
  options.name = "lent";
  options.cache = &cache;
  options.create = 1;
  kvault_session* session = nullptr;
  kvault_error error{};
  kvault_session_open(client, &options, &session, &error);
  INFO(std::string(error.message));
  REQUIRE(session != nullptr);
  return OwnedSession(session);
}

/// What the newest tokens' queries give.
std::vector<float> attend(const Engine& engine, kvault_session* session, const Step& step) {
  StepBuffers buffers(engine, step);
  const kvault_attend_options options = step.options();
  const kvault_vulkan_attend_buffers places = buffers.attend();
  kvault_error error{};
  kvault_vulkan_attend(kvault_session_cache(session), 0, &options, &places, nullptr, &error);
  INFO(std::string(error.message));
  CHECK(error.status == KVAULT_OK);
  return buffers.out();
}

}  // namespace

TEST_CASE("a session on a device that is lent comes back to it with the same bits") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  const OwnedClient client = connect(daemon);
  const kvault_vulkan_device lent = engine->lend();
  const Step chat(500, 1);
  const Step question(2, 9);
  std::vector<float> expected;
  {
    const OwnedSession session = open_lent(client.get(), lent);
    const StepBuffers buffers(*engine, chat);
    const kvault_vulkan_rows keys = buffers.keys();
    const kvault_vulkan_rows values = buffers.values();
    REQUIRE(kvault_vulkan_append(kvault_session_cache(session.get()), 0, &keys, &values, nullptr,
                                 nullptr) == KVAULT_OK);
    expected = attend(*engine, session.get(), question);
    const std::vector<std::uint32_t> token_ids(500, 7);
    REQUIRE(kvault_session_save(session.get(), token_ids.data(), token_ids.size(), nullptr,
                                nullptr) == KVAULT_OK);
  }
  const OwnedSession session = open_lent(client.get(), lent);
  CHECK(kvault_cache_n_token(kvault_session_cache(session.get())) == 500);
  CHECK(attend(*engine, session.get(), question) == expected);
  CHECK(engine->n_bare_submit() == 0);
  CHECK(engine->n_unlock() == engine->n_lock());
}

}  // namespace kvault

#endif
