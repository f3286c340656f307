#include "core/device/adapter_choice.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace kvault {
namespace {

DeviceAdapter make_adapter(std::string name, std::string uuid, std::string why_not = {}) {
  DeviceAdapter adapter;
  adapter.name = std::move(name);
  adapter.uuid = std::move(uuid);
  adapter.why_not = std::move(why_not);
  return adapter;
}

const std::string kUuids[] = {
    "00112233445566778899aabbccddeeff",
    "0123456789abcdef0123456789abcdef",
    "fedcba9876543210fedcba9876543210",
};

/// The last is of a driver that is too old to tell its UUID.
std::vector<DeviceAdapter> make_list() {
  return {make_adapter("Radeon RX 7900 1", kUuids[0]), make_adapter("GeForce RTX 4090", kUuids[1]),
          make_adapter("Radeon 780M", kUuids[2]),
          make_adapter("Old One", "", "its driver speaks Vulkan 1.1, not 1.2")};
}

std::string chosen(const std::vector<DeviceAdapter>& adapters, std::string_view wanted) {
  const Result<std::size_t> index = choose_adapter("vulkan", adapters, wanted);
  if (index) return adapters[*index].name;
  CHECK(index.error().code == Errc::device_absent);
  return index.error().message;
}

TEST_CASE("adapter choice: nothing wanted gives the first usable one") {
  CHECK(chosen(make_list(), "") == "Radeon RX 7900 1");
  std::vector<DeviceAdapter> adapters = make_list();
  adapters[0].why_not = "it lacks timelineSemaphore";
  CHECK(chosen(adapters, "") == "GeForce RTX 4090");
}

TEST_CASE("adapter choice: an index goes before a name that holds the same digit") {
  CHECK(chosen(make_list(), "0") == "Radeon RX 7900 1");
  CHECK(chosen(make_list(), "1") == "GeForce RTX 4090");
  CHECK(chosen(make_list(), "2") == "Radeon 780M");
  CHECK(chosen(make_list(), "4090") == "GeForce RTX 4090");
}

TEST_CASE("adapter choice: a UUID, with dashes and without, in any case") {
  CHECK(chosen(make_list(), kUuids[2]) == "Radeon 780M");
  CHECK(chosen(make_list(), "fedcba98-7654-3210-fedc-ba9876543210") == "Radeon 780M");
  CHECK(chosen(make_list(), "01234567-89AB-CDEF-0123-456789ABCDEF") == "GeForce RTX 4090");
  // Part of a UUID is none, and an adapter without one is not what a dash means.
  CHECK(chosen(make_list(), "fedcba98").find("no device \"fedcba98\"") != std::string::npos);
  CHECK(chosen(make_list(), "-").find("no device \"-\"") != std::string::npos);
}

TEST_CASE("adapter choice: part of a name, in any case; of several the first that is usable") {
  CHECK(chosen(make_list(), "geforce") == "GeForce RTX 4090");
  CHECK(chosen(make_list(), "780m") == "Radeon 780M");
  CHECK(chosen(make_list(), "RADEON") == "Radeon RX 7900 1");
  std::vector<DeviceAdapter> adapters = make_list();
  adapters[0].why_not = "it lacks timelineSemaphore";
  CHECK(chosen(adapters, "radeon") == "Radeon 780M");
}

TEST_CASE("adapter choice: an unusable one says why") {
  const std::string expected =
      "vulkan: \"Old One\" cannot be used: its driver speaks Vulkan 1.1, not 1.2";
  CHECK(chosen(make_list(), "old") == expected);
  CHECK(chosen(make_list(), "3") == expected);
}

TEST_CASE("adapter choice: an absent one is told what there is") {
  const std::string there =
      "there is: 0 Radeon RX 7900 1; 1 GeForce RTX 4090; 2 Radeon 780M; "
      "3 Old One (its driver speaks Vulkan 1.1, not 1.2)";
  CHECK(chosen(make_list(), "arc") == "vulkan: no device \"arc\"; " + there);
  CHECK(chosen(make_list(), "409").find("no device \"409\"") != std::string::npos);
  CHECK(chosen(make_list(), "17") == "vulkan: no device \"17\"; " + there);
  CHECK(chosen(std::vector{make_list()[3]}, "") ==
        "vulkan: no usable device; there is: 0 Old One (its driver speaks Vulkan 1.1, not 1.2)");
  CHECK(chosen({}, "") == "vulkan: no device has a driver");
  CHECK(chosen({}, "0") == "vulkan: no device has a driver");
}

}  // namespace
}  // namespace kvault
