#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "kvault/kvault.h"
#include "kvault/kvault.hpp"

// The `device` of a cache's options: what names one, and what is said where nothing does.

namespace kvault::sdk {
namespace {

constexpr kvault_layer kLayer = {KVAULT_FULL_ATTENTION, 2, 1, 32, 32, 0, KVAULT_TQ4, KVAULT_TQ4};

/// Creates a cache with this device by the C interface; the status, and the sentence in `said`.
kvault_status create(const char* device, std::string& said) {
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  options.n_layer = 1;
  options.layers = &kLayer;
  options.device = device;
  options.n_thread = 1;
  kvault_cache* cache = nullptr;
  kvault_error error{};
  const kvault_status status = kvault_cache_create(&options, &cache, &error);
  CHECK((cache != nullptr) == (status == KVAULT_OK));
  kvault_cache_destroy(cache);
  said = error.message;
  return status;
}

}  // namespace

TEST_CASE("short: kvault.h: no device named is the cpu") {
  std::string said;
  CHECK(create(nullptr, said) == KVAULT_OK);
  CHECK(create("cpu", said) == KVAULT_OK);
}

TEST_CASE("short: kvault.h: a device that is none is an error and not another device") {
  const struct {
    const char* device;
    kvault_status status;
    std::string_view part;
  } cases[] = {{"", KVAULT_INVALID_ARGUMENT, "empty"},
               {"gpu", KVAULT_NOT_FOUND, "\"gpu\" in this build; it has: cpu"},
               {"CPU", KVAULT_NOT_FOUND, "\"CPU\""},
               {"cpu:", KVAULT_INVALID_ARGUMENT, "\"cpu:\""},
               {"cpu:0", KVAULT_INVALID_ARGUMENT, "only one"}};
  for (const auto& c : cases) {
    CAPTURE(std::string(c.device));
    std::string said;
    CHECK(create(c.device, said) == c.status);
    INFO(said);
    CHECK(said.find(c.part) != std::string::npos);
  }
}

TEST_CASE("short: kvault.h: a device that the machine has not is absent") {
  for (const std::string& name : device_names()) {
    if (name == "cpu") continue;
    for (const std::string which : {":9999", ":no such device"}) {
      std::string said;
      CHECK(create((name + which).c_str(), said) == KVAULT_DEVICE_ABSENT);
      INFO(said);
      CHECK(!said.empty());
    }
  }
}

TEST_CASE("short: kvault.hpp: an empty device is an error as well") {
  const auto cache = Cache::create({.layers = {&kLayer, 1}, .device = ""});
  CHECK(cache.status() == KVAULT_INVALID_ARGUMENT);
}

}  // namespace kvault::sdk
