#include "core/device/backend.hpp"

#include <doctest/doctest.h>

#include <array>

#include "kvault_backends.hpp"

// How a text becomes a device: which backend is asked for what, and what a wrong text is told.

namespace kvault {
namespace {

/// Opens nothing: its error says what it was asked for.
Result<std::unique_ptr<Device>> answer_open(const DeviceOptions& options) {
  return fail(Errc::device_absent,
              message("asked for <", options.adapter, "> on ", options.n_thread, " threads"));
}

Result<std::vector<DeviceAdapter>> answer_list() {
  DeviceAdapter first;
  first.name = "Some GPU";
  DeviceAdapter second;
  second.name = "Other: GPU";
  return std::vector<DeviceAdapter>{first, second};
}

Result<std::vector<DeviceAdapter>> answer_none() { return fail(Errc::device_absent, "no loader"); }

constexpr std::array kTable = {BackendEntry{"cpu", &answer_open, &answer_list},
                               BackendEntry{"gpu", &answer_open, &answer_list},
                               BackendEntry{"bare", &answer_open, &answer_none}};

Error error_of(std::string_view text) {
  const auto device = open_device(kTable, text, {.n_thread = 3});
  REQUIRE(!device);
  return device.error();
}

TEST_CASE("short: a device's text is a backend and which of its devices") {
  const struct {
    std::string_view text;
    std::string_view adapter;
  } cases[] = {{"cpu", ""},        {"gpu", ""},
               {"gpu:0", "0"},     {"gpu:Some GPU", "Some GPU"},
               {"gpu:a:b", "a:b"}, {"cpu:avx2", "avx2"},
               {"gpu: 1 ", " 1 "}, {"gpu:00112233-4455", "00112233-4455"}};
  for (const auto& c : cases) {
    CAPTURE(std::string(c.text));
    const Error error = error_of(c.text);
    CHECK(error.code == Errc::device_absent);  // the backend's own answer, unchanged
    CHECK(error.message == message("asked for <", c.adapter, "> on 3 threads"));
  }
}

TEST_CASE("short: a text that names no device is told what there is") {
  const struct {
    std::string_view text;
    Errc code;
    std::vector<std::string> parts;
  } cases[] = {
      {"", Errc::invalid_argument, {"empty", "cpu, gpu, bare"}},
      {"abacus", Errc::not_found, {"\"abacus\"", "cpu, gpu, bare"}},
      {"GPU", Errc::not_found, {"\"GPU\"", "cpu, gpu, bare"}},
      {" gpu", Errc::not_found, {"\" gpu\""}},
      {"gp", Errc::not_found, {"\"gp\""}},
      {":0", Errc::not_found, {"\":0\""}},
      {"abacus:0", Errc::not_found, {"\"abacus:0\"", "cpu, gpu, bare"}},
      {"gpu:", Errc::invalid_argument, {"\"gpu:\"", "0 Some GPU; 1 Other: GPU"}},
      {"gpu: ", Errc::invalid_argument, {"\"gpu: \""}},
      {"bare:", Errc::invalid_argument, {"\"bare:\"", "none: no loader"}},
  };
  for (const auto& c : cases) {
    CAPTURE(std::string(c.text));
    const Error error = error_of(c.text);
    INFO(error.message);
    CHECK(error.code == c.code);
    for (const std::string& part : c.parts) {
      CHECK(error.message.find(part) != std::string::npos);
    }
  }
}

TEST_CASE("short: the cpu is a device of this build, and there is one of it") {
  const auto device = open_device("cpu", {.n_thread = 1});
  REQUIRE(device);
  CHECK((*device)->name() == "cpu");
  for (const std::string_view text : {"cpu:0", "cpu:avx2"}) {
    const auto refused = open_device(text);
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::invalid_argument);
    CHECK(refused.error().message.find("only one") != std::string::npos);
  }
  const auto adapters = backends().front().list();
  REQUIRE(adapters);
  REQUIRE(adapters->size() == 1);
  CHECK(adapters->front().kind == AdapterKind::cpu);
  CHECK(adapters->front().driver == (*device)->caps().instruction_set);
  CHECK(adapters->front().why_not.empty());
}

TEST_CASE("short: what a backend lists as usable can be opened by its index and its UUID") {
  for (const BackendEntry& backend : backends().subspan(1)) {
    const auto adapters = backend.list();
    if (!adapters) {
      CHECK(adapters.error().code == Errc::device_absent);
      const auto device = open_device(backend.name);
      REQUIRE(!device);
      CHECK(device.error().code == Errc::device_absent);
      continue;
    }
    REQUIRE(!adapters->empty());
    for (std::size_t i = 0; i < adapters->size(); ++i) {
      const DeviceAdapter& adapter = (*adapters)[i];
      CHECK(!adapter.name.empty());
      const auto device = open_device(message(backend.name, ":", i));
      CHECK(device.has_value() == adapter.why_not.empty());
      if (!device || adapter.uuid.empty()) continue;
      CHECK(open_device(message(backend.name, ":", adapter.uuid)).has_value());
    }
    const auto beyond = open_device(message(backend.name, ":", adapters->size()));
    REQUIRE(!beyond);
    CHECK(beyond.error().code == Errc::device_absent);
    CHECK(beyond.error().message.find(adapters->front().name) != std::string::npos);
  }
}

}  // namespace
}  // namespace kvault
