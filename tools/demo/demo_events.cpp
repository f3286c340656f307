#include "tools/demo/demo_events.hpp"

#include <array>
#include <nlohmann/json.hpp>

namespace kvault::tools {
namespace {

using Json = nlohmann::json;

constexpr std::array<const char*, 5> kNames = {"opened", "progress", "replied", "saved",
                                               "finished"};

/// The number under `key`; false where there is none.
bool read(const Json& object, const char* key, std::uint64_t& target) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return false;
  target = *found->get_ptr<const Json::number_unsigned_t*>();
  return true;
}

bool read(const Json& object, const char* key, double& target) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return false;
  target = found->get<double>();
  return true;
}

}  // namespace

std::string to_line(const DemoEvent& event) {
  const Json object = {{"event", kNames[static_cast<std::size_t>(event.kind)]},
                       {"n_token", event.n_token},
                       {"index", event.index},
                       {"token", event.token},
                       {"hash", event.hash},
                       {"milliseconds", event.milliseconds},
                       {"f16_bytes", event.numbers.f16_bytes},
                       {"cache_bytes", event.numbers.cache_bytes},
                       {"attention_error", event.numbers.attention_error},
                       {"control_error", event.numbers.control_error}};
  return object.dump();
}

Result<DemoEvent> parse_event(std::string_view line) {
  const Json object = Json::parse(line.begin(), line.end(), nullptr, false);
  DemoEvent event;
  std::uint64_t token = 0;
  const auto name = object.is_object() ? object.find("event") : object.end();
  std::size_t kind = kNames.size();
  for (std::size_t i = 0; object.is_object() && name != object.end() && i < kNames.size(); ++i) {
    if (*name == kNames[i]) kind = i;
  }
  if (kind == kNames.size() || !read(object, "n_token", event.n_token) ||
      !read(object, "index", event.index) || !read(object, "token", token) ||
      !read(object, "hash", event.hash) || !read(object, "milliseconds", event.milliseconds) ||
      !read(object, "f16_bytes", event.numbers.f16_bytes) ||
      !read(object, "cache_bytes", event.numbers.cache_bytes) ||
      !read(object, "attention_error", event.numbers.attention_error) ||
      !read(object, "control_error", event.numbers.control_error)) {
    return fail(Errc::protocol, message("the app said: ", line.substr(0, 200)));
  }
  event.kind = static_cast<EventKind>(kind);
  event.token = static_cast<std::uint32_t>(token);
  return event;
}

}  // namespace kvault::tools
