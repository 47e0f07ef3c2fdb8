#!/usr/bin/env python3
"""What sharing through Redis costs, and what PostgreSQL takes: three replicas of tests/replicas, with and without [shared].

  benches/shared.py [--binary PATH] [--rounds N] [--seconds S]      default: target/release/idgate, 5 rounds of 3 s

Two sets of three gateways run at the same time, one with [shared] and one without, each with a PostgreSQL of its own;
rounds take turns. Times are medians of all rounds, of a caller that asks at a fixed rate. Prints the table of
docs/scaling.md. Needs what tests/replicas needs.
"""

import argparse
import asyncio
import contextlib
import pathlib
import statistics
import sys
import tempfile
import time

from harness import machine

sys.path.insert(0, str(machine.ROOT / "tests/replicas"))

from gateways import World

DELAY = 0.08


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


async def rounds(worlds, options):
    seen = {name: {"near": [], "far": [], "miss": [], "processor": []} for name in worlds}
    for turn in range(options.rounds):
        for index, (name, world) in enumerate(worlds.items()):
            one, other, third = world.gateways
            first = (turn * 2 + index) * 100_000
            await world.provider.set(delay=DELAY)
            before = one.processor_seconds()
            misses = await paced(options.rate, options.seconds, lambda n: one.ask(first + n))
            seen[name]["processor"].append((one.processor_seconds() - before) / len(misses) * 1e6)
            seen[name]["miss"] += misses
            await world.provider.set()
            count = len(misses)
            seen[name]["near"] += await paced(options.rate, options.seconds, lambda n: one.ask(first + n % count))
            if world.shares:
                seen[name]["far"] += await paced(options.rate, options.seconds, lambda n: other.ask(first + n % count))
    return seen


async def into_postgres(world):
    """Entries a second, when a spool that has filled while PostgreSQL was stopped is moved."""
    gateway = world.gateways[2]
    world.postgres.stop()
    people = 2000
    for _ in range(10):
        await asyncio.gather(*(gateway.ask(5_000_000 + n) for n in range(people)))
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
            return seen, await into_postgres(worlds["with"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=machine.ROOT / "target/release/idgate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=float, default=200)
    options = parser.parse_args()
    seen, entries = asyncio.run(measure(options))
    at, without = seen["with"], seen["without"]
    p50 = lambda times: milliseconds(times, 0.5)
    print("| what | without `[shared]` | with it | difference |\n| --- | --- | --- | --- |")
    for what, before, after in [
        ("an answer this replica has: p50", p50(without["near"]), p50(at["near"])),
        ("an answer another replica has: p50", p50(without["near"]), p50(at["far"])),
        (f"a call of {DELAY * 1000:.0f} ms: p50", p50(without["miss"]), p50(at["miss"])),
        (f"a call of {DELAY * 1000:.0f} ms: p99", milliseconds(without["miss"], 0.99), milliseconds(at["miss"], 0.99)),
    ]:
        print(f"| {what} | {before:.2f} ms | {after:.2f} ms | {after - before:+.2f} ms |")
    before, after = (statistics.median(times["processor"]) for times in (without, at))
    print(f"| a call: processor time of its replica | {before:.0f} µs | {after:.0f} µs | {after - before:+.0f} µs |")
    print(f"| entries a second into PostgreSQL, from a full spool | | {entries:,.0f} | |")


if __name__ == "__main__":
    main()
