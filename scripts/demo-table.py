# SPDX-License-Identifier: GPL-2.0
"""demo-table.py FILE: makes a table of the lines of demo-buffer."""

import json
import sys

COLUMNS = "{:<12} {:<30} {:<22} {:>6} {:>7} {:>7} {:>6} {:>7} {:>5}  {}"


def documents(text):
    """Yields the JSON documents that follow one another in a text."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:]


def row(line):
    """Returns the columns for a line."""
    arch, text = line.split("\t", 1)
    info, pin = documents(text)
    module, machine = info["module"], info["machine"]
    return (
        arch,
        machine["kernel"],
        module["page_table_format"],
        module["page_table_levels"],
        f"{module['page_size_bytes'] >> 10} KiB",
        pin["nr_pages"],
        f"{100 * pin['nr_fast'] // max(pin['nr_pages'], 1)}%",
        pin["nr_runs"],
        f"{pin['len_bytes'] >> 20}M",
        pin["content"]["result"],
    )


print(COLUMNS.format("architecture", "kernel", "page tables", "levels", "pages", "pinned", "fast", "runs", "bytes", "read back"))
with open(sys.argv[1], encoding="utf-8") as lines:
    for each in lines:
        print(COLUMNS.format(*row(each)))
