#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/npy/npy.hpp"

namespace kvault::test::cli {

/// Numbers from a seed, the same on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  /// Of [0, 1).
  double uniform();
  double normal();
  /// Of [0, n).
  std::uint64_t below(std::uint64_t n) { return next() % n; }

 private:
  std::uint64_t state_;
};

/// What one run of a program left behind.
struct RunResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

/// A folder that is gone at the end of the test.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();
  std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Runs `kvault` with these words, as a shell would split them.
RunResult run_kvault(const Folder& folder, const std::string& words);

/// Arrays for `kvault attend`.
struct Arrays {
  std::uint64_t n_kv_head = 1;
  std::uint64_t n_head = 1;
  std::uint64_t n_token = 1;
  std::uint64_t n_q = 1;
  std::uint64_t key_dim = 64;
  std::uint64_t value_dim = 64;
  bool is_f32 = false;                  ///< of K and V on disk
  std::vector<float> k = {};            ///< [n_kv_head, n_token, key_dim]
  std::vector<float> v = {};            ///< [n_kv_head, n_token, value_dim]
  std::vector<float> q = {};            ///< [n_head, n_q, key_dim]
  std::vector<std::uint8_t> mask = {};  ///< [n_q, n_token], or empty

  float& k_at(std::uint64_t head, std::uint64_t token, std::uint64_t i) {
    return k[(head * n_token + token) * key_dim + i];
  }
  float& v_at(std::uint64_t head, std::uint64_t token, std::uint64_t i) {
    return v[(head * n_token + token) * value_dim + i];
  }
};

/// Fills k, v and q with normal numbers that f16 holds.
void fill_normal(Arrays& arrays, std::uint64_t seed);
/// Rounds everything to f16 (within its range), as on disk.
void round_to_f16(Arrays& arrays);

/// Writes K.npy, V.npy, Q.npy and, if there is one, mask.npy.
void write(const Arrays& arrays, const Folder& folder);
void write_floats(const std::string& path, const std::vector<std::uint64_t>& shape,
                  const std::vector<float>& values, bool as_f32);

/// `attend` over the files of write(), with further words; --json is added.
RunResult attend(const Folder& folder, const std::string& words);
std::vector<float> read_floats(const std::string& path);
std::vector<char> read_bytes(const std::string& path);

/// Runs `attend --check` and checks that it passed; `note` leads the message.
nlohmann::json check_attend(const Folder& folder, const std::string& words,
                            const std::string& note);

/// Runs a command that must be refused: exit code 2, nothing on stdout, one line on stderr with
/// all of `parts` in it.
void check_refused(const RunResult& result, const std::vector<std::string>& parts);

}  // namespace kvault::test::cli
