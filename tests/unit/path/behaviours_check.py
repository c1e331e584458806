#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Every interop behaviour has a test that carries its number, and README.md lists exactly those.

    behaviours_check.py [--write] TESTS_FOLDER

A test is one that runs: named in a table of cmocka tests, a registered case of interop.py, or a step
of a script. What is
missing, unlisted or listed without a test is printed. --write puts the tests found into README.md.
"""

import collections
import pathlib
import re
import sys

BEHAVIOURS = range(1, 68)  # 68-75 are about a mode that is never offered
VECTORS = range(1, 7)  # of appendix B; 7 and 8 belong to that mode
NAME = r"((?:b\d\d_)+\w+|appendix_(?:b\d_)+\w+)"
IN_C = re.compile(r"^[ \t]*(?:cmocka_unit_test\w*|[A-Z_]*TEST[A-Z0-9_]*)\(\s*" + NAME, re.MULTILINE)
IN_PYTHON = re.compile(r"^@behaviour\ndef " + NAME, re.MULTILINE)
IN_SHELL = re.compile(r"^tap_(?:step|run) " + NAME, re.MULTILINE)
ROW = re.compile(r"^\| (\d+|B\.\d) \| ([^|]*) \| ([^|]*) \|$")


def numbers(name):
    """Labels of the rows that the test belongs to."""
    if name.startswith("appendix_"):
        return [f"B.{n}" for n in re.findall(r"b(\d)_", name + "_")]
    return [str(int(n)) for n in re.findall(r"b(\d\d)_", re.match(r"(b\d\d_)+", name)[0])]


def tests_in(folder):
    """label -> [(file, name)]"""
    found = collections.defaultdict(list)
    files = sorted((folder / "unit").glob("*/*_test.c")) + sorted((folder / "functional").glob("interop*"))
    for file in files:
        pattern = {".c": IN_C, ".py": IN_PYTHON}.get(file.suffix, IN_SHELL)
        where = file.relative_to(folder).as_posix().removeprefix("unit/").removesuffix("_test.c")
        for name in pattern.findall(file.read_text(encoding="utf-8")):
            for label in numbers(name):
                found[label].append((where, name))
    return found


def cell(tests):
    by_file = collections.defaultdict(list)
    for where, name in tests:
        by_file[where].append(f"`{name}`")
    return "; ".join(f"{where}: {', '.join(names)}" for where, names in by_file.items())


def main():
    write, folder = "--write" in sys.argv, pathlib.Path(sys.argv[-1]).resolve()
    readme = folder / "unit" / "path" / "README.md"
    found, wrong, rows, lines = tests_in(folder), [], set(), []
    for line in readme.read_text(encoding="utf-8").splitlines():
        row = ROW.match(line)
        if row:
            label, text, listed = row.groups()
            rows.add(label)
            want = cell(found[label])
            if listed != want:
                wrong.append(f"{label}: README.md says {listed!r}, the tests are {want!r}")
            line = f"| {label} | {text} | {want} |"
        lines.append(line)
    if write:
        readme.write_text("\n".join(lines) + "\n", encoding="utf-8")
        wrong = []
    expected = [str(n) for n in BEHAVIOURS] + [f"B.{n}" for n in VECTORS]
    wrong += [f"{label}: no test" for label in expected if not found[label]]
    wrong += [f"{label}: no row in README.md" for label in expected if label not in rows]
    wrong += [f"{label}: a test of no behaviour" for label in found if found[label] and label not in expected]
    print("\n".join(wrong) or f"{len(expected)} behaviours and vectors, {len({t for v in found.values() for t in v})} tests")
    return 1 if wrong else 0


sys.exit(main())
