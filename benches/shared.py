#!/usr/bin/env python3
"""What sharing through Redis costs, and what PostgreSQL takes: three replicas of tests/replicas, with and without [shared].

  benches/shared.py [--binary PATH] [--rounds N] [--seconds S]      default: target/profiling/idgate, 5 rounds of 3 s

Two sets of three gateways run at the same time, one with [shared] and one without, each with a PostgreSQL of its own;
rounds take turns. Times are of a caller that asks at a fixed rate; p50 and p99 are over all rounds. Prints the table of
docs/scaling.md, with the bounds that were set before. Five rounds of 3 s take two minutes, 30 rounds ten. Needs what
tests/replicas needs, and h2load.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
import time

from harness import machine

sys.path.insert(0, str(machine.ROOT / "tests/replicas"))

from gateways import KEYS, World
from people import NAME, number

DELAY = 0.08
# What a question has Redis do that waits for it.
COMMANDS = ["try_name", "ask", "reserve", "admit", "land"]
CONNECTIONS = 32


def milliseconds(times, share):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * share))] * 1000


async def paced(rate, seconds, ask):
    """Asks at a fixed rate, and returns how long each answer took."""
    clock, tasks = asyncio.get_running_loop().time, []
    began = clock()
    while (due := len(tasks) / rate) < seconds:
        await asyncio.sleep(max(0.0, began + due - clock()))
        tasks.append(asyncio.create_task(ask(len(tasks))))
    answers = await asyncio.gather(*tasks)
    assert all(answer.status == 200 for answer in answers), [answer for answer in answers if answer.status != 200][:2]
    return [answer.seconds for answer in answers]


async def commands(gateway):
    return sum([await gateway.metric("idgate_shared_commands_total", command=command) for command in COMMANDS])


async def rounds(worlds, options):
    seen = {name: {"near": [], "far": [], "miss": [], "processor": 0.0, "commands": 0.0} for name in worlds}
    for turn in range(options.rounds):
        # Neither is always the first.
        for index, (name, world) in sorted(enumerate(worlds.items()), reverse=turn % 2 == 1):
            one, other, _ = world.gateways
            first = (turn * 2 + index) * 100_000
            await world.provider.set(delay=DELAY)
            sent, used = await commands(one), one.processor_seconds()
            misses = await paced(options.rate, options.seconds, lambda n: one.ask(first + n))
            seen[name]["processor"] += one.processor_seconds() - used
            seen[name]["commands"] += await commands(one) - sent
            seen[name]["miss"] += misses
            await world.provider.set()
            count = len(misses)
            seen[name]["near"] += await paced(options.rate, options.seconds, lambda n: one.ask(first + n % count))
            if world.shares:
                seen[name]["far"] += await paced(options.rate, options.seconds, lambda n: other.ask(first + n % count))
    return seen


async def hits(world, count, seconds):
    """Remembered answers a second of `count` replicas at once, and how many a second of their processor time."""
    gateways, body = world.gateways[:count], world.folder / "question.json"
    body.write_text(json.dumps({"name": NAME, "id_number": number(0)}))
    for gateway in gateways:
        assert (await gateway.ask(0)).status == 200
    command = ["h2load", "--h1", "-t", "1", "-c", str(CONNECTIONS), "-D", f"{seconds:.0f}", "-d", body]
    command += ["-H", "content-type: application/json", "-H", f"authorization: Bearer {KEYS['payout']}"]
    used = sum(gateway.processor_seconds() for gateway in gateways)
    pipe = asyncio.subprocess.PIPE
    callers = [
        await asyncio.create_subprocess_exec(*command, f"http://127.0.0.1:{gateway.public}/v1/verify", stdout=pipe)
        for gateway in gateways
    ]
    answered = 0
    for caller in callers:
        said = (await caller.communicate())[0].decode()
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        assert codes and codes[2] == codes[3] == codes[4] == "0", said
        answered += int(codes[1])
    used = sum(gateway.processor_seconds() for gateway in gateways) - used
    return answered / round(seconds), answered / used


async def more_processes(world, options):
    """Medians over rounds, of one replica and of three."""
    seen = {1: [], 3: []}
    for _ in range(options.rounds):
        for count, figures in seen.items():
            figures.append(await hits(world, count, max(1, options.seconds)))
    return {count: [statistics.median(column) for column in zip(*figures)] for count, figures in seen.items()}


async def into_postgres(world):
    """Entries a second, when a spool that has filled while PostgreSQL was stopped is moved."""
    gateway = world.gateways[2]
    world.postgres.stop()
    for turn in range(100):
        # The same people ten times: ten answers for each call.
        people = range(5_000_000 + turn // 10 * 200, 5_000_000 + turn // 10 * 200 + 200)
        await asyncio.gather(*(gateway.ask(n) for n in people))
    world.postgres.start()
    waiting, began = await gateway.metric("idgate_ledger_behind_entries"), None
    while left := await gateway.metric("idgate_ledger_behind_entries"):
        if began is None and left < waiting:
            waiting, began = left, time.monotonic()
        await asyncio.sleep(0.02)
    return waiting / (time.monotonic() - began)


async def measure(options):
    with tempfile.TemporaryDirectory() as templates:
        async with contextlib.AsyncExitStack() as stack:
            worlds = {}
            for name, shares in [("with", True), ("without", False)]:
                folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idgate-")))
                folder.chmod(0o711)
                world = World(folder, pathlib.Path(templates) / "postgres", options.binary.resolve(), shares=shares)
                worlds[name] = await stack.enter_async_context(world)
            seen = await rounds(worlds, options)
            return seen, await more_processes(worlds["with"], options), await into_postgres(worlds["with"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=machine.ROOT / "target/profiling/idgate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=float, default=200)
    options = parser.parse_args()
    if not shutil.which("h2load"):
        sys.exit("h2load is not here: install the Debian package nghttp2-client")
    seen, processes, entries = asyncio.run(measure(options))
    at, without = seen["with"], seen["without"]

    def p50(times):
        return milliseconds(times, 0.5)

    print("| what | without `[shared]` | with it | difference | bound |\n| --- | --- | --- | --- | --- |")
    for what, before, after, bound in [
        ("an answer this replica has: p50", p50(without["near"]), p50(at["near"]), ""),
        ("an answer another replica has: p50", p50(without["near"]), p50(at["far"]), "+0.35 ms"),
        (f"a call of {DELAY * 1000:.0f} ms: p50", p50(without["miss"]), p50(at["miss"]), "+1 ms"),
        (f"a call of {DELAY * 1000:.0f} ms: p99", milliseconds(without["miss"], 0.99), milliseconds(at["miss"], 0.99), "+3 ms"),
    ]:
        print(f"| {what} | {before:.2f} ms | {after:.2f} ms | {after - before:+.2f} ms | {bound} |")
    before, after = (one["processor"] / len(one["miss"]) * 1e6 for one in (without, at))
    print(f"| a call: processor time of its replica | {before:.0f} µs | {after:.0f} µs | {after - before:+.0f} µs | +60 µs |")
    print(f"| a call: commands that it waits for | 0 | {at['commands'] / len(at['miss']):.2f} | | |")
    (one, one_used), (three, three_used) = processes[1], processes[3]
    cores = len(os.sched_getaffinity(0))
    print(f"| remembered answers a second, 1 replica and 3 | {one:,.0f} | {three:,.0f} | × {three / one:.2f} on {cores} cores, callers included | × 2.6 on 4 cores |")
    print(f"| the same, for a second of the replicas' processor time | {one_used:,.0f} | {three_used:,.0f} | × {three_used / one_used:.2f} | |")
    print(f"| entries a second into PostgreSQL, from a full spool | | {entries:,.0f} | | |")


if __name__ == "__main__":
    main()
