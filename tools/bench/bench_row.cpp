#include "tools/bench/bench_row.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

namespace kvault::tools {
namespace {

using Json = nlohmann::ordered_json;

/// visit(key, field, is_required) for every field, in the order of the file.
template <class Row, class Visit>
void visit_fields(Row& row, const Visit& visit) {
  visit("op", row.op, true);
  visit("device", row.device, true);
  visit("adapter", row.adapter, false);
  visit("adapter_kind", row.adapter_kind, false);
  visit("driver", row.driver, false);
  visit("preset", row.preset, true);
  visit("layout", row.layout, false);
  visit("sparse_values", row.sparse_values, false);
  visit("instruction_set", row.instruction_set, false);
  visit("head_dim", row.head_dim, true);
  visit("n_head", row.n_head, true);
  visit("n_kv_head", row.n_kv_head, true);
  visit("n_token", row.n_token, true);
  visit("n_q", row.n_q, false);
  visit("n_sequences", row.n_sequence, false);
  visit("n_threads", row.n_thread, true);
  visit("time_us", row.time_us, true);
  visit("time_min_us", row.time_min_us, false);
  visit("n_repetitions", row.n_repetition, false);
  visit("stored_gb_per_s", row.stored_gb_per_s, true);
  visit("set_bytes", row.set_size_bytes, true);
  visit("page_size", row.page_size_bytes, true);
  visit("read_bandwidth_gb_per_s", row.read_bandwidth_gb_per_s, true);
  visit("fraction_of_bandwidth", row.fraction_of_bandwidth, true);
  visit("port_limit_gb_per_s", row.port_limit_gb_per_s, true);
  visit("fraction_of_port_limit", row.fraction_of_port_limit, true);
  visit("speedup_over_f16", row.speedup_over_f16, true);
  visit("input_gb_per_s", row.input_gb_per_s, false);
  visit("output_gb_per_s", row.output_gb_per_s, false);
}

template <class T>
Json json_of(const T& field) {
  return field;
}
Json json_of(const std::optional<double>& field) { return field ? Json(*field) : Json(); }

/// Whether `json` is of the field's type; then it is taken over.
bool take(const Json& json, std::string& field) {
  if (!json.is_string()) return false;
  field = json.get<std::string>();
  return true;
}
bool take(const Json& json, double& field) {
  if (!json.is_number()) return false;
  field = json.get<double>();
  return true;
}
bool take(const Json& json, std::optional<double>& field) {
  field.reset();
  return json.is_null() || take(json, field.emplace());
}
template <class Integer>
bool take(const Json& json, Integer& field) {
  if (!json.is_number_unsigned()) return false;
  field = json.get<Integer>();
  return true;
}

Result<BenchRow> row_of(const Json& object, const std::string& where) {
  if (!object.is_object()) return fail(Errc::unknown_format, where + " is no object");
  BenchRow row;
  std::string fault;
  visit_fields(row, [&](const char* key, auto& field, bool is_required) {
    const auto found = object.find(key);
    if (found == object.end()) {
      if (is_required && fault.empty()) fault = message(where, " has no \"", key, "\"");
    } else if (!take(*found, field) && fault.empty()) {
      fault = message(where, " has an unusable \"", key, "\": ", found->dump());
    }
  });
  if (!fault.empty()) return fail(Errc::unknown_format, fault);
  return row;
}

}  // namespace

std::string label_of(const BenchRow& row) {
  std::string label = row.preset;
  for (const std::string& part : {row.layout, row.sparse_values, row.instruction_set}) {
    if (!part.empty()) label += " " + part;
  }
  if (row.n_sequence > 1) label += message(" of ", row.n_sequence);
  return row.n_thread > 0 ? message(label, " ", row.n_thread, "T") : label;
}

std::string to_json(const std::vector<BenchRow>& rows) {
  Json list = Json::array();
  for (const BenchRow& row : rows) {
    Json object = Json::object();
    visit_fields(row, [&](const char* key, const auto& field, bool is_required) {
      const Json value = json_of(field);
      const bool is_nothing = value.is_null() || value == "";
      if (is_required || !is_nothing) object[key] = value;
    });
    list.push_back(std::move(object));
  }
  return list.dump(2) + "\n";
}

Result<> write_rows(const std::filesystem::path& path, const std::vector<BenchRow>& rows) {
  std::ofstream stream(path);
  stream << to_json(rows);
  stream.close();
  if (!stream) return fail(Errc::io, message("cannot write ", path.native()));
  return {};
}

Result<std::vector<BenchRow>> read_rows(const std::filesystem::path& path) {
  std::ifstream stream(path);
  if (!stream) return fail(Errc::not_found, message("cannot read ", path.native()));
  Json list = Json::parse(stream, nullptr, false);
  if (list.is_object() && list.contains("rows")) list = Json(list["rows"]);
  if (!list.is_array()) {
    return fail(Errc::unknown_format, message(path.native(), " is no JSON list of rows"));
  }
  std::vector<BenchRow> rows;
  for (std::size_t i = 0; i < list.size(); ++i) {
    KVAULT_TRY(BenchRow row, row_of(list[i], message(path.native(), ": row ", i)));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace kvault::tools
