#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
"""Usage: report.py DATA TREE UNREACHED

DATA has the .gcda files of a kernel below it, under the absolute path of the objects.
TREE is the source with the series, on top of the tag "base". UNREACHED has lines
"FILE :: FUNCTION :: CODE :: REASON": the first three say which line of source, the
last why no test executes it.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

IB = "drivers/infiniband/"
DIRS = {"ib_ipoib": IB + "ulp/ipoib", "ibdevsim": IB + "sw/ibdevsim"}


def added(tree):
    """Which lines of which file are of the series: {file: {number: text}}"""
    lines = collections.defaultdict(dict)
    diff = subprocess.run(["git", "-C", tree, "diff", "-U0", "base", "both", "--", IB],
                          check=True, capture_output=True, text=True).stdout
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            file = line[6:]
        elif line.startswith("@@"):
            number = int(re.search(r"\+(\d+)", line)[1])
        elif line.startswith("+") and not line.startswith("+++"):
            lines[file][number] = line[1:].strip()
            number += 1
    return lines


def gcov(data):
    """What was executed: {file: {number: count}}, {file: {function: [numbers]}}"""
    counts = collections.defaultdict(collections.Counter)
    functions = collections.defaultdict(dict)
    for gcda in sorted(pathlib.Path(data).rglob("*.gcda")):
        # gcc left the notes where the object was
        obj = pathlib.Path("/") / gcda.relative_to(data)
        module = next((p for p in obj.parts if p in DIRS), None)
        if not module:
            continue
        notes = obj.with_suffix(".gcno")
        gcda.with_suffix(".gcno").write_bytes(notes.read_bytes())
        out = subprocess.run(["gcov", "--json-format", "--stdout", gcda.name],
                             cwd=gcda.parent, check=True, capture_output=True,
                             text=True).stdout
        for file in json.loads(out)["files"]:
            name = pathlib.PurePath(file["file"])
            if name.is_absolute():
                if module not in name.parts:
                    continue    # a header of the kernel
                name = pathlib.PurePath(*name.parts[name.parts.index(module) + 1:])
            name = f"{DIRS[module]}/{name}"
            for line in file["lines"]:
                counts[name][line["line_number"]] += line["count"]
            for f in file["functions"]:
                functions[name][f["name"]] = range(f["start_line"], f["end_line"] + 1)
    return counts, functions


def main(data, tree, unreached):
    series = added(tree)
    counts, functions = gcov(data)
    reasons = {}
    for line in open(unreached, encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            *where, reason = line.strip().split(" :: ")
            reasons[tuple(where)] = reason
    missing, used = [], set()
    print(f"{'lines':>14} {'executed':>9}  function")
    for file in sorted(series):
        if file not in counts or "/tests/" in file:
            continue
        total = [0, 0]
        table = []
        for name, lines in sorted(functions[file].items(), key=lambda f: f[1].start):
            code = [n for n in lines if n in counts[file]]
            done = [n for n in code if counts[file][n]]
            if code and any(n in series[file] for n in lines):
                table.append((len(code), len(done), name))
        for n in sorted(counts[file]):
            if n not in series[file]:
                continue
            total[0] += 1
            if counts[file][n]:
                total[1] += 1
            else:
                inside = [f for f, lines in functions[file].items() if n in lines]
                missing.append((file, n, (*inside, "")[0], series[file][n]))
        print(f"\n{file.removeprefix(IB)}: {total[1]} of {total[0]} lines of the series")
        for code, done, name in table:
            print(f"{code:>14} {100 * done // code:>8}%  {name}")
    print("\nNot executed:")
    bad = 0
    for file, n, function, text in missing:
        where = (file.removeprefix(IB), function, text)
        reason = reasons.get(where)
        used.add(where)
        bad += not reason
        print(f"{where[0]}:{n}: {function}(): {text}\n\t{reason or 'NO REASON GIVEN'}")
    for where in reasons.keys() - used:
        print(f"note: executed, or gone: {' :: '.join(where)}")
    print(f"\n{len(missing)} lines not executed, {bad} of them without a reason")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
