#include "core/format/attributes.hpp"

#include <algorithm>

#include "core/format/text.hpp"

namespace kvault {
namespace {

constexpr std::uint8_t kFlagPinned = 1;
constexpr std::uint8_t kFlagMadeBy = 2;
constexpr std::uint8_t kFlagsKnown = kFlagPinned | kFlagMadeBy;

}  // namespace

void normalise(SessionAttributes& attributes) {
  std::vector<std::string>& labels = attributes.labels;
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
}

Result<> check_attributes(const SessionAttributes& attributes) {
  const std::vector<std::string>& labels = attributes.labels;
  if (labels.size() > kLabelsMax) {
    return fail(Errc::limit_exceeded,
                message(labels.size(), " labels; a session has at most ", kLabelsMax));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    KVAULT_CHECK(check_text("a label", labels[i], 1, kLabelSizeMax));
    if (i > 0 && !(labels[i - 1] < labels[i])) {
      return fail(Errc::invalid_argument,
                  message("the label '", labels[i], "' comes twice or out of order"));
    }
  }
  return {};
}

void put_attributes(ByteWriter& writer, const SessionAttributes& attributes) {
  const bool has_maker = attributes.made_by != RequestKey();
  writer.put(static_cast<std::uint8_t>((attributes.is_pinned ? kFlagPinned : 0) |
                                       (has_maker ? kFlagMadeBy : 0)));
  writer.put(static_cast<std::uint8_t>(attributes.labels.size()));
  writer.put(std::uint16_t{0});
  writer.put(std::uint32_t{0});
  writer.put(attributes.expires_at_s);
  writer.put_bytes(attributes.forked_from.bytes);
  writer.put(attributes.forked_at_token);
  for (const std::string& label : attributes.labels) {
    writer.put(static_cast<std::uint8_t>(label.size()));
    writer.put_text(label);
  }
  if (has_maker) writer.put_bytes(attributes.made_by);
}

Result<SessionAttributes> take_attributes(ByteReader& reader) {
  SessionAttributes attributes;
  const auto flags = reader.take<std::uint8_t>();
  const auto n_label = reader.take<std::uint8_t>();
  const auto reserved = reader.take<std::uint16_t>();
  const auto reserved_too = reader.take<std::uint32_t>();
  attributes.expires_at_s = reader.take<std::uint64_t>();
  const std::span<const std::byte> forked_from = reader.take_bytes(16);
  attributes.forked_at_token = reader.take<std::uint64_t>();
  for (std::uint32_t i = 0; i < n_label && !reader.is_short(); ++i) {
    attributes.labels.push_back(reader.take_text(reader.take<std::uint8_t>()));
  }
  if ((flags & kFlagMadeBy) != 0) {
    const std::span<const std::byte> made_by = reader.take_bytes(attributes.made_by.size());
    std::copy(made_by.begin(), made_by.end(), attributes.made_by.begin());
  }
  if (reader.is_short()) return fail(Errc::corrupt, "a session's attributes end too early");
  if ((flags & kFlagMadeBy) != 0 && attributes.made_by == RequestKey()) {
    return fail(Errc::corrupt, "a session's attributes name a request without a key");
  }
  std::copy(forked_from.begin(), forked_from.end(), attributes.forked_from.bytes.begin());
  attributes.is_pinned = (flags & kFlagPinned) != 0;
  if ((flags & ~kFlagsKnown) != 0 || reserved != 0 || reserved_too != 0) {
    return fail(Errc::unknown_format, message("attributes with the flags ", unsigned{flags},
                                              " and reserved ", reserved, " and ", reserved_too));
  }
  if (const Result<> checked = check_attributes(attributes); !checked) {
    return fail(Errc::corrupt, checked.error().message);
  }
  return attributes;
}

}  // namespace kvault
