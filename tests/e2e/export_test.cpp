#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/cache/cache.hpp"
#include "core/format/session_file_header.hpp"
#include "core/os/process.hpp"
#include "sdk/src/session.hpp"
#include "sdk/src/session_export.hpp"
#include "sdk/src/session_import.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"
#include "tests/support/skip.hpp"

// A session goes through a file to another kvaultd, and comes out with the same bits; a file that
// is not whole never becomes a session.

namespace kvault {
namespace {

using test::Chat;
namespace fs = std::filesystem;

std::vector<std::uint32_t> ids(std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint32_t> values;
  for (std::uint64_t token = first; token < last; ++token) {
    values.push_back(static_cast<std::uint32_t>(token * 7 + 1));
  }
  return values;
}

Result<std::unique_ptr<StoredCache>> open(Client& client, Device& device, const Chat& chat,
                                          const std::string& name) {
  SessionOptions options;
  options.description = {name, {{"weights", "abc"}}, chat.options.shape};
  options.cache = chat.options;
  options.create = true;
  return StoredCache::open(client, device, std::move(options));
}

std::vector<std::byte> state_at(std::uint64_t n_token) {
  return std::vector<std::byte>(64, static_cast<std::byte>(n_token % 251));
}

/// Saves tokens [first, last) of the chat in one commit.
void save_chat(Client& client, Device& device, const Chat& chat, const std::string& name,
               std::uint64_t first, std::uint64_t last) {
  auto stored = open(client, device, chat, name);
  REQUIRE(stored);
  Cache& cache = (*stored)->cache();
  test::feed(cache, chat, first, last, 100);
  for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
    if (chat.options.shape.layers[layer].kind != LayerKind::recurrent) continue;
    REQUIRE(cache.set_state(LayerIndex(layer), Tokens(last), state_at(last)));
  }
  REQUIRE((*stored)->save(ids(first, last)));
}

CacheOptions shape_of(const std::string& kind) {
  const bool is_raw = kind == "raw";
  CacheOptions options =
      test::cache_options(is_raw ? Scheme::raw : Scheme::tq4, is_raw ? Scheme::raw : Scheme::tq3);
  if (kind == "sliding" || kind == "recurrent") {
    LayerSpec window = options.shape.layers[0];
    window.kind = LayerKind::sliding_window;
    window.window = 200;
    window.key_scheme = window.value_scheme = Scheme::raw;
    options.shape.layers.push_back(window);
  }
  if (kind == "recurrent") options.shape.layers.push_back({.kind = LayerKind::recurrent});
  return options;
}

std::vector<char> read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, std::span<const char> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.flush().good());
}

std::size_t n_file(const fs::path& directory) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

std::span<const std::byte> bytes_of(const std::vector<char>& file) {
  return std::as_bytes(std::span(file));
}

/// The file with its commit changed and every checksum made right again.
std::vector<char> with_commit(const std::vector<char>& file,
                              const std::function<void(CommitMeta&)>& change) {
  SessionFileHeader header = parse_session_file_header(bytes_of(file)).value();
  const auto old = bytes_of(file).subspan(header.commit_offset);
  RecordHeader commit = parse_head(old).value();
  CommitMeta meta = parse_commit_meta(commit, old).value();
  change(meta);
  const std::vector<std::byte> meta_bytes = serialise_commit_meta(meta).value();
  place_payload(commit, meta_bytes.size(), 0);
  std::vector<std::byte> record = serialise_head(commit, meta_bytes);
  record.resize(commit.length_bytes);
  std::vector<char> result(file.begin(),
                           file.begin() + static_cast<std::ptrdiff_t>(header.commit_offset));
  for (const std::byte byte : record) result.push_back(std::to_integer<char>(byte));
  header.size_bytes = result.size();
  header.n_record = static_cast<std::uint32_t>(meta.records.size());
  const std::vector<std::byte> head = serialise_session_file_header(header);
  for (std::size_t i = 0; i < head.size(); ++i) result[i] = std::to_integer<char>(head[i]);
  return result;
}

/// The file with its header changed and its checksum made right again.
std::vector<char> with_header(const std::vector<char>& file,
                              const std::function<void(SessionFileHeader&)>& change) {
  SessionFileHeader header = parse_session_file_header(bytes_of(file)).value();
  change(header);
  const std::vector<std::byte> head = serialise_session_file_header(header);
  std::vector<char> result = file;
  for (std::size_t i = 0; i < head.size(); ++i) result[i] = std::to_integer<char>(head[i]);
  return result;
}

}  // namespace

TEST_CASE("short: export: a session goes on under another kvaultd with the same bits") {
  for (const std::string kind : {"raw", "coded", "sliding", "recurrent"}) {
    CAPTURE(kind);
    const Chat chat = test::make_chat(shape_of(kind), 1000, 91);
    const auto device = test::open_cpu();
    Cache fresh = test::make_cache(*device, chat);
    test::feed(fresh, chat, 0, 850, 100);
    const std::vector<float> expected = test::feed(fresh, chat, 850, 1000, 30);
    const test::TemporaryDirectory first;
    const test::TemporaryDirectory second;
    const fs::path file = second.path() / "chat.kvx";
    {
      const test::Daemon daemon(first.path());
      Client client = daemon.connect();
      save_chat(client, *device, chat, "chat", 0, 400);
      save_chat(client, *device, chat, "chat", 400, 850);
      REQUIRE(client.update_session("chat", {.labels = {{"a", "b"}}, .is_pinned = true}));
      std::uint64_t reported = 0;
      const Result<> done =
          export_session(client, "chat", file, [&](std::uint64_t n, std::uint64_t total) {
            CHECK(n <= total);
            reported = n;
            return true;
          });
      if (!done) FAIL(done.error().message);
      CHECK(reported > 0);
      REQUIRE(client.delete_session("chat"));
    }
    CHECK((fs::status(file).permissions() & fs::perms::mask) == fs::perms(0600));
    const test::Daemon daemon(second.path());
    Client client = daemon.connect();
    const auto info = import_session(client, file, std::nullopt);
    if (!info) FAIL(info.error().message);
    CHECK(info->name == "chat");
    CHECK(info->n_token == 850);
    CHECK(info->attributes.labels == std::vector<std::string>{"a", "b"});
    CHECK(info->attributes.is_pinned);
    CHECK(info->attributes.expires_at_s == 0);
    CHECK(client.list()->size() == 1);
    auto stored = open(client, *device, chat, "chat");
    if (!stored) FAIL(stored.error().message);
    const auto kept_ids = (*stored)->token_ids();
    CHECK(std::vector<std::uint32_t>(kept_ids.begin(), kept_ids.end()) == ids(0, 850));
    if (kind == "recurrent") {
      const auto state = (*stored)->cache().state(LayerIndex(2));
      REQUIRE(state);
      CHECK(std::vector<std::byte>(state->begin(), state->end()) == state_at(850));
    }
    CHECK(test::same_bits(test::feed((*stored)->cache(), chat, 850, 1000, 30), expected));
    CHECK(client.verify(std::nullopt)->n_damage == 0);
  }
}

TEST_CASE("short: export: what a rollback took back is not in the file") {
  const Chat chat = test::make_chat(shape_of("coded"), 1000, 92);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  for (const std::uint64_t at : {60U, 200U, 850U}) {
    CAPTURE(at);
    const std::uint64_t end = at + 40;
    const std::string name = message("chat ", at);
    save_chat(client, *device, chat, name, 0, end);
    const auto kept = client.fork_session(name, at, message("fork of ", name))->kept;
    CHECK(kept.n_token == at);
    Cache fresh = test::make_cache(*device, chat);
    test::feed(fresh, chat, 0, at, 100);
    const std::vector<float> expected = test::feed(fresh, chat, at, 1000, 30);
    const fs::path file = directory.path() / name;
    REQUIRE(export_session(client, message("fork of ", name), file));
    REQUIRE(import_session(client, file, "again"));
    auto stored = open(client, *device, chat, "again");
    if (!stored) FAIL(stored.error().message);
    CHECK((*stored)->cache().n_token().raw == at);
    CHECK(test::same_bits(test::feed((*stored)->cache(), chat, at, 1000, 30), expected));
    stored->reset();
    REQUIRE(client.delete_session("again"));
    // The id of a token that was taken back is in no tail of the file.
    const std::vector<char> bytes = read_file(file);
    const std::uint32_t gone = ids(end - 1, end)[0];
    bool is_there = false;
    const auto header = parse_session_file_header(bytes_of(bytes)).value();
    const auto commit_bytes = bytes_of(bytes).subspan(header.commit_offset);
    const CommitMeta meta =
        parse_commit_meta(parse_head(commit_bytes).value(), commit_bytes).value();
    for (const LiveRecord& live : meta.records) {
      const auto record = bytes_of(bytes).subspan(live.offset_bytes, live.length_bytes);
      const auto payload = parse_payload_meta(parse_head(record).value(), record).value();
      for (const std::uint32_t id : payload.token_ids) is_there = is_there || id == gone;
    }
    CHECK(!is_there);
  }
}

TEST_CASE("short: import: a file that is cut or damaged anywhere leaves no session") {
  const Chat chat =
      test::make_chat(test::cache_options(Scheme::tq2, Scheme::tq2, 32, 1, 1), 500, 93);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 0, 500);
  const fs::path file = directory.path() / "chat.kvx";
  REQUIRE(export_session(client, "chat", file));
  REQUIRE(client.delete_session("chat"));
  const std::vector<char> whole = read_file(file);
  CHECK(whole.size() % 4096 == 0);
  const fs::path bad = directory.path() / "bad.kvx";
  for (std::size_t size = 0; size < whole.size(); size += 4096) {
    CAPTURE(size);
    write_file(bad, std::span(whole).first(size));
    const auto info = import_session(client, bad, std::nullopt);
    REQUIRE(!info);
    CHECK(info.error().code == Errc::truncated);
  }
  std::vector<char> longer = whole;
  longer.resize(whole.size() + 4096);
  write_file(bad, longer);
  CHECK(import_session(client, bad, std::nullopt).error().code == Errc::corrupt);
  // Every byte of the heads' first bytes, and a byte of every 61 elsewhere.
  std::vector<char> damaged = whole;
  for (std::size_t at = 0; at < whole.size(); at += at % 4096 < 256 ? 1 : 61) {
    CAPTURE(at);
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    write_file(bad, damaged);
    const auto info = import_session(client, bad, std::nullopt);
    REQUIRE(!info);
    const Errc code = info.error().code;
    CHECK((code == Errc::corrupt || code == Errc::unknown_format || code == Errc::truncated));
    damaged[at] = whole[at];
  }
  CHECK(client.list()->empty());
  REQUIRE(import_session(client, file, std::nullopt));
}

TEST_CASE("short: import: a commit that lies with right checksums is refused") {
  const Chat chat = test::make_chat(shape_of("coded"), 600, 94);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 0, 600);
  const fs::path file = directory.path() / "chat.kvx";
  REQUIRE(export_session(client, "chat", file));
  REQUIRE(client.delete_session("chat"));
  const std::vector<char> whole = read_file(file);
  const fs::path bad = directory.path() / "bad.kvx";
  const std::vector<std::function<void(CommitMeta&)>> lies = {
      [](CommitMeta& meta) { meta.records[1].offset_bytes = meta.records[0].offset_bytes; },
      [](CommitMeta& meta) { meta.records.back().length_bytes += 4096; },
      [](CommitMeta& meta) { meta.records[0].length_bytes = kRecordSizeMax; },
      [](CommitMeta& meta) { std::swap(meta.records[0], meta.records[1]); },
      [](CommitMeta& meta) { meta.records.pop_back(); },
      [](CommitMeta& meta) { meta.records.clear(); },
      [](CommitMeta& meta) { meta.records[0].checksum ^= 1; },
      [](CommitMeta& meta) { meta.records[1].first_token = 0; },
      [](CommitMeta& meta) { meta.records.back().n_token -= 1; },
      [](CommitMeta& meta) { meta.n_token -= 1; },
      [](CommitMeta& meta) { meta.n_token = std::uint64_t{1} << 30U; },
      [](CommitMeta& meta) { meta.n_page -= 1; },
      [](CommitMeta& meta) { meta.description.shape.layers[0].key_head_dim = 128; },
      [](CommitMeta& meta) { meta.description.shape.layers[0].n_head = 6; }};
  for (std::size_t i = 0; i + 1 < lies.size(); ++i) {
    CAPTURE(i);
    write_file(bad, with_commit(whole, lies[i]));
    const auto info = import_session(client, bad, std::nullopt);
    CHECK(!info);
    CHECK(client.list()->empty());
  }
  // The last one says nothing that the records deny: another number of query heads.
  write_file(bad, with_commit(whole, lies.back()));
  CHECK(import_session(client, bad, std::nullopt));
}

TEST_CASE("short: import: a header that lies with a right checksum is refused") {
  const Chat chat = test::make_chat(shape_of("coded"), 600, 94);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 0, 600);
  const fs::path file = directory.path() / "chat.kvx";
  REQUIRE(export_session(client, "chat", file));
  const std::vector<char> whole = read_file(file);
  const fs::path bad = directory.path() / "bad.kvx";
  const std::uint64_t far = std::uint64_t{1} << 63U;
  const std::vector<std::function<void(SessionFileHeader&)>> lies = {
      [](SessionFileHeader& header) { header.file_id += 1; },
      [](SessionFileHeader& header) { header.n_record += 1; },
      [](SessionFileHeader& header) { header.n_record = 0xFFFFFFFFU; },
      [](SessionFileHeader& header) { header.commit_offset = 0; },
      [](SessionFileHeader& header) { header.commit_offset = 4096; },
      [](SessionFileHeader& header) { header.commit_offset -= 4096; },
      [](SessionFileHeader& header) { header.commit_offset += 4096; },
      [](SessionFileHeader& header) { header.commit_offset += 1; },
      [far](SessionFileHeader& header) { header.commit_offset = far; },
      [](SessionFileHeader& header) { header.size_bytes = 0; },
      [](SessionFileHeader& header) { header.size_bytes -= 4096; },
      [](SessionFileHeader& header) { header.size_bytes += 4096; },
      [far](SessionFileHeader& header) { header.size_bytes = far; }};
  for (std::size_t i = 0; i < lies.size(); ++i) {
    CAPTURE(i);
    write_file(bad, with_header(whole, lies[i]));
    CHECK(!import_session(client, bad, "copy"));
    CHECK(client.list()->size() == 1);
  }
}

TEST_CASE("short: import: what a killed import leaves has another name and expires") {
  const Chat chat = test::make_chat(shape_of("coded"), 600, 98);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "chat.kvx";
  {
    test::Daemon daemon(directory.path());
    Client client = daemon.connect();
    save_chat(client, *device, chat, "chat", 0, 600);
    REQUIRE(export_session(client, "chat", file));
    REQUIRE(client.delete_session("chat"));
    const auto info =
        import_session(client, file, std::nullopt, [&](std::uint64_t n, std::uint64_t all) {
          if (n > all / 2) daemon.kill();
          return true;
        });
    REQUIRE(!info);
    CHECK(info.error().code == Errc::disconnected);
  }
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  const std::vector<client::SessionInfo> all_left = client.list().value();
  for (const client::SessionInfo& left : all_left) {
    CHECK(left.name.starts_with("unfinished import "));
    CHECK(left.n_token == 0);
    CHECK(left.attributes.expires_at_s > left.created_at_s);
  }
  CHECK(import_session(client, file, std::nullopt)->n_token == 600);
}

TEST_CASE("short: export: format_reader.py reads the file as docs/format.md says") {
  fs::path python = find_program("python3");
  std::string words;
  const auto run = [&](const std::vector<std::string>& arguments) {
    const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    return run_program(python, arguments, deadline, words).value_or(-1);
  };
  if (run({"-c", "import numpy"}) != 0) python = "/usr/bin/python3";
  if (run({"-c", "import numpy"}) != 0) KVAULT_TEST_SKIP("no python3 with numpy");
  const Chat chat = test::make_chat(shape_of("coded"), 600, 99);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 0, 600);
  const fs::path file = directory.path() / "chat.kvx";
  REQUIRE(export_session(client, "chat", file));
  const std::string reader = std::string(KVAULT_TEST_SOURCE_DIR) + "/tools/format_reader.py";
  const int status = run({reader, "exported", file.native()});
  INFO(words);
  CHECK(status == 0);
  std::vector<char> damaged = read_file(file);
  damaged[33] = static_cast<char>(damaged[33] ^ 1);
  write_file(file, damaged);
  CHECK(run({reader, "exported", file.native()}) != 0);
}

TEST_CASE("short: export: refusals and cancelling leave nothing behind") {
  const Chat chat = test::make_chat(shape_of("coded"), 600, 95);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::TemporaryDirectory target;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 0, 600);
  const fs::path file = target.path() / "chat.kvx";
  const auto cancel = [](std::uint64_t, std::uint64_t) { return false; };
  CHECK(export_session(client, "chat", file, cancel).error().code == Errc::cancelled);
  CHECK(export_session(client, "nobody", file).error().code == Errc::not_found);
  CHECK(export_session(client, "chat", target.path()).error().code == Errc::already_exists);
  CHECK(export_session(client, "chat", target.path() / "no" / "x").error().code == Errc::not_found);
  CHECK(n_file(target.path()) == 0);
  REQUIRE(export_session(client, "chat", file));
  const std::vector<char> before = read_file(file);
  CHECK(export_session(client, "chat", file).error().code == Errc::already_exists);
  CHECK(read_file(file) == before);
  CHECK(n_file(target.path()) == 1);

  CHECK(import_session(client, file, std::nullopt).error().code == Errc::already_exists);
  CHECK(import_session(client, file, "").error().code == Errc::invalid_argument);
  CHECK(import_session(client, target.path(), "x").error().code == Errc::invalid_argument);
  CHECK(import_session(client, target.path() / "no", "x").error().code == Errc::not_found);
  // Cancelled at every report, also while the records are sent.
  for (int calls = 0;; ++calls) {
    int left = calls;
    const auto info = import_session(client, file, "copy", [&](std::uint64_t n, std::uint64_t all) {
      CHECK(n <= all);
      return left-- > 0;
    });
    CHECK(client.list()->size() == (info ? 2 : 1));
    if (info) break;
    CHECK(info.error().code == Errc::cancelled);
  }
}

TEST_CASE("short: export: a damaged record is named and nothing is written") {
  const Chat chat = test::make_chat(shape_of("coded"), 600, 96);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::TemporaryDirectory target;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 0, 600);
  for (const auto& entry : fs::directory_iterator(directory.path() / "data" / "packs")) {
    if (!entry.path().filename().native().starts_with("pages")) continue;
    std::vector<char> bytes = read_file(entry.path());
    bytes[4096 * 2 + 100] = static_cast<char>(bytes[4096 * 2 + 100] ^ 16);
    std::fstream pack(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    pack.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  const Result<> done = export_session(client, "chat", target.path() / "x");
  REQUIRE(!done);
  CHECK(done.error().code == Errc::corrupt);
  CHECK(done.error().message.find("page record at token 0") != std::string::npos);
  CHECK(n_file(target.path()) == 0);
}

TEST_CASE("short: export: a writer of the same connection keeps its session") {
  const Chat chat = test::make_chat(shape_of("coded"), 600, 97);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  auto stored = open(client, *device, chat, "chat");
  REQUIRE(stored);
  REQUIRE(export_session(client, "chat", directory.path() / "empty.kvx"));
  test::feed((*stored)->cache(), chat, 0, 300, 100);
  REQUIRE((*stored)->save(ids(0, 300)));
  test::feed((*stored)->cache(), chat, 300, 600, 100);
  REQUIRE(export_session(client, "chat", directory.path() / "chat.kvx"));
  Client other = daemon.connect();
  CHECK(open(other, *device, chat, "chat").error().code == Errc::busy);
  REQUIRE((*stored)->save(ids(300, 600)));
  CHECK(import_session(other, directory.path() / "chat.kvx", "copy")->n_token == 300);
  CHECK(import_session(other, directory.path() / "empty.kvx", "none")->n_token == 0);
}

}  // namespace kvault
