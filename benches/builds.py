#!/usr/bin/env python3
"""What builds and tests cost on a machine that has nothing but the toolchain and the sources of the crates.

  benches/builds.py [debug] [release]      default: both
  benches/builds.py --size BINARY          fails if BINARY without its symbols is larger than a release may be

Builds from nothing below target/bench/builds: first what `cargo run -- sandbox` needs, `cargo test`, and `cargo test` again,
then a release. Processor time is that of cargo and of all that it starts. Takes 20 minutes on 2 processors.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import machine, tables

FOLDER = machine.WORK / "builds"
MOST_BYTES = 25_000_000


def cargo(*arguments):
    """Processor seconds and elapsed seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["cargo", arguments[0], "--locked", "--offline", *arguments[1:]], cwd=machine.ROOT, check=True,
                   env=os.environ | {"CARGO_TARGET_DIR": str(FOLDER)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def debug():
    first, tests, again = cargo("build", "--bin", "idgate"), cargo("test", "--quiet"), cargo("test", "--quiet")
    # The tests need all that the binary needs.
    tests = [mine + before for mine, before in zip(tests, first)]
    for what, aim, (used, elapsed) in [("`cargo run -- sandbox`, to the first verdict", 330, first),
                                       ("`cargo test`", 550, tests), ("`cargo test` again", 100, again)]:
        yield [what, f"{aim} s", f"{used:.0f} s", f"{elapsed:.0f} s"]


def release():
    used, elapsed = cargo("build", "--release", "--bin", "idgate")
    yield ["`cargo build --release`", "360 s", f"{used:.0f} s", f"{elapsed:.0f} s"]
    found = (FOLDER / "release/idgate").stat().st_size
    yield ["its size", f"{MOST_BYTES / 1e6:.0f} MB", f"{found / 1e6:.2f} MB", "–"]


def is_too_large(binary):
    """Whether it has more bytes without its symbols than a release may have."""
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / "stripped"
        subprocess.run(["strip", "-o", stripped, binary], check=True)
        found = stripped.stat().st_size
    print(f"{found:,} bytes without symbols, at most {MOST_BYTES:,}")
    return found > MOST_BYTES


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("builds", nargs="*")
    arguments.add_argument("--size", metavar="BINARY")
    options = arguments.parse_args()
    if options.size:
        return is_too_large(options.size)
    chosen = options.builds or ["debug", "release"]
    if unknown := set(chosen) - {"debug", "release"}:
        arguments.error(f"there is no build {', '.join(sorted(unknown))}")
    subprocess.run(["cargo", "fetch", "--locked"], cwd=machine.ROOT, check=True)
    for name in chosen:
        started = machine.circumstances()
        shutil.rmtree(FOLDER, ignore_errors=True)
        rows = list({"debug": debug, "release": release}[name]())
        print("\n".join(" ".join(row) for row in rows), flush=True)
        tables.save(f"builds-{name}", started | {"table": tables.table(["what", "aim", "processor", "elapsed"], rows)})
    shutil.rmtree(FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
