#include "tools/eval/quality_html.hpp"

#include <string_view>

#include "core/base/result.hpp"
#include "tools/eval/quality_plots.hpp"
#include "tools/eval/quality_tables.hpp"

namespace kvault::eval {
namespace {

constexpr std::string_view kStyle =
    "body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}"
    "table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
    "td,th{border-bottom:1px solid #d8dee4;padding:.25rem .55rem;text-align:left;"
    "white-space:nowrap;font-variant-numeric:tabular-nums}th{background:#f3f5f7}"
    "tr.ours td:first-child{font-weight:600}svg{max-width:100%;height:auto}"
    "svg text{font:12px system-ui,sans-serif;fill:#1b1f24}p.note{color:#57606a}";

std::string table_of(const QualityTable& table) {
  std::string html = "<h2>" + escaped(table.title) + "</h2>\n";
  if (!table.text.empty()) html += "<p>" + escaped(table.text) + "</p>\n";
  html += "<table><thead><tr>";
  for (const std::string& column : table.columns) html += "<th>" + escaped(column) + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    html += table.is_ours[i] ? "<tr class=\"ours\">" : "<tr>";
    for (const std::string& cell : table.rows[i]) html += "<td>" + escaped(cell) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table>\n";
}

}  // namespace

std::string html_of(const nlohmann::ordered_json& figures) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<title>kvault: quality</title><style>" +
      std::string(kStyle) + "</style></head><body>\n<h1>kvault: what every bit buys on " +
      escaped(figures.at("model").get<std::string>()) + "</h1>\n";
  html +=
      message("<p class=\"note\">", figures.at("n_token").get<int>(),
              " tokens of text, teacher-forced; KL divergence of the next token to the run over "
              "raw rows, in nats. Options on ",
              figures.at("n_token_options").get<int>(), " tokens.</p>\n");
  html +=
      "<h2>Codec only: quality against bits</h2>\n" + quality_against_bits(figures, "codec-only");
  html += "<h2>Live: quality against bits at the measured length</h2>\n" +
          quality_against_bits(figures, "live");
  html += "<h2>Attention error by layer and head, codec only</h2>\n" + error_heat_maps(figures);
  html += "<h2>Error by position in the page</h2>\n" + error_by_position(figures);
  for (const QualityTable& table : tables_of(figures)) html += table_of(table);
  return html + "</body></html>\n";
}

}  // namespace kvault::eval
