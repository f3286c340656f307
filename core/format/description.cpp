#include "core/format/description.hpp"

#include <algorithm>

#include "core/format/bytes.hpp"

namespace kvault {
namespace {

constexpr std::uint16_t kDescriptionVersion = 1;
constexpr std::size_t kLayerSize = 24;

Result<LayerSpec> parse_layer(ByteReader& reader, std::size_t index) {
  LayerSpec layer;
  const auto kind = reader.take<std::uint8_t>();
  const std::uint8_t schemes[2] = {reader.take<std::uint8_t>(), reader.take<std::uint8_t>()};
  const auto reserved = reader.take<std::uint8_t>();
  layer.n_head = reader.take<std::uint32_t>();
  layer.n_kv_head = reader.take<std::uint32_t>();
  layer.key_head_dim = reader.take<std::uint32_t>();
  layer.value_head_dim = reader.take<std::uint32_t>();
  layer.window = reader.take<std::uint32_t>();
  if (kind < 1 || kind > static_cast<std::uint8_t>(LayerKind::none)) {
    return fail(Errc::unknown_format, message("layer ", index, " has the unknown kind ", kind));
  }
  for (const std::uint8_t scheme : schemes) {
    if (scheme != 0 && (scheme < KVAULT_FORMAT_Q8 || scheme > KVAULT_FORMAT_TQ2)) {
      return fail(Errc::unknown_format,
                  message("layer ", index, " has the unknown scheme ", scheme));
    }
  }
  if (reserved != 0) {
    return fail(Errc::unknown_format, message("layer ", index, " has the reserved byte ", reserved,
                                              " where this version writes 0"));
  }
  layer.kind = static_cast<LayerKind>(kind);
  layer.key_scheme = static_cast<Scheme>(schemes[0]);
  layer.value_scheme = static_cast<Scheme>(schemes[1]);
  return layer;
}

void put_layer(ByteWriter& writer, const LayerSpec& layer) {
  writer.put(static_cast<std::uint8_t>(layer.kind));
  writer.put(static_cast<std::uint8_t>(layer.key_scheme));
  writer.put(static_cast<std::uint8_t>(layer.value_scheme));
  writer.put(std::uint8_t{0});
  writer.put(layer.n_head);
  writer.put(layer.n_kv_head);
  writer.put(layer.key_head_dim);
  writer.put(layer.value_head_dim);
  writer.put(layer.window);
}

std::vector<std::byte> serialise(std::string_view name, const SessionDescription& description) {
  std::vector<const IdentityField*> fields;
  for (const IdentityField& field : description.identity) fields.push_back(&field);
  std::sort(fields.begin(), fields.end(),
            [](const IdentityField* a, const IdentityField* b) { return a->name < b->name; });
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put(kDescriptionVersion);
  writer.put(static_cast<std::uint8_t>(description.shape.row_type));
  writer.put(std::uint8_t{0});
  writer.put(static_cast<std::uint32_t>(name.size()));
  writer.put(static_cast<std::uint32_t>(fields.size()));
  writer.put(static_cast<std::uint32_t>(description.shape.layers.size()));
  writer.put_text(name);
  for (const IdentityField* field : fields) {
    writer.put(static_cast<std::uint32_t>(field->name.size()));
    writer.put(static_cast<std::uint32_t>(field->value.size()));
    writer.put_text(field->name);
    writer.put_text(field->value);
  }
  for (const LayerSpec& layer : description.shape.layers) put_layer(writer, layer);
  return bytes;
}

Result<> parse_identity(ByteReader& reader, std::uint32_t n_field,
                        std::vector<IdentityField>& fields) {
  for (std::uint32_t i = 0; i < n_field; ++i) {
    const auto name_size = reader.take<std::uint32_t>();
    const auto value_size = reader.take<std::uint32_t>();
    if (name_size > kIdentityNameSizeMax || value_size > kIdentityValueSizeMax) {
      return fail(Errc::corrupt, message("identity field ", i, " has a name of ", name_size,
                                         " and a value of ", value_size, " bytes"));
    }
    fields.push_back({reader.take_text(name_size), reader.take_text(value_size)});
    if (i > 0 && !reader.is_short() && fields[i].name <= fields[i - 1].name) {
      return fail(Errc::corrupt, message("identity field ", i, " is not in order"));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<std::byte>> serialise_description(const SessionDescription& description) {
  KVAULT_CHECK(check_description(description));
  return serialise(description.name, description);
}

Result<std::vector<std::byte>> serialise_identity(const SessionDescription& description) {
  KVAULT_CHECK(check_model(description));
  return serialise("", description);
}

Result<SessionDescription> parse_description(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  SessionDescription description;
  const auto version = reader.take<std::uint16_t>();
  const auto row_type = reader.take<std::uint8_t>();
  const auto reserved = reader.take<std::uint8_t>();
  const auto name_size = reader.take<std::uint32_t>();
  const auto n_field = reader.take<std::uint32_t>();
  const auto n_layer = reader.take<std::uint32_t>();
  if (reader.is_short()) {
    return fail(Errc::truncated, message("a description of ", bytes.size(), " bytes"));
  }
  if (version != kDescriptionVersion || reserved != 0) {
    return fail(Errc::unknown_format, message("description version ", version, ", reserved byte ",
                                              reserved, "; this build reads version 1, 0"));
  }
  if (row_type < KVAULT_FORMAT_RAW_F16 || row_type > KVAULT_FORMAT_RAW_F32) {
    return fail(Errc::unknown_format, message("row type ", row_type, " is not known"));
  }
  if (name_size > kSessionNameSizeMax || n_field > kIdentityFieldsMax || n_layer > kLayersMax) {
    return fail(Errc::corrupt, message("a description with a name of ", name_size, " bytes, ",
                                       n_field, " identity fields and ", n_layer, " layers"));
  }
  description.shape.row_type = static_cast<RowType>(row_type);
  description.name = reader.take_text(name_size);
  KVAULT_CHECK(parse_identity(reader, n_field, description.identity));
  if (reader.is_short() || reader.left() != n_layer * kLayerSize) {
    return fail(reader.is_short() ? Errc::truncated : Errc::corrupt,
                message("a description of ", bytes.size(), " bytes has ", reader.left(),
                        " left for ", n_layer, " layers of ", kLayerSize));
  }
  for (std::uint32_t i = 0; i < n_layer; ++i) {
    KVAULT_TRY(LayerSpec layer, parse_layer(reader, i));
    description.shape.layers.push_back(layer);
  }
  if (auto checked = check_description(description); !checked) {
    return fail(Errc::corrupt, checked.error().message);
  }
  return description;
}

}  // namespace kvault
