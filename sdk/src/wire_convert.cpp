#include "sdk/src/wire_convert.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace kvault::wire {
namespace {

std::optional<LayerKind> layer_kind_of(std::uint8_t number) {
  const auto kind = static_cast<LayerKind>(number);
  switch (kind) {
    case LayerKind::full_attention:
    case LayerKind::sliding_window:
    case LayerKind::recurrent:
    case LayerKind::none:
      return kind;
  }
  return std::nullopt;
}

std::optional<Scheme> scheme_of(std::uint8_t number) {
  const auto scheme = static_cast<Scheme>(number);
  switch (scheme) {
    case Scheme::raw:
    case Scheme::q8:
    case Scheme::tq4:
    case Scheme::tq3:
    case Scheme::tq2:
      return scheme;
  }
  return std::nullopt;
}

std::optional<RowType> row_type_of(std::uint8_t number) {
  const auto type = static_cast<RowType>(number);
  switch (type) {
    case RowType::f16:
    case RowType::bf16:
    case RowType::f32:
      return type;
  }
  return std::nullopt;
}

std::optional<RecordKind> record_kind_of(std::uint16_t number) {
  const auto kind = static_cast<RecordKind>(number);
  switch (kind) {
    case RecordKind::page:
    case RecordKind::tail:
    case RecordKind::snapshot:
      return kind;
    case RecordKind::commit:
    case RecordKind::tombstone:
      return std::nullopt;  // the daemon alone writes these
  }
  return std::nullopt;
}

std::optional<ChunkKind> chunk_kind_of(std::uint16_t number) {
  const auto kind = static_cast<ChunkKind>(number);
  switch (kind) {
    case ChunkKind::segment:
    case ChunkKind::rows:
    case ChunkKind::equaliser:
    case ChunkKind::query_energy:
    case ChunkKind::recurrent_state:
      return kind;
  }
  return std::nullopt;
}

/// The value, or the error that `what` number `index` has a number nothing has.
template <class Enum>
Result<Enum> require(std::optional<Enum> value, const char* what, std::size_t index,
                     unsigned number) {
  if (value) return *value;
  return fail(Errc::invalid_argument,
              message(what, " (", index, ") has the unknown number ", number));
}

flatbuffers::Offset<flatbuffers::String> text(Builder& builder, std::string_view value) {
  return builder.CreateString(value.data(), value.size());
}

Result<LayerSpec> layer_from_wire(const Layer& layer, std::size_t index) {
  LayerSpec spec{.n_head = layer.n_head(),
                 .n_kv_head = layer.n_kv_head(),
                 .key_head_dim = layer.key_head_dim(),
                 .value_head_dim = layer.value_head_dim(),
                 .window = layer.window()};
  KVAULT_TRY(spec.kind, require(layer_kind_of(layer.kind()), "layer kind", index, layer.kind()));
  KVAULT_TRY(spec.key_scheme, require(scheme_of(layer.key_scheme()), "scheme of keys of layer",
                                      index, layer.key_scheme()));
  KVAULT_TRY(spec.value_scheme, require(scheme_of(layer.value_scheme()),
                                        "scheme of values of layer", index, layer.value_scheme()));
  return spec;
}

Result<kvault::Chunk> chunk_from_wire(const Chunk& chunk, std::size_t index) {
  kvault::Chunk result{.layer = chunk.layer(),
                       .offset_bytes = chunk.offset_bytes(),
                       .size_bytes = chunk.size_bytes(),
                       .checksum = chunk.checksum(),
                       .formats = {},
                       .is_packed = chunk.is_packed()};
  KVAULT_TRY(result.kind,
             require(chunk_kind_of(chunk.kind()), "kind of chunk", index, chunk.kind()));
  if (const auto* formats = chunk.formats()) {
    result.formats.reserve(formats->size());
    for (const std::uint8_t byte : *formats) {
      KVAULT_TRY(const BlockFormat format,
                 require(BlockFormat::from_byte(byte), "block format in chunk", index, byte));
      result.formats.push_back(format);
    }
  }
  return result;
}

flatbuffers::Offset<Chunk> to_wire(Builder& builder, const kvault::Chunk& chunk) {
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> formats;
  if (!chunk.formats.empty()) {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(chunk.formats.size());
    for (const BlockFormat format : chunk.formats) bytes.push_back(format.byte());
    formats = builder.CreateVector(bytes);
  }
  return CreateChunk(builder, static_cast<std::uint16_t>(chunk.kind), chunk.layer,
                     chunk.offset_bytes, chunk.size_bytes, chunk.checksum, formats,
                     chunk.is_packed);
}

}  // namespace

SessionId to_wire(const kvault::SessionId& id) {
  SessionId result;
  static_assert(sizeof result == sizeof id.bytes);
  std::memcpy(&result, id.bytes.data(), sizeof result);
  return result;
}

kvault::SessionId from_wire(const SessionId& id) {
  kvault::SessionId result;
  std::memcpy(result.bytes.data(), &id, sizeof id);
  return result;
}

RequestKey to_wire(const kvault::RequestKey& key) {
  std::array<std::uint8_t, sizeof(key)> bytes{};
  std::memcpy(bytes.data(), key.data(), bytes.size());
  return RequestKey(flatbuffers::span<const std::uint8_t, sizeof(key)>(bytes));
}

kvault::RequestKey from_wire(const RequestKey* key) {
  kvault::RequestKey result{};
  if (key != nullptr) std::memcpy(result.data(), key->bytes()->data(), result.size());
  return result;
}

flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> to_wire(Builder& builder,
                                                               const SecretKey& key) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(key.bytes().data());
  return builder.CreateVector(bytes, key.bytes().size());
}

Result<SecretKey> from_wire(const flatbuffers::Vector<std::uint8_t>& key) {
  return SecretKey::from_bytes(std::as_bytes(std::span(key.data(), key.size())));
}

flatbuffers::Offset<Description> to_wire(Builder& builder, const SessionDescription& description) {
  std::vector<flatbuffers::Offset<IdentityField>> identity;
  for (const kvault::IdentityField& field : description.identity) {
    const auto name = text(builder, field.name);
    const auto value = text(builder, field.value);
    identity.push_back(CreateIdentityField(builder, name, value));
  }
  std::vector<flatbuffers::Offset<Layer>> layers;
  for (const LayerSpec& spec : description.shape.layers) {
    layers.push_back(CreateLayer(builder, static_cast<std::uint8_t>(spec.kind), spec.n_head,
                                 spec.n_kv_head, spec.key_head_dim, spec.value_head_dim,
                                 spec.window, static_cast<std::uint8_t>(spec.key_scheme),
                                 static_cast<std::uint8_t>(spec.value_scheme)));
  }
  const auto name = text(builder, description.name);
  const auto fields = builder.CreateVector(identity);
  const auto row_type = static_cast<std::uint8_t>(description.shape.row_type);
  return CreateDescription(builder, name, fields, row_type, builder.CreateVector(layers));
}

Result<SessionDescription> from_wire(const Description& description) {
  SessionDescription result;
  if (description.name() != nullptr) result.name = description.name()->str();
  if (const auto* identity = description.identity()) {
    for (const IdentityField* field : *identity) {
      result.identity.push_back({field->name()->str(), field->value()->str()});
    }
  }
  KVAULT_TRY(result.shape.row_type,
             require(row_type_of(description.row_type()), "row type", 0, description.row_type()));
  if (const auto* layers = description.layers()) {
    for (flatbuffers::uoffset_t i = 0; i < layers->size(); ++i) {
      KVAULT_TRY(const LayerSpec spec, layer_from_wire(*layers->Get(i), i));
      result.shape.layers.push_back(spec);
    }
  }
  return result;
}

flatbuffers::Offset<BeginRecord> to_wire(Builder& builder, const kvault::SessionId& session,
                                         const RecordDraft& draft) {
  std::vector<flatbuffers::Offset<Chunk>> offsets;
  for (const kvault::Chunk& chunk : draft.meta.chunks) {
    offsets.push_back(to_wire(builder, chunk));
  }
  const auto token_ids = builder.CreateVector(draft.meta.token_ids);
  const auto chunks = builder.CreateVector(offsets);
  const SessionId id = to_wire(session);
  return CreateBeginRecord(builder, &id, static_cast<std::uint16_t>(draft.kind), draft.first_token,
                           draft.n_token, token_ids, chunks, draft.payload_bytes);
}

Result<RecordDraft> from_wire(const BeginRecord& request) {
  RecordDraft draft{.first_token = request.first_token(),
                    .n_token = request.n_token(),
                    .meta = {},
                    .payload_bytes = request.payload_bytes()};
  KVAULT_TRY(draft.kind, require(record_kind_of(request.kind()), "record kind", 0, request.kind()));
  if (const auto* token_ids = request.token_ids()) {
    draft.meta.token_ids.assign(token_ids->begin(), token_ids->end());
  }
  if (const auto* chunks = request.chunks()) {
    for (flatbuffers::uoffset_t i = 0; i < chunks->size(); ++i) {
      KVAULT_TRY(kvault::Chunk chunk, chunk_from_wire(*chunks->Get(i), i));
      draft.meta.chunks.push_back(std::move(chunk));
    }
  }
  return draft;
}

}  // namespace kvault::wire
