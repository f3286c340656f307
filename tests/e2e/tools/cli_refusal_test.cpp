#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <functional>

#include "tests/e2e/tools/cli_case.hpp"

// What the command line refuses, and what it says: one line with the numbers, exit code 2.

namespace kvault::test::cli {
namespace {

Arrays small_arrays() {
  Arrays a{.n_kv_head = 2, .n_head = 4, .n_token = 130, .n_q = 2, .key_dim = 32, .value_dim = 32};
  fill_normal(a, 21);
  return a;
}

}  // namespace

TEST_CASE("short: cli refusal: options that make no sense") {
  const Folder folder;
  write(small_arrays(), folder);
  REQUIRE(attend(folder, "").exit_code == 0);
  check_refused(attend(folder, "--preset k5v5"), {"k5v5"});
  check_refused(attend(folder, "--device abacus"), {"\"abacus\"", "cpu"});
  check_refused(attend(folder, "--device ''"), {"empty", "cpu"});
  check_refused(attend(folder, "--device cpu:"), {"\"cpu:\"", "there is: 0 "});
  check_refused(attend(folder, "--device cpu:0"), {"only one", "\"0\""});
  check_refused(attend(folder, "--valid-length 131"), {"131", "130", "K.npy"});
  check_refused(attend(folder, "--valid-length -1"), {"-1"});
  check_refused(attend(folder, "--raw-pages some"), {"some", "sink,tail"});
  check_refused(attend(folder, "--scale 0"), {"--scale", "0"});
  check_refused(attend(folder, "--scale nan"), {"--scale"});
  check_refused(attend(folder, "--softcap -2"), {"--softcap", "-2"});
  check_refused(attend(folder, "--chunk 0"), {"--chunk", "0"});
  check_refused(attend(folder, "--window 99999999999"), {"99999999999"});
  check_refused(attend(folder, "--frobnicate 7"), {"--frobnicate"});
  check_refused(attend(folder, "--equalise '" + folder / "none.npy" + "'"), {"none.npy"});
  check_refused(run_kvault(folder, "attend --k x.npy"), {"--v"});
  check_refused(run_kvault(folder, "frobnicate"), {"frobnicate"});
  check_refused(run_kvault(folder, ""), {"command is missing"});
}

TEST_CASE("short: cli refusal: arrays that do not fit together") {
  const struct {
    std::function<void(Arrays&)> change;
    std::vector<std::string> parts;
  } cases[] = {
      {[](Arrays& a) { a.key_dim = 40; }, {"unsupported", "40", "32, 48"}},
      {[](Arrays& a) { a.value_dim = 1024; }, {"unsupported", "1024"}},
      {[](Arrays& a) { a.n_head = 5; }, {"shape_mismatch", "n_head 5", "n_kv_head 2"}},
      {[](Arrays& a) { a.n_head = 1; }, {"shape_mismatch", "n_head 1", "n_kv_head 2"}},
      {[](Arrays& a) { a.n_q = 0; }, {"shape_mismatch", "Q.npy", "0 queries"}},
      {[](Arrays& a) { a.n_kv_head = 0; }, {"shape_mismatch", "n_kv_head 0"}},
  };
  for (const auto& c : cases) {
    const Folder folder;
    Arrays a = small_arrays();
    c.change(a);
    fill_normal(a, 22);
    write(a, folder);
    check_refused(attend(folder, ""), c.parts);
  }
}

TEST_CASE("short: cli refusal: files of the wrong shape, type or content") {
  const Folder folder;
  const Arrays a = small_arrays();
  write(a, folder);
  const auto with = [&](const char* option, const std::string& name) {
    return attend(folder, std::string(option) + " '" + folder / name + "'");
  };
  // CLI11 refuses an option given twice, so the wrong file takes the name of the right one.
  const auto refuse = [&](const char* name, const std::vector<std::uint64_t>& shape,
                          const std::vector<float>& values, bool as_f32,
                          const std::vector<std::string>& parts) {
    write_floats(folder / name, shape, values, as_f32);
    check_refused(attend(folder, ""), parts);
    write(a, folder);
  };
  refuse("K.npy", {2, 130 * 32}, a.k, false, {"K.npy", "[2, 4160]", "[n_kv_head, n_token"});
  refuse("K.npy", {2, 130, 32}, a.k, true, {"type_mismatch", "f4", "f2"});
  refuse("K.npy", {1, 260, 32}, a.k, false, {"[1, 260, 32]", "[2, 130, 32]"});
  refuse("V.npy", {2, 65, 64}, a.v, false, {"[2, 130, 32]", "[2, 65, 64]"});
  refuse("Q.npy", {2, 2, 64}, a.q, true, {"Q.npy", "[2, 2, 64]", "[2, 130, 32]"});
  std::vector<float> bad = a.v;
  bad[130 * 32 + 17 * 32 + 5] = std::nanf("");
  refuse("V.npy", {2, 130, 32}, bad, false, {"not_finite", "V.npy", "[1, 17, 5]", "NaN"});
  bad = a.q;
  bad[33] = 1e30F * 1e30F;
  refuse("Q.npy", {4, 2, 32}, bad, true, {"not_finite", "Q.npy", "[0, 1, 1]", "infinite"});

  std::filesystem::remove(folder / "V.npy");
  check_refused(attend(folder, ""), {"not_found", "V.npy"});
  std::ofstream(folder / "V.npy") << "not an array";
  check_refused(attend(folder, ""), {"unknown_format", "V.npy"});
  write(a, folder);
  std::filesystem::resize_file(folder / "V.npy", 1000);
  check_refused(attend(folder, ""), {"truncated", "V.npy", "16640", "872"});
  write(a, folder);

  const std::vector<std::byte> bits(2 * 129);
  const std::vector<std::uint64_t> shape = {2, 129};
  REQUIRE(tools::write_npy(folder / "m.npy", {tools::NpyType::b1, shape, bits}));
  check_refused(with("--mask", "m.npy"), {"m.npy", "[2, 129]", "[2, 130]"});
  write_floats(folder / "m.npy", {2, 130}, std::vector<float>(260), true);
  check_refused(with("--mask", "m.npy"), {"m.npy", "f4", "b1"});
  write_floats(folder / "E.npy", {2, 33}, std::vector<float>(66, 1.0F), true);
  check_refused(with("--equalise", "E.npy"), {"E.npy", "[2, 33]", "[2, 32]"});
  write_floats(folder / "E.npy", {2, 32}, std::vector<float>(64, -1.0F), true);
  check_refused(with("--equalise", "E.npy"), {"E.npy", "entry 0", "-1"});
  check_refused(run_kvault(folder, "attend --k '" + folder / "K.npy" + "' --v '" +
                                       folder / "V.npy" + "' --q '" + folder / "Q.npy" +
                                       "' --out '" + folder / "no/O.npy" + "'"),
                {"io", "no/O.npy"});
}

TEST_CASE("short: cli: version, devices and help") {
  const Folder folder;
  const RunResult version = run_kvault(folder, "--version");
  CHECK(version.exit_code == 0);
  CHECK(version.out.starts_with("kvault 0."));
  const RunResult devices = run_kvault(folder, "devices --json");
  CHECK(devices.exit_code == 0);
  const auto list = nlohmann::json::parse(devices.out, nullptr, false);
  REQUIRE(list.is_array());
  CHECK(list[0]["device"] == "cpu");
  CHECK(list[0]["kind"] == "cpu");
  CHECK(list[0]["is_present"] == true);
  for (const char* command :
       {"attend", "roundtrip", "sessions", "show", "rm", "verify", "stats", "devices"}) {
    const RunResult help = run_kvault(folder, std::string(command) + " --help");
    CHECK(help.exit_code == 0);
    CHECK(help.out.find("Example") != std::string::npos);
  }
}

}  // namespace kvault::test::cli
