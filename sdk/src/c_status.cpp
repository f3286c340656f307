#include <algorithm>
#include <string_view>

#include "core/layout/scheme.hpp"
#include "kvault_backends.hpp"
#include "sdk/src/c_boundary.hpp"

#define KVAULT_TEXT_(x) #x
#define KVAULT_TEXT(x) KVAULT_TEXT_(x)

namespace kvault::c {

kvault_status report(const Error& error, kvault_error* target) noexcept {
  const auto status = static_cast<kvault_status>(error.code);
  if (target == nullptr) return status;
  target->status = status;
  const std::string_view text = error.message.empty() ? text_of(error.code) : error.message;
  const std::size_t size = std::min(text.size(), sizeof(target->message) - 1);
  std::copy_n(text.data(), size, target->message);
  target->message[size] = '\0';
  return status;
}

kvault_status report_ok(kvault_error* target) noexcept {
  if (target != nullptr) {
    target->status = KVAULT_OK;
    target->message[0] = '\0';
  }
  return KVAULT_OK;
}

}  // namespace kvault::c

extern "C" {

const char* kvault_version_string(void) {
  return KVAULT_TEXT(KVAULT_VERSION_MAJOR) "." KVAULT_TEXT(KVAULT_VERSION_MINOR) "." KVAULT_TEXT(
      KVAULT_VERSION_PATCH);
}

const char* kvault_status_name(kvault_status status) {
  if (status == KVAULT_OK) return "ok";
  return kvault::name_of(kvault::errc_from_number(status)).data();
}

const char* kvault_status_text(kvault_status status) {
  if (status == KVAULT_OK) return "success";
  return kvault::text_of(kvault::errc_from_number(status)).data();
}

kvault_status kvault_preset(const char* name, kvault_scheme* key_scheme,
                            kvault_scheme* value_scheme, kvault_error* error) {
  return kvault::c::guard(error, [&]() -> kvault::Result<> {
    KVAULT_CHECK(kvault::c::require(name, "name"));
    KVAULT_CHECK(kvault::c::require(key_scheme, "key_scheme"));
    KVAULT_CHECK(kvault::c::require(value_scheme, "value_scheme"));
    const auto preset = kvault::find_preset(name);
    if (!preset) {
      std::string known;
      for (const kvault::Preset& entry : kvault::presets()) {
        known += known.empty() ? "" : ", ";
        known += entry.name;
      }
      return kvault::fail(kvault::Errc::invalid_argument,
                          kvault::message("unknown preset \"", name, "\"; known: ", known));
    }
    *key_scheme = static_cast<kvault_scheme>(preset->key);
    *value_scheme = static_cast<kvault_scheme>(preset->value);
    return {};
  });
}

const char* kvault_device_name(uint32_t index) {
  const auto entries = kvault::backends();
  return index < entries.size() ? entries[index].name.data() : nullptr;
}

}  // extern "C"
