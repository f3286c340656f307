#include <map>

#include "core/format/description.hpp"

namespace kvault {
namespace {

constexpr std::size_t kDifferencesMax = 8;
constexpr std::size_t kShownSizeMax = 80;

/// Gathers "what: session a, app b", and says so when there are too many to print.
class Differences {
 public:
  void add(std::string_view what, std::string_view session, std::string_view app) {
    if (session == app) return;
    if (++count_ > kDifferencesMax) return;
    if (count_ > 1) text_ += "; ";
    text_ += message(what, ": session ", shown(session), ", app ", shown(app));
  }
  void add(std::string_view what, std::uint64_t session, std::uint64_t app) {
    add(what, std::to_string(session), std::to_string(app));
  }
  Result<> result() const {
    if (count_ == 0) return {};
    const std::size_t hidden = count_ > kDifferencesMax ? count_ - kDifferencesMax : 0;
    return fail(Errc::identity_mismatch,
                hidden == 0 ? text_ : message(text_, "; and ", hidden, " more"));
  }

 private:
  static std::string shown(std::string_view value) {
    if (value.empty()) return "(none)";
    if (value.size() <= kShownSizeMax) return std::string(value);
    std::size_t size = kShownSizeMax;  // not through the middle of a UTF-8 sequence
    while ((static_cast<unsigned char>(value[size]) & 0xC0U) == 0x80U) --size;
    return message(value.substr(0, size), "...");
  }

  std::size_t count_ = 0;
  std::string text_;
};

std::string_view name_of(LayerKind kind) {
  switch (kind) {
    case LayerKind::full_attention:
      return "full attention";
    case LayerKind::sliding_window:
      return "sliding window";
    case LayerKind::recurrent:
      return "recurrent";
    case LayerKind::none:
      return "none";
  }
  return "?";
}

void compare_fields(const SessionDescription& recorded, const SessionDescription& offered,
                    Differences& differences) {
  std::map<std::string_view, std::pair<std::string_view, std::string_view>> values;
  for (const IdentityField& field : recorded.identity) values[field.name].first = field.value;
  for (const IdentityField& field : offered.identity) values[field.name].second = field.value;
  for (const auto& [name, pair] : values) differences.add(name, pair.first, pair.second);
}

void compare_layer(std::size_t index, const LayerSpec& recorded, const LayerSpec& offered,
                   Differences& differences) {
  if (recorded == offered) return;
  const auto compare = [&](std::string_view name, auto session, auto app) {
    differences.add(message("layer ", index, " ", name), session, app);
  };
  compare("kind", name_of(recorded.kind), name_of(offered.kind));
  compare("n_head", recorded.n_head, offered.n_head);
  compare("n_kv_head", recorded.n_kv_head, offered.n_kv_head);
  compare("key_head_dim", recorded.key_head_dim, offered.key_head_dim);
  compare("value_head_dim", recorded.value_head_dim, offered.value_head_dim);
  compare("window", recorded.window, offered.window);
  compare("key_scheme", kvault::name_of(recorded.key_scheme), kvault::name_of(offered.key_scheme));
  compare("value_scheme", kvault::name_of(recorded.value_scheme),
          kvault::name_of(offered.value_scheme));
}

}  // namespace

Result<> check_identity(const SessionDescription& recorded, const SessionDescription& offered) {
  Differences differences;
  compare_fields(recorded, offered, differences);
  const ModelShape& session = recorded.shape;
  const ModelShape& app = offered.shape;
  differences.add("row_type", name_of(session.row_type), name_of(app.row_type));
  differences.add("n_layer", session.layers.size(), app.layers.size());
  if (session.layers.size() == app.layers.size()) {
    for (std::size_t i = 0; i < session.layers.size(); ++i) {
      compare_layer(i, session.layers[i], app.layers[i], differences);
    }
  }
  return differences.result();
}

}  // namespace kvault
