#include "sdk/adapters/llama/src/chat_session.hpp"

#include <algorithm>
#include <cstring>

namespace kvault::llama {
namespace {

struct Destroy {
  void operator()(kvault_description* description) const {
    kvault_description_destroy(description);
  }
};
using Description = std::unique_ptr<kvault_description, Destroy>;

Result<std::optional<Description>> describe(const SessionPlace& place) {
  kvault_description* found = nullptr;
  kvault_error error{};
  const kvault_status status =
      kvault_client_describe(place.client, place.name.c_str(), &found, &error);
  if (status == KVAULT_NOT_FOUND) return std::optional<Description>();
  KVAULT_CHECK(to_result(status, error));
  return std::optional<Description>(Description(found));
}

/// The model's fields first, so that one that differs is named before the rows are looked at.
Result<> check_model(const Model& model, const kvault_description& description) {
  std::uint32_t n = 0;
  const kvault_identity_field* const fields = kvault_description_identity(&description, &n);
  for (const Model::Field& field : model.identity()) {
    const auto* const found = std::find_if(
        fields, fields + n,
        [&field](const kvault_identity_field& recorded) { return field.name == recorded.name; });
    const char* const recorded = found == fields + n ? "(none)" : found->value;
    if (field.value == recorded) continue;
    return fail(Errc::identity_mismatch,
                message(field.name, ": session ", recorded, ", app ", field.value));
  }
  return {};
}

}  // namespace

Result<> to_result(kvault_status status, const kvault_error& error) {
  if (status == KVAULT_OK) return {};
  return fail(errc_from_number(status), error.message);
}

Result<std::optional<ChatSession>> ChatSession::open(const SessionPlace& place) {
  KVAULT_TRY(const std::optional<Description> description, describe(place));
  if (!description) return std::optional<ChatSession>();
  KVAULT_CHECK(check_model(*place.model, **description));
  KVAULT_TRY(ChatShape shape, read_shape(**description));
  KVAULT_TRY(ChatSession session, open_as(place, std::move(shape), {}, false));
  return std::optional<ChatSession>(std::move(session));
}

Result<ChatSession> ChatSession::create(const SessionPlace& place, ChatShape shape,
                                        std::vector<Half> equaliser) {
  return open_as(place, std::move(shape), equaliser, true);
}

/// A session that exists has its equaliser with it, once it has one.
Result<ChatSession> ChatSession::open_as(const SessionPlace& place, ChatShape shape,
                                         std::span<const Half> equaliser, bool create) {
  std::vector<kvault_identity_field> identity;
  for (const Model::Field& field : place.model->identity()) {
    identity.push_back({field.name.c_str(), field.value.c_str()});
  }
  const std::string rows = shape.layout.text();
  identity.push_back({kRowsField, rows.c_str()});

  kvault_cache_options cache = KVAULT_CACHE_OPTIONS_INIT;
  cache.n_layer = static_cast<std::uint32_t>(shape.layers.size());
  cache.layers = shape.layers.data();
  cache.row_type = shape.layout.row_type();
  cache.equalise = equaliser.empty() ? KVAULT_EQUALISE_NONE : KVAULT_EQUALISE_GIVEN;
  cache.equaliser = reinterpret_cast<const std::uint16_t*>(equaliser.data());
  cache.n_thread = place.n_thread;
  kvault_session_options options = KVAULT_SESSION_OPTIONS_INIT;
  options.name = place.name.c_str();
  options.identity = identity.data();
  options.n_identity = static_cast<std::uint32_t>(identity.size());
  options.cache = &cache;
  options.create = create ? 1 : 0;
  options.stream = 1;
  options.progress = place.progress;
  options.progress_user = place.progress_user;

  ChatSession session;
  kvault_session* opened = nullptr;
  kvault_error error{};
  KVAULT_CHECK(to_result(kvault_session_open(place.client, &options, &opened, &error), error));
  session.session_.reset(opened);
  session.shape_ = std::move(shape);
  return session;
}

void ChatSession::close_and_delete_empty(kvault_client* client, ChatSession session) {
  kvault_session_info info{};
  const kvault_status status = kvault_session_get_info(session.session_.get(), &info, nullptr);
  session.session_.reset();
  if (status != KVAULT_OK || info.commit_number != 0) return;
  static_cast<void>(kvault_client_delete(client, info.id, nullptr));
}

std::uint64_t ChatSession::n_token() const { return kvault_cache_n_token(cache()); }

std::uint64_t ChatSession::stored_bytes() const {
  kvault_session_info info{};
  if (kvault_session_get_info(session_.get(), &info, nullptr) != KVAULT_OK) return 0;
  return info.stored_size_bytes;
}

bool ChatSession::is_verbatim() const {
  return std::all_of(shape_.layers.begin(), shape_.layers.end(), [](const kvault_layer& layer) {
    return layer.key_scheme == KVAULT_RAW && layer.value_scheme == KVAULT_RAW;
  });
}

Result<std::span<const std::uint32_t>> ChatSession::saved_ids() const {
  const std::uint32_t* ids = nullptr;
  std::uint64_t n = 0;
  kvault_error error{};
  KVAULT_CHECK(to_result(kvault_session_tokens(session_.get(), &ids, &n, &error), error));
  return std::span(ids, static_cast<std::size_t>(n));
}

Result<std::uint64_t> ChatSession::first_shifted() const {
  KVAULT_TRY(const std::span<const std::uint32_t> ids, saved_ids());
  const auto found = std::find(ids.begin(), ids.end(), KVAULT_TOKEN_OPAQUE);
  return found == ids.end() ? UINT64_MAX : static_cast<std::uint64_t>(found - ids.begin());
}

Result<std::vector<std::int32_t>> ChatSession::tokens() {
  KVAULT_TRY(const std::span<const std::uint32_t> ids, saved_ids());
  std::vector<std::int32_t> tokens(ids.begin(), ids.end());
  KVAULT_TRY(const std::uint64_t first, first_shifted());
  if (first == UINT64_MAX) return tokens;
  KVAULT_TRY(const std::vector<StoredCell> cells, read_cells(first, tokens.size() - first));
  for (std::size_t i = 0; i < cells.size(); ++i) tokens[first + i] = cells[i].cell.token;
  return tokens;
}

Result<> ChatSession::append(std::uint32_t layer, std::uint32_t n, std::span<const std::byte> keys,
                             std::span<const std::byte> values) {
  const kvault_rows key_rows{keys.data(), n, 0, 0, 0};
  const kvault_rows value_rows{values.data(), n, 0, 0, 0};
  kvault_error error{};
  return to_result(kvault_cache_append(cache(), layer, &key_rows, &value_rows, &error), error);
}

Result<> ChatSession::append_cells(std::span<const StoredCell> cells) {
  const std::size_t width = shape_.element_bytes();
  const std::size_t n_key = shape_.elements(shape_.cells(), KVAULT_KEY);
  std::vector<std::byte> keys(cells.size() * n_key * width);
  std::vector<std::byte> values(cells.size() * kCellValueElements * width);
  // The upper half of a float is a finite bfloat16.
  const auto put = [width](std::span<const std::uint16_t> from, std::byte* to) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      std::memcpy(to + (i + 1) * width - 2, &from[i], 2);
    }
  };
  std::vector<std::uint16_t> key(n_key);
  std::array<std::uint16_t, kCellValueElements> value{};
  for (std::size_t i = 0; i < cells.size(); ++i) {
    encode_cell(cells[i], key, value);
    put(key, keys.data() + i * n_key * width);
    put(value, values.data() + i * kCellValueElements * width);
  }
  return append(shape_.cells(), static_cast<std::uint32_t>(cells.size()), keys, values);
}

Result<std::vector<StoredCell>> ChatSession::read_cells(std::uint64_t first, std::uint64_t n) {
  const std::size_t width = shape_.element_bytes();
  const std::size_t n_key = shape_.elements(shape_.cells(), KVAULT_KEY);
  std::vector<std::byte> keys(n * n_key * width);
  std::vector<std::byte> values(n * kCellValueElements * width);
  KVAULT_CHECK(read(shape_.cells(), KVAULT_KEY, first, n, keys));
  KVAULT_CHECK(read(shape_.cells(), KVAULT_VALUE, first, n, values));
  const auto get = [width](const std::byte* from, std::span<std::uint16_t> to) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      std::memcpy(&to[i], from + (i + 1) * width - 2, 2);
    }
  };
  std::vector<StoredCell> cells(n);
  std::vector<std::uint16_t> key(n_key);
  std::array<std::uint16_t, kCellValueElements> value{};
  for (std::size_t i = 0; i < n; ++i) {
    get(keys.data() + i * n_key * width, key);
    get(values.data() + i * kCellValueElements * width, value);
    cells[i] = decode_cell(key, value);
  }
  return cells;
}

Result<> ChatSession::set_recurrent(std::uint64_t n_token, std::span<const std::byte> section) {
  kvault_error error{};
  return to_result(kvault_cache_set_state(cache(), shape_.recurrent(), n_token, section.data(),
                                          section.size(), &error),
                   error);
}

Result<> ChatSession::read(std::uint32_t layer, kvault_side side, std::uint64_t first,
                           std::uint64_t n, std::span<std::byte> rows) {
  if (n == 0) return {};
  kvault_error error{};
  return to_result(kvault_cache_read_rows(cache(), layer, side, first, n, shape_.layout.row_type(),
                                          rows.data(), rows.size(), &error),
                   error);
}

Result<std::span<const std::byte>> ChatSession::recurrent() {
  const void* bytes = nullptr;
  std::size_t size_bytes = 0;
  kvault_error error{};
  KVAULT_CHECK(to_result(
      kvault_cache_state(cache(), shape_.recurrent(), &bytes, &size_bytes, &error), error));
  return std::span(static_cast<const std::byte*>(bytes), size_bytes);
}

Result<std::uint64_t> ChatSession::rollback(std::uint64_t n_token) {
  kvault_kept kept{};
  kvault_error error{};
  KVAULT_CHECK(to_result(kvault_session_rollback(session_.get(), n_token, &kept, &error), error));
  return kept.n_token;
}

Result<kvault_save_info> ChatSession::save(std::span<const std::uint32_t> new_ids) {
  kvault_save_info info{};
  kvault_error error{};
  KVAULT_CHECK(to_result(
      kvault_session_save(session_.get(), new_ids.data(), new_ids.size(), &info, &error), error));
  return info;
}

}  // namespace kvault::llama
