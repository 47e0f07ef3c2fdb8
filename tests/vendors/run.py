#!/usr/bin/env python3
"""The vendors' real clients against idgate: what each returns or raises, compared with tests/vendors/expected.jsonl.

  tests/vendors/run.py [--write] [--only simulators|compat] [BINARY]      default: target/debug/idgate, which `cargo test` has built

Nothing of a client is changed but endpoint, protocol and key. They ask the sandbox's simulators, which speak the providers'
protocols with the code that asks the real ones, and the edge of [compat]. One JSON line per client and case; --write puts
what was seen into the table. Needs Python, npm and curl, and the indexes of the first two the first time; all later traffic
is on loopback. The clients are pinned in requirements-*.txt and package.json. Not here: Java, PHP, Go and .NET.
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
# What hangs has failed.
LIMIT_SECONDS = 240


def table():
    """The lines that are expected."""
    with open(EXPECTED, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def differences(expected, seen):
    """What differs, a line for each side."""
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
