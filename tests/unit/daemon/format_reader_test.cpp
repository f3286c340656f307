#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/half.hpp"
#include "core/cpu/block_encoder.hpp"
#include "core/format/row_packing.hpp"
#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "core/os/process.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/daemon/store_fixture.hpp"

/// tools/format_reader.py, written from docs/format.md alone, reads what the store wrote.
namespace kvault {
namespace {

using namespace test;

constexpr std::uint32_t kHeads = 2;
constexpr std::uint32_t kKeyDim = 48;
constexpr std::uint32_t kValueDim = 64;
constexpr std::uint64_t kTokens = 390;

/// Rows of one side of a layer, [token][head][dim], in bfloat16.
struct Rows {
  std::uint32_t dim = 0;
  std::uint32_t n_head = 0;
  std::vector<float> values;

  Rows(std::uint64_t n_token, std::uint32_t heads, std::uint32_t head_dim, std::uint64_t seed)
      : dim(head_dim), n_head(heads), values(Random(seed).normals(n_token * heads * head_dim)) {
    for (float& value : values) value = to_float(to_bfloat16(value));
  }
  const float* at(std::uint64_t token, std::uint32_t head) const {
    return values.data() + (token * n_head + head) * dim;
  }
};

void put_bf16(std::vector<std::byte>& target, const float* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t bits = to_bfloat16(values[i]).bits;
    target.push_back(static_cast<std::byte>(bits & 0xFFU));
    target.push_back(static_cast<std::byte>(bits >> 8U));
  }
}

void put_block(std::vector<std::byte>& target, const Rows& rows, std::uint64_t first_token,
               std::uint32_t head, Side side, BlockFormat format, std::span<const Half> equaliser) {
  if (format.is_raw()) {
    for (std::uint64_t t = 0; t < kPageTokens; ++t) {
      put_bf16(target, rows.at(first_token + t, head), rows.dim);
    }
    target.resize(align_up(target.size(), 128));
    return;
  }
  std::vector<float> block;
  for (std::uint64_t t = 0; t < kPageTokens; ++t) {
    block.insert(block.end(), rows.at(first_token + t, head),
                 rows.at(first_token + t, head) + rows.dim);
  }
  const std::size_t begin = target.size();
  target.resize(begin + BlockLayout::of(format, rows.dim).size_bytes);
  const Rotation rotation(rows.dim);
  cpu::BlockEncoder encoder(cpu::InstructionSet::scalar);
  REQUIRE(encoder.encode({.side = side,
                          .format = format,
                          .rotation = rotation,
                          .row_type = RowType::f32,
                          .rows = std::as_bytes(std::span(block)),
                          .equaliser = equaliser},
                         std::span(target).subspan(begin)));
}

/// A chunk and its bytes, added to an upload; packed, if that makes raw rows less.
void add_chunk(Upload& upload, Chunk chunk, std::vector<std::byte> bytes) {
  const bool is_raw = std::all_of(chunk.formats.begin(), chunk.formats.end(),
                                  [](BlockFormat format) { return format.is_raw(); });
  if (is_raw && chunk.layer == 0 && chunk.kind != ChunkKind::equaliser) {
    RowPacker packer;
    const std::span<const std::byte> packed = packer.pack(bytes, 2, bytes.size() - 1);
    REQUIRE(!packed.empty());
    bytes.assign(packed.begin(), packed.end());
    chunk.is_packed = true;
  }
  chunk.offset_bytes = align_up(upload.payload.size(), kChunkAlignment);
  chunk.size_bytes = bytes.size();
  chunk.checksum = payload_checksum(bytes);
  upload.payload.resize(chunk.offset_bytes);
  upload.payload.insert(upload.payload.end(), bytes.begin(), bytes.end());
  upload.draft.payload_bytes = upload.payload.size();
  upload.draft.meta.chunks.push_back(std::move(chunk));
}

class Model {
 public:
  Model() {
    description.name = "read me";
    description.shape.row_type = RowType::bf16;
    description.shape.layers = {{.kind = LayerKind::full_attention,
                                 .n_head = 4,
                                 .n_kv_head = kHeads,
                                 .key_head_dim = kKeyDim,
                                 .value_head_dim = kValueDim,
                                 .key_scheme = Scheme::tq3,
                                 .value_scheme = Scheme::q8},
                                {.kind = LayerKind::sliding_window,
                                 .n_head = 1,
                                 .n_kv_head = 1,
                                 .key_head_dim = 5,
                                 .value_head_dim = 3,
                                 .window = 16},
                                {.kind = LayerKind::recurrent}};
    Random random(9);
    for (Half& e : equaliser) e = to_half(static_cast<float>(0.5 + random.uniform()));
  }

  Upload page(std::uint64_t page_index) const {
    Upload upload;
    upload.draft = {
        .kind = RecordKind::page, .first_token = page_index * kPageTokens, .n_token = kPageTokens};
    const bool is_first = page_index == 0;
    const BlockFormat raw = BlockFormat::raw(RowType::bf16);
    const BlockFormat key = is_first ? raw : BlockFormat::coded(Scheme::tq3, true);
    const BlockFormat value = is_first ? raw : BlockFormat::coded(Scheme::q8, false);
    std::vector<std::byte> bytes;
    for (std::uint32_t head = 0; head < kHeads; ++head) {
      const std::span<const Half> e = std::span(equaliser).subspan(head * kKeyDim, kKeyDim);
      put_block(bytes, keys, upload.draft.first_token, head, Side::key, key, e);
    }
    for (std::uint32_t head = 0; head < kHeads; ++head) {
      put_block(bytes, values, upload.draft.first_token, head, Side::value, value, {});
    }
    add_chunk(upload, {.kind = ChunkKind::segment, .layer = 0, .formats = {key, key, value, value}},
              bytes);
    if (is_first) {
      bytes.clear();
      for (const Half e : equaliser) {
        bytes.push_back(static_cast<std::byte>(e.bits & 0xFFU));
        bytes.push_back(static_cast<std::byte>(e.bits >> 8U));
      }
      add_chunk(upload, {.kind = ChunkKind::equaliser, .layer = 0}, bytes);
    }
    put_tokens(upload);
    return upload;
  }

  Upload tail(std::uint64_t first, std::uint64_t end) const {
    Upload upload;
    upload.draft = {.kind = RecordKind::tail,
                    .first_token = first,
                    .n_token = static_cast<std::uint32_t>(end - first)};
    const std::uint64_t n = end - first;
    std::vector<std::byte> bytes;
    put_bf16(bytes, keys.at(first, 0), n * kHeads * kKeyDim);
    put_bf16(bytes, values.at(first, 0), n * kHeads * kValueDim);
    add_chunk(upload, {.kind = ChunkKind::rows, .layer = 0}, bytes);
    bytes.clear();
    put_bf16(bytes, window_keys.at(first, 0), n * 5);
    put_bf16(bytes, window_values.at(first, 0), n * 3);
    add_chunk(upload, {.kind = ChunkKind::rows, .layer = 1}, bytes);
    put_tokens(upload);
    return upload;
  }

  SessionDescription description;
  std::vector<Half> equaliser = std::vector<Half>(kHeads * kKeyDim);
  Rows keys{kTokens + 10, kHeads, kKeyDim, 1};
  Rows values{kTokens + 10, kHeads, kValueDim, 2};
  Rows window_keys{kTokens + 10, 1, 5, 3};
  Rows window_values{kTokens + 10, 1, 3, 4};

 private:
  static void put_tokens(Upload& upload) {
    for (std::uint32_t i = 0; i < upload.draft.n_token; ++i) {
      upload.draft.meta.token_ids.push_back(
          static_cast<std::uint32_t>(upload.draft.first_token) * 3 + i * 3);
    }
  }
};

std::filesystem::path find_python() {
  for (const std::filesystem::path& python :
       {find_program("python3"), std::filesystem::path("/usr/bin/python3")}) {
    std::string text;
    const std::array<std::string, 2> arguments = {"-c", "import numpy"};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const Result<int> status = run_program(python, arguments, deadline, text);
    if (status && *status == 0) return python;
  }
  return {};
}

Result<int> run_reader(const std::filesystem::path& python, std::vector<std::string> arguments,
                       std::string& text) {
  arguments.insert(arguments.begin(),
                   std::string(KVAULT_TEST_SOURCE_DIR) + "/tools/format_reader.py");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  return run_program(python, arguments, deadline, text);
}

std::vector<double> read_doubles(const std::filesystem::path& path) {
  const std::vector<char> bytes = read_file(path);
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
  return values;
}

/// Largest |difference| to `rows` over tokens [begin, end); NaN counts as infinite.
double error_of(const std::vector<double>& decoded, const Rows& rows, std::uint64_t begin,
                std::uint64_t end) {
  const std::uint64_t width = std::uint64_t{rows.n_head} * rows.dim;
  REQUIRE(decoded.size() == kTokens * width);
  double error = 0;
  for (std::uint64_t i = begin * width; i < end * width; ++i) {
    const double difference = std::abs(decoded[i] - static_cast<double>(rows.values[i]));
    error = std::isnan(difference) ? INFINITY : std::max(error, difference);
  }
  return error;
}

/// Largest |difference| between what the reader decoded and what the oracle makes of the same page.
double error_against_oracle(const std::vector<double>& decoded, const Model& model,
                            std::uint64_t page, Side side) {
  const Upload upload = model.page(page);
  const Chunk& segment = upload.draft.meta.chunks[0];
  const bool is_value = side == Side::value;
  const std::uint32_t dim = is_value ? kValueDim : kKeyDim;
  const oracle::Tables tables = oracle::Tables::standard();
  std::uint64_t offset = segment.offset_bytes;
  double error = 0;
  for (std::uint32_t index = 0; index < 2 * kHeads; ++index) {
    const std::uint32_t block_dim = index < kHeads ? kKeyDim : kValueDim;
    const std::uint64_t size = BlockLayout::of(segment.formats[index], block_dim).size_bytes;
    const oracle::BlockBytes block{std::span(upload.payload).subspan(offset, size),
                                   segment.formats[index].byte()};
    offset += size;
    if ((index >= kHeads) != is_value) continue;
    const std::uint32_t head = index % kHeads;
    std::vector<double> e;
    for (std::uint32_t i = 0; i < kKeyDim && !is_value; ++i) {
      e.push_back(static_cast<double>(to_float(model.equaliser[head * kKeyDim + i])));
    }
    const std::vector<double> rows = oracle::decode_block(block, is_value, dim, e, tables).value();
    for (std::uint64_t t = 0; t < kPageTokens; ++t) {
      for (std::uint32_t i = 0; i < dim; ++i) {
        const std::uint64_t at = ((page * kPageTokens + t) * kHeads + head) * dim + i;
        error = std::max(error, std::abs(decoded[at] - rows[t * dim + i]));
      }
    }
  }
  return error;
}

TEST_CASE("format_reader.py reads a store as docs/format.md says") {
  const std::filesystem::path python = find_python();
  if (python.empty()) KVAULT_TEST_SKIP("no python3 with numpy");
  const TemporaryDirectory directory;
  const Model model;
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    REQUIRE(store->remove_session(store->create_session(small_session("gone"))->id));
    const SessionId id = store->create_session(model.description)->id;
    Upload state = snapshot_upload(model.description.shape, 400);
    REQUIRE(
        append(*store, id, 400,
               {model.page(0), model.page(1), model.tail(128, 200), model.tail(200, 400), state}));
    CommitRequest request{.expected_commit_number = 1, .n_token = kTokens};
    request.kept_n_token = kTokens;  // the last tail is cut
    request.kept_n_page = 2;
    request.records = {send(*store, id, snapshot_upload(model.description.shape, kTokens)).value()};
    REQUIRE(store->commit(id, request));
  }
  std::string text;
  const std::filesystem::path out = directory.path() / "rows";
  const std::string store_path = (directory.path() / "store").native();
  const Result<int> status =
      run_reader(python, {"rows", store_path, "read me", "--out", out.native()}, text);
  INFO(text);
  REQUIRE(status);
  REQUIRE(*status == 0);
  const std::vector<double> keys = read_doubles(out / "K0.f64");
  const std::vector<double> values = read_doubles(out / "V0.f64");
  // Page 0 is raw, tokens from 128 on are in tails: exact, both.
  CHECK(error_of(keys, model.keys, 0, kTokens) == 0);
  CHECK(error_of(values, model.values, 0, kTokens) == 0);
  const std::vector<double> window = read_doubles(out / "V1.f64");
  CHECK(error_of(window, model.window_values, 128, kTokens) == 0);
  CHECK(std::isnan(window[0]));  // left the window
  const std::vector<char> tokens = read_file(out / "tokens.u32");
  REQUIRE(tokens.size() == kTokens * 4);
  CHECK(tokens[4 * 50] == static_cast<char>(150));
  CHECK(*run_reader(python, {"records", store_path + "/packs/log-000001.pack"}, text) == 0);
  CHECK(*run_reader(python, {"sessions", store_path}, text) == 0);
  CHECK(*run_reader(python, {"rows", store_path, "gone"}, text) == 1);
}

TEST_CASE("format_reader.py decodes coded pages, and refuses damage") {
  const std::filesystem::path python = find_python();
  if (python.empty()) KVAULT_TEST_SKIP("no python3 with numpy");
  const TemporaryDirectory directory;
  Model model;
  model.description.shape.layers.pop_back();
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    const SessionId id = store->create_session(model.description)->id;
    REQUIRE(append(*store, id, kTokens,
                   {model.page(0), model.page(1), model.page(2), model.tail(384, kTokens)}));
  }
  std::string text;
  const std::filesystem::path out = directory.path() / "rows";
  const std::string store_path = (directory.path() / "store").native();
  const std::vector<std::string> arguments = {"rows", store_path, "read me", "--out", out.native()};
  REQUIRE(*run_reader(python, arguments, text) == 0);
  const std::vector<double> keys = read_doubles(out / "K0.f64");
  const std::vector<double> values = read_doubles(out / "V0.f64");
  CHECK(error_of(keys, model.keys, 0, 128) == 0);
  CHECK(error_of(values, model.values, 0, 128) == 0);
  const double key_error = error_of(keys, model.keys, 128, 384);
  const double value_error = error_of(values, model.values, 128, 384);
  CHECK(key_error > 0.1);  // 3 bits
  CHECK(key_error < 2.0);
  CHECK(value_error > 0);  // 8 bits
  CHECK(value_error < 0.1);

  for (const std::uint64_t page : {1U, 2U}) {
    CHECK(error_against_oracle(keys, model, page, Side::key) < 1e-6);
    CHECK(error_against_oracle(values, model, page, Side::value) < 1e-6);
  }

  const std::filesystem::path pack = pack_path(directory.path(), "pages-000001.pack");
  std::vector<char> bytes = read_file(pack);
  bytes[3 * 4096] = static_cast<char>(bytes[3 * 4096] ^ 1);
  write_file(pack, bytes);
  CHECK(*run_reader(python, arguments, text) == 1);
  CHECK(text.find("damaged") != std::string::npos);
}

}  // namespace
}  // namespace kvault
