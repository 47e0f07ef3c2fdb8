#!/usr/bin/env python3
"""Three replicas of idgate on one Redis and one PostgreSQL, and everything that can happen to them.

  tests/replicas/run.py [--long] [--binary PATH] [--old PATH] [ROW…]      default: every row in its short form, target/debug/idgate

Each row of the table in docs/scaling.md has a function in rows.py, with its own processes in a folder of its own: Redis
and PostgreSQL on Unix sockets, a provider that counts, three gateways, each behind a forwarder that can cut and delay.
Prints what each row saw, and fails if one does not hold. Needs Python and Debian's redis-server, postgresql and haproxy.
All traffic is on loopback.
"""

import argparse
import asyncio
import pathlib
import sys
import tempfile
import time
import traceback

from gateways import World
from rows import ROWS


async def run(name, template, binary, old, is_long):
    function, settings = ROWS[name]
    # A short path: a Unix socket's has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="idgate-") as folder:
        folder = pathlib.Path(folder)
        # PostgreSQL's user must get to its folder.
        folder.chmod(0o711)
        async with World(folder, template, binary, old, **settings) as world:
            return await asyncio.wait_for(function(world, is_long), 600)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--long", action="store_true", help="as long as docs/scaling.md says")
    parser.add_argument("--binary", default="target/debug/idgate")
    parser.add_argument("--old", metavar="BINARY", help="the release before, for rolling_restart; default: the same binary")
    options = parser.parse_args()
    old = pathlib.Path(options.old).resolve() if options.old else None
    failed, binary = 0, pathlib.Path(options.binary).resolve()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.rows or ROWS:
            began = time.monotonic()
            try:
                seen = asyncio.run(run(name, pathlib.Path(folder) / "postgres", binary, old, options.long))
                print(f"{name}: {seen} ({time.monotonic() - began:.0f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"{name}: FAILED\n{traceback.format_exc()}", flush=True)
    print(f"{len(options.rows or ROWS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
