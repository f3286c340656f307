#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"
#include "tests/support/skip.hpp"

// Tokens and keys do not stay in memory: kvaultd's is searched for them.

namespace kvault::test {
namespace {

/// How often `bytes` lie in the writable memory of a process; empty where we may not look.
std::optional<int> count_in_memory(pid_t pid, std::span<const std::byte> bytes) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const int memory = ::open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  if (memory < 0) return std::nullopt;
  std::ifstream maps(folder + "/maps");
  int n_found = 0;
  std::size_t n_read = 0;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    char dash = 0;
    std::string mode;
    words >> std::hex >> begin >> dash >> end >> mode;
    if (mode.substr(0, 2) != "rw") continue;
    std::vector<std::byte> piece(end - begin);
    const ssize_t size = ::pread(memory, piece.data(), piece.size(), static_cast<off_t>(begin));
    if (size <= 0) continue;
    n_read += static_cast<std::size_t>(size);
    const auto last = piece.begin() + size;
    for (auto at = piece.begin();; ++at, ++n_found) {
      at = std::search(at, last, bytes.begin(), bytes.end());
      if (at == last) break;
    }
  }
  ::close(memory);
  if (n_read == 0) return std::nullopt;
  return n_found;
}

}  // namespace

TEST_CASE("namespace: neither token nor keys stay in the memory of kvaultd") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  Client shared = daemon.connect();
  const SecretKey token = SecretKey::random().value();
  ClientOptions options = daemon.client_options();
  options.name_space = {"app", token, NamespaceCreation::encrypted};
  const SessionDescription description = describe("chat");
  std::optional<SecretKey> key;
  for (int life = 0; life < 3; ++life) {
    CAPTURE(life);
    {
      auto client = Client::connect(options);
      REQUIRE_OK(client);
      if (life == 0) REQUIRE_OK(client->create_session(description));
      auto session = client->open_session("chat", &description, client::OpenMode::write);
      REQUIRE_OK(session);
      REQUIRE(session->key.has_value());
      key = session->key->key;
      for (std::uint32_t i = 0; i < 3; ++i) {
        const auto commit = append(*client, session->info, description.shape, 40, i);
        REQUIRE_OK(commit);
        session->info.commit_number = commit->commit_number;
        session->info.n_token = commit->n_token;
      }
      const std::optional<int> n_key = count_in_memory(daemon.pid(), key->bytes());
      if (!n_key) KVAULT_TEST_SKIP("the memory of another process cannot be read here");
      CHECK(*n_key > 0);  // what is in use is there, and is found
      CHECK(count_in_memory(daemon.pid(), token.bytes()) == 0);
      REQUIRE_OK(client->ping());
    }
    for (int i = 0; i < 500 && shared.stats()->namespaces.back().n_client > 0; ++i) {
      ::poll(nullptr, 0, 10);
    }
    CHECK(shared.stats()->namespaces.back().n_client == 0);
    CHECK(count_in_memory(daemon.pid(), key->bytes()) == 0);
    CHECK(count_in_memory(daemon.pid(), token.bytes()) == 0);
  }
}

}  // namespace kvault::test
