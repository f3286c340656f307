#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/format/sealed_record.hpp"
#include "core/os/file.hpp"
#include "daemon/store.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/upload.hpp"

namespace kvault::test {

/// The tokens [first, end), each the id of its position.
inline std::vector<std::uint32_t> ids_between(std::uint64_t first, std::uint64_t end) {
  std::vector<std::uint32_t> ids;
  for (std::uint64_t token = first; token < end; ++token) {
    ids.push_back(static_cast<std::uint32_t>(token));
  }
  return ids;
}

inline Upload page_upload(const ModelShape& shape, std::uint64_t page, std::uint64_t seed = 1) {
  const std::uint64_t first = page * kPageTokens;
  return page_upload(shape, page, ids_between(first, first + kPageTokens), seed);
}

inline Upload tail_upload(const ModelShape& shape, std::uint64_t first_token,
                          std::uint64_t end_token, std::uint64_t seed = 1) {
  return tail_upload(shape, first_token, ids_between(first_token, end_token), seed);
}

/// begin, write in pieces, finish.
inline Result<RecordHandle> send(Store& store, const SessionId& session, const Upload& plain) {
  KVAULT_TRY(const std::optional<SessionKey> key, store.key_of(session));
  const Upload upload = key ? sealed(*key, plain) : plain;
  KVAULT_TRY(const RecordHandle handle, store.begin_record(session, upload.draft));
  constexpr std::size_t kPiece = 5000;
  for (std::size_t offset = 0; offset < upload.payload.size(); offset += kPiece) {
    const std::size_t size = std::min(kPiece, upload.payload.size() - offset);
    KVAULT_CHECK(
        store.write_payload(handle, offset, std::span(upload.payload).subspan(offset, size)));
  }
  KVAULT_CHECK(store.finish_record(handle));
  return handle;
}

/// Adds to a session: what is there stays.
inline Result<CommitInfo> append(Store& store, const SessionId& session, std::uint64_t n_token,
                                 const std::vector<Upload>& uploads) {
  KVAULT_TRY(const SessionInfo info, store.find_session(session));
  CommitRequest request{.expected_commit_number = info.commit_number,
                        .n_token = n_token,
                        .kept_n_token = info.n_token,
                        .kept_n_page = info.n_page};
  for (const Upload& upload : uploads) {
    KVAULT_TRY(const RecordHandle handle, send(store, session, upload));
    request.records.push_back(handle);
  }
  return store.commit(session, request);
}

inline Result<CommitInfo> roll_back(Store& store, const SessionId& session, std::uint64_t n_token,
                                    std::uint64_t n_page) {
  KVAULT_TRY(const SessionInfo info, store.find_session(session));
  return store.commit(session, {.expected_commit_number = info.commit_number,
                                .n_token = n_token,
                                .kept_n_token = n_token,
                                .kept_n_page = n_page});
}

/// The bytes of a record as they lie in their pack.
inline std::vector<std::byte> read_record(const RecordLocation& location) {
  const File file = File::open_read_only(location.pack_path).value();
  std::vector<std::byte> bytes(location.length_bytes);
  REQUIRE(file.pread_all(location.offset_bytes, bytes));
  return bytes;
}

/// All that a client can see of a session, read and verified from the packs, as one text.
inline std::string content_of(Store& store, const SessionInfo& info) {
  const Attachment attachment = store.attach(info.id).value();
  CHECK(attachment.info.commit_number == info.commit_number);
  std::string text = message("'", info.name, "' commit ", info.commit_number, ": ", info.n_token,
                             " tokens, ", info.n_page, " pages\n");
  const std::optional<SessionKey> key = store.key_of(info.id).value();
  std::optional<OneKey> keys;
  if (key) keys.emplace(*key);
  PageKey parent;
  for (const RecordLocation& location : attachment.records) {
    std::vector<std::byte> record = read_record(location);
    Result<RecordHeader> header = verify_record(record, keys ? &*keys : nullptr);
    INFO((header ? std::string() : header.error().message));
    REQUIRE(header);
    CHECK(header->checksum == location.checksum);
    if (keys) {
      record = unseal_record(record, *keys).value();
      header = verify_record(record);
      REQUIRE(header);
    }
    if (location.kind == RecordKind::page) {
      CHECK(header->parent_key == parent);
      CHECK(header->key != PageKey());
      parent = header->key;
    }
    const auto payload = std::span(record).subspan(header->payload_offset, header->payload_bytes);
    text += message("  ", name_of(location.kind), " ", location.first_token, " + ",
                    location.n_token, ": ", payload_checksum(payload), "\n");
  }
  return text;
}

/// The same of all sessions.
inline std::string content_of(Store& store) {
  std::string text;
  const std::vector<SessionInfo> sessions = store.list_sessions("", 1000).value();
  for (const SessionInfo& info : sessions) {
    text += content_of(store, info);
  }
  return text;
}

inline StoreOptions options_of(const std::filesystem::path& directory) {
  StoreOptions options;
  options.directory = directory / "store";
  return options;
}

inline std::unique_ptr<Store> open_store(StoreOptions options) {
  Result<std::unique_ptr<Store>> store = Store::open(std::move(options));
  INFO((store ? std::string() : store.error().message));
  REQUIRE(store);
  return std::move(*store);
}

inline std::unique_ptr<Store> open_store(const std::filesystem::path& directory) {
  return open_store(options_of(directory));
}

/// What a crash at this moment would leave, the system's memory included (kill -9).
inline void copy_store(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::remove_all(to / "store");
  std::filesystem::copy(from / "store", to / "store", std::filesystem::copy_options::recursive);
}

/// The store of `directory` as a crash left it; what open() says is in it.
inline std::string recover(const std::filesystem::path& directory) {
  const std::unique_ptr<Store> store = open_store(directory);
  const VerifyReport report = store->verify(std::nullopt).value();
  CHECK(report.damage.empty());
  return content_of(*store);
}

inline void remove_catalog(const std::filesystem::path& directory) {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(directory / "store" / (std::string("catalog.sqlite") + suffix));
  }
}

inline std::filesystem::path pack_path(const std::filesystem::path& directory,
                                       std::string_view name) {
  return directory / "store" / "packs" / name;
}

inline std::vector<char> read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

inline void write_file(const std::filesystem::path& path, const std::vector<char>& bytes) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(stream.good());
}

}  // namespace kvault::test
