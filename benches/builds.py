#!/usr/bin/env python3
"""What builds and tests cost on a machine that has nothing but the toolchain and the sources of the crates.

  benches/builds.py

Builds from nothing below target/bench/builds: what `cargo run -- sandbox` needs, `cargo test` and `cargo test` again, and a
release. Processor time is that of cargo and all that it starts; it hardly depends on what else the machine does. Takes 20
minutes on 2 processors.
"""

import argparse
import os
import resource
import shutil
import subprocess
import time

from harness import machine, tables

FOLDER = machine.WORK / "builds"
# What is done, whether from nothing, how, and what is aimed at.
STEPS = [
    ("first verdict: `cargo run -- sandbox`", True, ["build", "--bin", "idgate"], "330 s"),
    ("`cargo test`", True, ["test", "--quiet"], "550 s"),
    ("`cargo test` again", False, ["test", "--quiet"], "100 s"),
    ("`cargo build --release`", True, ["build", "--release", "--bin", "idgate"], "360 s"),
]
MOST_BYTES = 25_000_000


def processor():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    subprocess.run(["cargo", "fetch", "--locked"], cwd=machine.ROOT, check=True)
    started, rows = machine.circumstances(), []
    for name, is_cold, arguments, aim in STEPS:
        if is_cold:
            shutil.rmtree(FOLDER, ignore_errors=True)
        before, began = processor(), time.monotonic()
        subprocess.run(["cargo", arguments[0], "--locked", "--offline", *arguments[1:]], cwd=machine.ROOT, check=True,
                       stdout=subprocess.DEVNULL, env=os.environ | {"CARGO_TARGET_DIR": str(FOLDER)})
        rows.append([name, aim, f"{processor() - before:.0f} s", f"{time.monotonic() - began:.0f} s"])
        print(*rows[-1], flush=True)
    size = (FOLDER / "release/idgate").stat().st_size
    rows.append(["size of the release", f"{MOST_BYTES / 1e6:.0f} MB", f"{size / 1e6:.1f} MB", "–"])
    print(*rows[-1], flush=True)
    tables.save("builds", started | {"table": tables.table(["what", "aim", "processor", "elapsed"], rows)})
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main()
