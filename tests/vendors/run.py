#!/usr/bin/env python3
"""Runs the vendors' real clients against idgate and compares what each returns or raises with tests/vendors/expected.jsonl.

  tests/vendors/run.py [--write] [--only simulators|compat] [BINARY]      default: target/debug/idgate, which `cargo test` has built

The clients are unmodified; only endpoint, protocol and key are set. They call the sandbox's simulators, which use the
same codecs as calls to the real providers, and the [compat] endpoints. There is one JSON line per client and case;
--write updates the table with the results. Needs Python, npm and curl, and on the first run the package indexes of
Python and npm; all later traffic is on loopback. The clients are pinned in requirements-*.txt and package.json. Java,
PHP, Go and .NET clients are not covered.
"""

import argparse
import json
import os
import signal
import sys
import tempfile

import compat
import installing
import simulators

EXPECTED = os.path.join(installing.HERE, "expected.jsonl")
TARGETS = {"simulators": simulators.lines, "compat": compat.lines}
# A run that hangs is stopped and fails.
LIMIT_SECONDS = 240


def table():
    """The expected lines."""
    with open(EXPECTED, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def differences(expected, seen):
    """The differences, with one line for each side."""
    by_name = [{(line["target"], line["case"], line["client"]): line for line in lines} for lines in (expected, seen)]
    for name in sorted(by_name[0].keys() | by_name[1].keys()):
        if by_name[0].get(name) != by_name[1].get(name):
            for sign, lines in zip("-+", by_name):
                if name in lines:
                    yield f"{sign} {text(lines[name])}"


def text(line):
    return json.dumps(line, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("binary", nargs="?", default=os.path.join(installing.ROOT, "target", "debug", "idgate"))
    arguments = parser.parse_args()
    targets = [arguments.only] if arguments.only else list(TARGETS)
    installing.install()
    signal.alarm(LIMIT_SECONDS)
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for target in targets:
            for line in TARGETS[target](arguments.binary, folder):
                seen.append({"target": target, **line})
                print(text(seen[-1]), flush=True)
    if arguments.write:
        kept = [line for line in table() if line["target"] not in targets]
        with open(EXPECTED, "w", encoding="utf-8") as file:
            file.writelines(text(line) + "\n" for line in kept + seen)
    wrong = list(differences([line for line in table() if line["target"] in targets], seen))
    if wrong:
        print("\ntests/vendors/expected.jsonl expects otherwise:", *wrong, sep="\n", file=sys.stderr)
    print(f"{len(seen)} cases, {len(wrong)} lines differ")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
