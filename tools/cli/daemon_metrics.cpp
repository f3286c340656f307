#include "tools/cli/daemon_metrics.hpp"

#include "core/base/result.hpp"

namespace kvault::tools {

std::vector<Metric> metrics_of(const kvault_daemon_stats& stats) {
  using enum Metric::Kind;
  return {
      {"n_session", "kvault_sessions", "Sessions kept", gauge, false, stats.n_session},
      {"n_connection", "kvault_connections", "Clients connected", gauge, false, stats.n_connection},
      {"n_record", "kvault_records", "Records that some session needs", gauge, false,
       stats.n_record},
      {"n_pack", "kvault_packs", "Pack files", gauge, false, stats.n_pack},
      {"n_queued_task", "kvault_queued_tasks", "Tasks that wait for the disk", gauge, false,
       stats.n_queued_task},
      {"live_size_bytes", "kvault_live_bytes", "Records that some session needs", gauge, true,
       stats.live_size_bytes},
      {"pack_size_bytes", "kvault_pack_bytes", "All packs", gauge, true, stats.pack_size_bytes},
      {"disk_size_bytes", "kvault_disk_bytes", "Packs, catalog and everything else", gauge, true,
       stats.disk_size_bytes},
      {"quota_bytes", "kvault_quota_bytes", "What may be taken; 0: no limit", gauge, true,
       stats.quota_bytes},
      {"uptime_s", "kvault_uptime_seconds", "Since the daemon's start", gauge, false,
       stats.uptime_s},
      {"n_commit", "kvault_commits_total", "Saves", total, false, stats.n_commit},
      {"written_size_bytes", "kvault_written_bytes_total", "Written to packs", total, true,
       stats.written_size_bytes},
      {"n_evicted", "kvault_evicted_sessions_total", "Sessions removed to keep the quota", total,
       false, stats.n_evicted},
      {"n_expired", "kvault_expired_sessions_total", "Sessions whose time was over", total, false,
       stats.n_expired},
      {"n_pack_deleted", "kvault_deleted_packs_total", "Packs deleted", total, false,
       stats.n_pack_deleted},
      {"n_compaction", "kvault_compactions_total", "Packs emptied by moving what lived there",
       total, false, stats.n_compaction},
      {"moved_size_bytes", "kvault_moved_bytes_total", "Moved by compaction", total, true,
       stats.moved_size_bytes},
      {"n_damage", "kvault_damaged_records_total", "Damaged records met", total, false,
       stats.n_damage},
  };
}

std::string prometheus_text(const std::vector<Metric>& metrics) {
  std::string text;
  for (const Metric& metric : metrics) {
    const char* type = metric.kind == Metric::Kind::total ? "counter" : "gauge";
    text += message("# HELP ", metric.prometheus_name, " ", metric.help, "\n");
    text += message("# TYPE ", metric.prometheus_name, " ", type, "\n");
    text += message(metric.prometheus_name, " ", metric.value, "\n");
  }
  return text;
}

}  // namespace kvault::tools
