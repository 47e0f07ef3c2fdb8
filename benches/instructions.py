#!/usr/bin/env python3
"""Counts the instructions of a request under callgrind, and fails when one has become dearer.

  benches/instructions.py [--write] [--limits] [--count-only] [--times N] [BINARY]

BINARY is measured, or else target/profiling/idgate is built. The counts are compared with benches/instructions.toml;
--write writes them there instead. A kind may grow by 5 % before this fails: then make it cheaper, or write the table in
the commit that has the reason. --count-only compares nothing. --limits also counts limit-axum and
limit-proxy (benches/run.py builds them). --times counts N times and shows how far the counts are apart.

A fresh gateway with one worker answers some requests of every kind, and another one the same and 1,000 more of one kind:
the difference is the price of a request, without start and end. With 1 connection each request waits for the one before
it; with 32 each connection asks again as soon as it is answered. The provider answers at once.

What the clock starts and not a request is left out (see CLOCK), so that the counts hardly depend on what else the machine
does: stacks are wiped by the clock, and valgrind makes a request last longer than usual. What seems dearer is counted a
second time, and the lower count is taken. valgrind has no SHA instructions, so SHA-256 runs in software here and is counted
apart. It counts `rep stosb` once for each byte, so glibc is told to wipe with vectors. Needs Python 3.11 and valgrind.
"""

import argparse
import asyncio
import json
import re
import selectors
import shutil
import socket
import statistics
import sys
import threading
import tomllib
from pathlib import Path

from harness import callgrind, servers, tables
from harness.machine import ROOT, circumstances, need

TABLE = ROOT / "benches" / "instructions.toml"
MAY_GROW = 1.05
# How many requests of each kind come first, by connections, so that everything has been used once; and how many are counted.
WARM, MORE = {1: 100, 32: 320}, 1000
# Without this, glibc sets 2 KiB and more with `rep stosb`, which valgrind counts once for each byte.
VECTORS = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS,-FSRM"}
# Functions that are called by the clock or wait for other threads, with all that they call. The first is reported, the
# others are not.
WIPING = r"zeroize::stack::zeroize_stack"
CLOCK = rf"{WIPING}|quanta::Calibration::calibrate|^idgate::app::stack_wiper::StackWiper::(run|sweep)|Mutex.*::lock_contended"
# The functions that are SHA-256 itself.
SHA = re.compile(r"sha256_block|sha2.*compress|compress256")


def number(n):
    """The `n`th invented number, with a valid check character."""
    year, rest = 1950 + n % 50, n // 50
    month, rest = 1 + rest % 12, rest // 12
    day, rest = 1 + rest % 28, rest // 28
    digits = f"{110101 + rest // 1000}{year}{month:02}{day:02}{rest % 1000:03}"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return digits + "10X98765432"[sum(int(d) * w for d, w in zip(digits, weights)) % 11]


class Provider:
    """Answers every call of Id2MetaVerify with a match, at once."""

    def __init__(self):
        ready = threading.Event()

        async def run():
            server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await server.serve_forever()

        threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
        ready.wait()

    async def answer(self, reader, writer):
        body = json.dumps({"RequestId": "0FCA0B3F", "Code": "200", "Message": "success", "ResultObject": {"BizCode": "1"}})
        response = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if length := re.search(rb"(?i)content-length: *(\d+)", head):
                    await reader.readexactly(int(length[1]))
                writer.write(response)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


class Client:
    """Connections that ask, each again as soon as it is answered."""

    def __init__(self, port, connections):
        self.selector = selectors.DefaultSelector()
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for one in self.sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(one, selectors.EVENT_READ, bytearray())

    def ask(self, people):
        todo, asked = iter(people), 0
        for one in self.sockets:
            asked += self.send(one, todo)
        while asked:
            for key, _ in self.selector.select():
                key.data.extend(key.fileobj.recv(65536))
                head, end, body = bytes(key.data).partition(b"\r\n\r\n")
                if not end or len(body) < int(re.search(rb"(?i)content-length: *(\d+)", head)[1]):
                    continue
                if not head.startswith(b"HTTP/1.1 200"):
                    sys.exit(key.data.decode())
                key.data.clear()
                asked += self.send(key.fileobj, todo) - 1

    def send(self, one, todo):
        n = next(todo, None)
        if n is None:
            return 0
        body = json.dumps({"name": "测试者", "id_number": number(n)}).encode()
        head = "POST /v1/verify HTTP/1.1\r\nHost: idgate\r\nAuthorization: Bearer bench-key\r\nContent-Type: application/json"
        one.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return 1


def run(name, kind, provider, more=None):
    """The profile of a server that answers WARM requests of each kind, and MORE of the kind `more`. Without the main thread,
    which only starts and ends it."""
    folder = servers.WORK / "callgrind"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wrapped = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={folder}/thread", *kind.command]
    # Files are looked at by the clock.
    env = VECTORS | ({"IDGATE__RELOAD__POLL": "0s"} if kind.remembers else {})
    target = servers.Target(f"{name}-callgrind", servers.replace(kind, command=wrapped), provider, env, pinned=False)
    for connections, warm in WARM.items():
        client = Client(target.port, connections)
        first = 1 + 10_000 * connections
        # Nobody comes twice, except person 0.
        for is_miss in (False, True):
            count = warm + (MORE if more == (is_miss, connections) else 0)
            client.ask(range(first, first + count) if is_miss else [0] * count)
    target.stop(patience=300)
    return callgrind.read(sorted(folder.glob("thread-*"))[1:])


def count(name, kind, provider):
    """By kind of request: its profile without what the clock starts, its instructions, those of SHA-256 and of wiping."""
    before, counts = run(name, kind, provider), {}
    for is_miss, connections in ((is_miss, connections) for is_miss in (False, True) for connections in WARM):
        if (is_miss and not kind.miss) or (not is_miss and not kind.hit):
            continue
        profile = run(name, kind, provider, (is_miss, connections)).minus(before, MORE)
        by_clock = sum(profile.inclusive(CLOCK).values())
        sha = sum(cost for (function, _), cost in profile.own.items() if SHA.search(function))
        counts[f"{'miss' if is_miss else 'hit'}_{connections}"] = {
            "without_sha": round(profile.total() - by_clock - sha),
            "sha": round(sha),
            "wiping": round(sum(profile.inclusive(WIPING).values())),
            "layers": tables.layers(profile, CLOCK) if connections == 1 else None,
        }
    return counts


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", nargs="?", type=Path)
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--count-only", action="store_true")
    arguments.add_argument("--limits", action="store_true")
    arguments.add_argument("--times", type=int, default=1)
    options = arguments.parse_args()
    need({"valgrind": "valgrind"})
    kinds = servers.kinds(options.binary.resolve() if options.binary else servers.build())
    kinds = {name: kinds[name] for name in ("idgate", "idgate-ledger", *(("limit-axum", "limit-proxy") if options.limits else ()))}
    provider, started = Provider(), circumstances()
    table = tomllib.loads(TABLE.read_text()) if TABLE.exists() else {}
    counts, dearer, compares = {}, [], not (options.write or options.count_only)
    for name, kind in kinds.items():
        runs = [count(name, kind, provider) for _ in range(options.times)]
        known = {kind: one["without_sha"] for kind, one in table.get(name, {}).items()} if compares else {}
        if options.times == 1 and any(one["without_sha"] > known.get(kind, 10**9) * MAY_GROW for kind, one in runs[0].items()):
            runs.append(count(name, kind, provider))
        counts[name] = runs[0]
        for kind, one in counts[name].items():
            every = [run[kind]["without_sha"] for run in runs]
            one["without_sha"] = statistics.median_low(every)
            text = f"{name} {kind}: {one['without_sha']:,} instructions, {one['sha']:,} of SHA-256"
            if len(runs) > 1:
                text += f", {max(every) / min(every) - 1:.1%} apart in {len(runs)} runs"
            if before := known.get(kind):
                text += f", {one['without_sha'] / before - 1:+.1%} of the table's {before:,}"
            is_guarded = compares and name in tables.GATEWAYS
            if is_guarded and one["without_sha"] > (before or 0) * MAY_GROW:
                dearer.append(f"{name} {kind}" if before else f"{name} {kind}, which is not in the table")
            print(text, flush=True)
    tables.save("instructions", started | {"counts": counts})
    if options.write:
        TABLE.write_text(as_toml(counts))
    elif dearer:
        sys.exit(f"dearer by more than {MAY_GROW - 1:.0%}: {', '.join(dearer)}. Make it cheaper, or say why and commit --write's table")


def as_toml(counts):
    text = "# Instructions of a request, by target, kind and connections. Written by benches/instructions.py --write.\n"
    for name in ("idgate", "idgate-ledger"):
        text += f"\n[{name}]\n"
        for kind, one in counts[name].items():
            text += f"{kind} = {{ without_sha = {one['without_sha']}, sha = {one['sha']} }}\n"
    return text


if __name__ == "__main__":
    main()
