#include "tools/eval/quality_tables.hpp"

#include <algorithm>

#include "core/base/result.hpp"
#include "tools/cli/report.hpp"

namespace kvault::eval {
namespace {

using nlohmann::ordered_json;
using tools::format_number;

std::string kl(const ordered_json& row, const char* key) {
  return format_number("%.5f", row.at(key).get<double>());
}

std::string interval(const ordered_json& pair) {
  return format_number("[%.5f, ", pair.at(0).get<double>()) +
         format_number("%.5f]", pair.at(1).get<double>());
}

bool is_ours(const ordered_json& row) {
  const auto group = row.at("group").get<std::string>();
  return group != "rival" && group != "TurboQuant";
}

/// The run of the same scheme and table under another stress; null where there is none.
const ordered_json* stressed(const ordered_json& rows, const ordered_json& like, int level) {
  for (const ordered_json& row : rows) {
    if (row.at("table") == like.at("table") && row.at("preset") == like.at("preset") &&
        row.at("stress") == level) {
      return &row;
    }
  }
  return nullptr;
}

/// The unstressed rows of a table by rising bits.
std::vector<const ordered_json*> plain_rows(const ordered_json& rows, const char* table,
                                            const char* bits) {
  std::vector<const ordered_json*> result;
  for (const ordered_json& row : rows) {
    if (row.at("table") == table && row.at("stress") == 0) result.push_back(&row);
  }
  std::stable_sort(result.begin(), result.end(),
                   [bits](const ordered_json* a, const ordered_json* b) {
                     return a->at(bits).get<double>() < b->at(bits).get<double>();
                   });
  return result;
}

std::vector<std::string> common_cells(const ordered_json& row) {
  return {row.at("preset"),
          row.at("group"),
          format_number("%.3f", row.at("bits_per_element").get<double>()),
          kl(row, "kl_mean") + " " + interval(row.at("details").at("kl_mean_interval")),
          kl(row, "kl_p99"),
          kl(row, "kl_p999"),
          format_number("%.4f", row.at("top1_agreement").get<double>()),
          format_number("%.4f", row.at("nll").get<double>())};
}

void add_stress(const ordered_json& rows, const ordered_json& row, int level,
                std::vector<std::string>& cells) {
  const ordered_json* const other = stressed(rows, row, level);
  cells.push_back(other == nullptr ? "-" : kl(*other, "kl_mean"));
  cells.push_back(other == nullptr ? "-" : kl(*other, "kl_p999"));
}

QualityTable codec_table(const ordered_json& figures) {
  const ordered_json& rows = figures.at("rows");
  QualityTable table{
      .title = "Codec only",
      .text =
          "Every key and value of every page is coded; no row stays raw. Bits are all that a "
          "page stores, and what a session stores once, at 1,024 tokens.",
      .columns = {"scheme", "kind", "bits", "mean KL [95 %]", "p99", "p99.9", "top-1", "nll",
                  "stress 1: mean", "p99.9", "stress 4: mean", "p99.9"},
      .rows = {},
      .is_ours = {}};
  for (const ordered_json* const row : plain_rows(rows, "codec-only", "bits_per_element")) {
    std::vector<std::string> cells = common_cells(*row);
    add_stress(rows, *row, 1, cells);
    add_stress(rows, *row, 4, cells);
    table.rows.push_back(std::move(cells));
    table.is_ours.push_back(is_ours(*row));
  }
  return table;
}

/// "0.371 (raw 0.394)" at the farthest distance, with the interval of the difference.
std::string recall_cell(const ordered_json& row) {
  const ordered_json& details = row.at("details");
  if (!details.contains("recall")) return "-";
  const ordered_json& far = details.at("recall").back();
  return format_number("%.3f", far.at("share").get<double>()) +
         format_number(" (raw %.3f) ", far.at("share_raw").get<double>()) +
         format_number("[%.3f, ", far.at("difference_interval").at(0).get<double>()) +
         format_number("%.3f]", far.at("difference_interval").at(1).get<double>());
}

QualityTable live_table(const ordered_json& figures) {
  const ordered_json& rows = figures.at("rows");
  QualityTable table{
      .title = "Live",
      .text =
          "As the cache is used: the first page and the newest 128 to 255 tokens are raw, for "
          "rivals too. Bits are all-in at the measured 1,024 tokens; the column at 32k is "
          "accounting, not a measurement of quality. Recall: a text of 512 tokens repeated "
          "word for word, in brackets the 95 % interval of the difference to raw.",
      .columns = {"scheme", "kind", "bits", "mean KL [95 %]", "p99", "p99.9", "top-1", "nll",
                  "stress 4: mean", "p99.9", "bits at 32k", "recall at 512"},
      .rows = {},
      .is_ours = {}};
  for (const ordered_json* const row : plain_rows(rows, "live", "bits_per_element")) {
    std::vector<std::string> cells = common_cells(*row);
    add_stress(rows, *row, 4, cells);
    cells.push_back(format_number("%.3f", row->at("bits_per_element_32k").get<double>()));
    cells.push_back(recall_cell(*row));
    table.rows.push_back(std::move(cells));
    table.is_ours.push_back(is_ours(*row));
  }
  return table;
}

/// Whether the interval of the difference lies on one side of zero.
std::string verdict_of(const ordered_json& row) {
  if (row.at("preset") == row.at("base")) return "base";
  const double low = row.at("difference_interval").at(0);
  const double high = row.at("difference_interval").at(1);
  if (high < 0) return "better";
  return low > 0 ? "worse" : "no difference seen";
}

QualityTable option_table(const ordered_json& rows, const std::string& group) {
  QualityTable table{
      .title = "Option: " + group,
      .text = "",
      .columns = {"scheme", "stress", "mode", "bits", "mean KL", "over base", "p99.9", "verdict"},
      .rows = {},
      .is_ours = {}};
  double base = 0;
  for (const ordered_json& row : rows) {
    if (row.at("table") != "options" || row.at("group") != group) continue;
    const double mean = row.at("kl_mean");
    if (row.at("preset") == row.at("base")) base = mean;
    const char* const bits = row.at("mode") == "live" ? "bits_per_element_32k" : "bits_per_element";
    table.rows.push_back({row.at("preset"), std::to_string(row.at("stress").get<int>()),
                          row.at("mode"), format_number("%.3f", row.at(bits).get<double>()),
                          kl(row, "kl_mean"), format_number("%.3f", base > 0 ? mean / base : 0),
                          kl(row, "kl_p999"), verdict_of(row)});
    table.is_ours.push_back(row.at("preset") == row.at("base"));
  }
  return table;
}

}  // namespace

std::vector<QualityTable> tables_of(const ordered_json& figures) {
  std::vector<QualityTable> tables = {codec_table(figures), live_table(figures)};
  std::vector<std::string> groups;
  for (const ordered_json& row : figures.at("rows")) {
    if (row.at("table") != "options") continue;
    const auto group = row.at("group").get<std::string>();
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  for (const std::string& group : groups) {
    tables.push_back(option_table(figures.at("rows"), group));
  }
  return tables;
}

std::string markdown_of(const ordered_json& figures) {
  const auto line = [](const std::vector<std::string>& cells, bool is_bold) {
    std::string text = "|";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string mark = is_bold && i == 0 ? "**" : "";
      text += " " + mark + cells[i] + mark + " |";
    }
    return text + "\n";
  };
  std::string text = message("# Quality: figures of ", figures.at("model").get<std::string>(),
                             "\n\nWritten by `kvault eval --all`; what they mean is in "
                             "[quality.md](../quality.md). ",
                             figures.at("n_token").get<int>(), " tokens, options on ",
                             figures.at("n_token_options").get<int>(), ".\n");
  for (const QualityTable& table : tables_of(figures)) {
    text += "\n## " + table.title + "\n\n" + (table.text.empty() ? "" : table.text + "\n\n");
    text += line(table.columns, false);
    text += line(std::vector<std::string>(table.columns.size(), "---"), false);
    for (std::size_t i = 0; i < table.rows.size(); ++i) {
      text += line(table.rows[i], table.is_ours[i]);
    }
  }
  return text;
}

}  // namespace kvault::eval
