#!/usr/bin/env python3
"""Writes the tables of docs/quality.md from docs/benchmarks/quality.json.

    quality_doc.py           writes them
    quality_doc.py --check   fails where they are stale

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "quality.md"
FIGURES = ROOT / "docs" / "benchmarks" / "quality.json"
KINDS = {"preset": "**kvault**", "trellis": "experiment", "allocated": "experiment",
         "TurboQuant": "TurboQuant", "rival": "rival"}


def short(value):
    """Two digits or three behind the zeros, without the one before the point."""
    if value >= 1:
        return f"{value:.3f}"
    digits = 5 if value < 0.001 else 4 if value < 0.02 else 3
    text = f"{value:.{digits + (0.02 <= value < 0.1)}f}"
    return text[1:]


def interval(pair):
    return f"({short(pair[0])}-{short(pair[1])})"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def table(head, rows):
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def find(rows, like, stress):
    found = [row for row in rows if row["table"] == like["table"] and row["stress"] == stress
             and row["preset"] == like["preset"]]
    return found[0] if found else None


def plain_rows(rows, name):
    chosen = [row for row in rows if row["table"] == name and row["stress"] == 0]
    return sorted(chosen, key=lambda row: row["bits_per_element"])


def common_cells(row):
    return [f"`{row['preset']}`", KINDS[row["group"]], f"{row['bits_per_element']:.2f}",
            f"{short(row['kl_mean'])} {interval(row['details']['kl_mean_interval'])}",
            short(row["kl_p99"]), short(row["kl_p999"]), f"{row['top1_agreement']:.4f}",
            f"{row['nll']:.4f}"]


def stress_cells(rows, row, level):
    other = find(rows, row, level)
    return [short(other["kl_mean"]), short(other["kl_p999"])] if other else ["-", "-"]


def codec_table(rows):
    head = ["scheme", "", "bits", "mean KL", "p99", "p99.9", "top-1", "nll", "stress 4: mean",
            "p99.9"]
    return table(head, [common_cells(row) + stress_cells(rows, row, 4)
                        for row in plain_rows(rows, "codec-only")])


def recall_cell(row):
    far = row["details"]["recall"][-1]
    low, high = far["difference_interval"]
    return f"{far['share']:.3f} [{low:+.3f}, {high:+.3f}]"


def live_table(rows):
    chosen = plain_rows(rows, "live")
    raw = chosen[0]["details"]["recall"][-1]["share_raw"]
    head = ["scheme", "", "bits", "mean KL", "p99", "p99.9", "top-1", "nll",
            f"recall at 512 (raw {raw:.3f})", "*bits at 32k*", "stress 4: mean", "p99.9"]
    return table(head, [common_cells(row) + [recall_cell(row),
                                             f"*{row['bits_per_element_32k']:.2f}*"]
                        + stress_cells(rows, row, 4) for row in chosen])


def stress_table(rows):
    head = ["codec only", "plain", "level 1", "over plain", "level 4: mean", "p99.9",
            "over plain"]
    lines = []
    for row in reversed(plain_rows(rows, "codec-only")):
        cells = [f"`{row['preset']}`", short(row["kl_mean"])]
        for level in (1, 4):
            other = find(rows, row, level)
            if other is None:
                cells += ["-"] * (2 if level == 1 else 3)
                continue
            cells.append(short(other["kl_mean"]))
            if level == 4:
                cells.append(short(other["kl_p999"]))
            cells.append(f"{other['kl_mean'] / row['kl_mean']:.2f}x")
        lines.append(cells)
    return table(head, lines)


TABLES = {"codec-only": codec_table, "live": live_table, "stress": stress_table}


def main():
    rows = json.loads(FIGURES.read_text())["rows"]
    page = PAGE.read_text()

    def fill(match):
        return f"<!-- table: {match[1]} -->\n\n{TABLES[match[1]](rows)}\n\n<!-- end -->"

    made = re.sub(r"<!-- table: ([a-z-]+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made)
    elif made != page:
        sys.exit("docs/quality.md: tables are stale; run python3 tools/eval/quality_doc.py")


if __name__ == "__main__":
    main()
