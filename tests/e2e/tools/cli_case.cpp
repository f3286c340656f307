#include "tests/e2e/tools/cli_case.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include <sys/wait.h>

#include "core/base/half.hpp"

namespace kvault::test::cli {

std::uint64_t Random::next() {
  state_ += 0x9E3779B97F4A7C15U;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

double Random::uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(6.283185307179586 * uniform());
}

Folder::Folder() {
  std::string name = std::filesystem::temp_directory_path() / "kvault_cli_XXXXXX";
  REQUIRE(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<char> read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  REQUIRE(stream.good());
  return {std::istreambuf_iterator<char>(stream), {}};
}

RunResult run_kvault(const Folder& folder, const std::string& words) {
  const std::string command = std::string("'") + KVAULT_TEST_KVAULT + "' " + words + " >'" +
                              folder / "out.txt" + "' 2>'" + folder / "err.txt" + "'";
  const int status = std::system(command.c_str());
  const auto text = [&](const char* name) {
    const std::vector<char> bytes = read_bytes(folder / name);
    return std::string(bytes.begin(), bytes.end());
  };
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text("out.txt"), text("err.txt")};
}

void round_to_f16(Arrays& arrays) {
  for (std::vector<float>* values : {&arrays.k, &arrays.v, &arrays.q}) {
    for (float& value : *values) value = to_float(to_half(value));
  }
}

void fill_normal(Arrays& arrays, std::uint64_t seed) {
  Random random(seed);
  arrays.k.resize(arrays.n_kv_head * arrays.n_token * arrays.key_dim);
  arrays.v.resize(arrays.n_kv_head * arrays.n_token * arrays.value_dim);
  arrays.q.resize(arrays.n_head * arrays.n_q * arrays.key_dim);
  for (std::vector<float>* values : {&arrays.k, &arrays.v, &arrays.q}) {
    for (float& value : *values) value = static_cast<float>(random.normal());
  }
  round_to_f16(arrays);
}

void write_floats(const std::string& path, const std::vector<std::uint64_t>& shape,
                  const std::vector<float>& values, bool as_f32) {
  if (as_f32) {
    REQUIRE(tools::write_npy(path, {tools::NpyType::f4, shape, std::as_bytes(std::span(values))}));
    return;
  }
  std::vector<Half> halves;
  for (const float value : values) halves.push_back(to_half(value));
  REQUIRE(tools::write_npy(path, {tools::NpyType::f2, shape, std::as_bytes(std::span(halves))}));
}

void write(const Arrays& arrays, const Folder& folder) {
  write_floats(folder / "K.npy", {arrays.n_kv_head, arrays.n_token, arrays.key_dim}, arrays.k,
               arrays.is_f32);
  write_floats(folder / "V.npy", {arrays.n_kv_head, arrays.n_token, arrays.value_dim}, arrays.v,
               arrays.is_f32);
  write_floats(folder / "Q.npy", {arrays.n_head, arrays.n_q, arrays.key_dim}, arrays.q, true);
  if (arrays.mask.empty()) return;
  const std::vector<std::uint64_t> shape = {arrays.n_q, arrays.n_token};
  REQUIRE(tools::write_npy(folder / "mask.npy",
                           {tools::NpyType::b1, shape, std::as_bytes(std::span(arrays.mask))}));
}

RunResult attend(const Folder& folder, const std::string& words) {
  return run_kvault(folder, "attend --json --k '" + folder / "K.npy" + "' --v '" +
                                folder / "V.npy" + "' --q '" + folder / "Q.npy" + "' --out '" +
                                folder / "O.npy" + "' --lse '" + folder / "L.npy" + "' " + words);
}

std::vector<float> read_floats(const std::string& path) {
  const auto array = tools::read_npy(path);
  REQUIRE(array.has_value());
  REQUIRE(array->type == tools::NpyType::f4);
  std::vector<float> values(array->n_element());
  std::memcpy(values.data(), array->bytes.data(), array->bytes.size());
  return values;
}

nlohmann::json check_attend(const Folder& folder, const std::string& words,
                            const std::string& note) {
  const RunResult result = attend(folder, "--check " + words);
  const auto report = nlohmann::json::parse(result.out, nullptr, false);
  INFO(note << ": " << words << "\n" << result.err);
  if (report.is_discarded()) {
    FAIL_CHECK("no report; exit code " << result.exit_code);
    return nlohmann::json{{"error", 1.0}};
  }
  INFO("error " << report["error"].dump() << ", lse " << report["lse_error"].dump());
  CHECK(result.exit_code == 0);
  return report;
}

void check_refused(const RunResult& result, const std::vector<std::string>& parts) {
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.out.empty());
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.err.starts_with("kvault: "));
  for (const std::string& part : parts) {
    INFO("wanted: " << part);
    CHECK(result.err.find(part) != std::string::npos);
  }
}

}  // namespace kvault::test::cli
