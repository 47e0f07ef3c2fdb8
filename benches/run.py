#!/usr/bin/env python3
"""Measures idgate beside the limits of its platform and beside what a user would pick instead.

  benches/run.py [OPTIONS] WORKLOAD…        measures these and prints their tables
  benches/run.py [OPTIONS] all              all of them, then writes the tables into docs/performance.md
  benches/run.py document                   only writes there what was measured last

| workload | what it measures | its limit |
| --- | --- | --- |
| hit-hot | saturation: one remembered person, 32 connections | limit-axum |
| hit-100k | the same with 100,000 people, drawn at random; also the memory of each | limit-axum |
| miss | saturation: a new person each time, the provider answers at once | limit-proxy |
| latency-miss-4000 | the same at 4,000 a second; times count from the moment a request was due | limit-proxy |
| waiting-2000 | 2,000 requests wait for a provider that takes 8 s; the memory of each | limit-proxy |
| memory | the memory of each of --entries remembered people | |
| start | from the start of the process to the first connection, and its memory then | |
| protocols | the providers' own protocols against REST, on a hit | |
| instructions | benches/instructions.py --limits | |

Everything is built, installed and written below target/bench. Needs Python 3.11, Rust, and Debian's nginx-light, haproxy,
nodejs, npm and valgrind, as far as --targets wants them; SDKs come from npm and PyPI. All of it listens on 127.0.0.1.

One processor is for the server that is measured, another one for load generator and provider. Rounds are interleaved: each
target has its turn in each round. A round waits until the machine is idle, and is repeated, up to four times, if others
took more than 8 % of it. The figure to compare is processor time of a request as a ratio to the limit, round by round.
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import compat
from harness import machine, servers, tables
from harness.machine import resident_mib

ATTEMPTS = 4
# People set apart for each round of misses.
SLICE = 1_000_000
CONNECTIONS = 32


def measure(target, provider, options, sample_at=None):
    """One round: what load generator, target and machine say about it."""
    sampled = []
    if sample_at:
        threading.Timer(sample_at, lambda: sampled.append(resident_mib(target.pid))).start()
    asked, took = provider.asked(), {one.pid: machine.processor_seconds(one.pid) for one in (target, provider.process)}
    busy, began, children = machine.busy_seconds(), time.monotonic(), machine.children_seconds()
    result = target.load(**options)
    busy, wall = machine.busy_seconds() - busy, time.monotonic() - began
    took = {pid: machine.processor_seconds(pid) - before for pid, before in took.items()}
    ours = sum(took.values()) + machine.children_seconds() - children
    return result | {
        "rate": result["requests"] / result["seconds"],
        "processor_us": took[target.pid] / max(result["requests"], 1) * 1e6,
        "asked": (provider.asked() - asked) / max(result["requests"], 1),
        "others": max(0.0, (busy - ours) / wall / len(machine.PROCESSORS)),
        "mib": sampled[0] if sampled else resident_mib(target.pid),
        "errors": result["bad"] + result["broken"] + result["lost"],
    }


def alternate(name, path, targets, options, one_round, rounds=None):
    """Each target once in each round, each time in another order."""
    results = {target.name: [] for target in targets}
    data = machine.circumstances() | {
        "path": path, "idle": {target.name: resident_mib(target.pid) for target in targets}, "rounds": results,
        "seconds": options.seconds,
    }
    for turn in range(rounds or options.rounds):
        at = turn % len(targets)
        for target in targets[at:] + targets[:at]:
            for attempt in range(ATTEMPTS):
                machine.wait_until_idle(options.patience)
                result = one_round(target, turn * ATTEMPTS + attempt)
                if result["others"] < 0.08:
                    break
            results[target.name].append(result)
            print(f"  {name} {turn} {target.name}: {result['rate']:,.0f}/s, {result['processor_us']:.1f} µs of a processor, "
                  f"p99 {result['p99_us']:,.0f} µs, others {result['others']:.0%}, {result['errors']} errors", file=sys.stderr, flush=True)
    machine.stop_all()
    tables.save(name, data)


def start_all(options, provider, path, fast=False, names=None):
    chosen = {
        name: kind for name, kind in options.kinds.items()
        if getattr(kind, path) and (kind.fast or not fast) and (name in (names or options.targets) or name == servers.REFERENCE[path])
    }
    targets = [servers.Target(name, kind, provider) for name, kind in chosen.items()]
    for target in targets:
        target.ask()
    return targets


def catch_up(target):
    """Waits until a ledger has moved nearly all entries into its database."""
    while "ledger" in target.name and target.metrics()["idgate_ledger_behind_entries"] > 100:
        time.sleep(1)


def remember(targets, entries):
    """Fills what remembers; the memory of each entry."""
    rows = {}
    for target in (target for target in targets if target.kind.remembers):
        target.load(requests=2000, first=9 * SLICE)
        fresh = resident_mib(target.pid)
        result = target.load(requests=entries, people=entries, connections=CONNECTIONS)
        if result["bad"] or result["broken"] or result["lost"]:
            if target.name.startswith("idgate"):
                target.process.fail(f"did not remember everybody: {result}")
            print(f"  {target.name} did not remember everybody: {result}", file=sys.stderr, flush=True)
        catch_up(target)
        # Gives collectors of garbage the time to take back what filling left behind.
        target.load(rate=500, seconds=6, connections=CONNECTIONS)
        rows[target.name] = {"fresh": fresh, "full": resident_mib(target.pid), "entries": entries}
    return rows


def hit(name, people):
    def run(options):
        provider = servers.Provider()
        targets = start_all(options, provider, "hit")
        rows = remember(targets, people)
        if people > 1:
            tables.save(f"memory-{people}", machine.circumstances() | {"memory": rows})
        load = {"connections": CONNECTIONS, "people": people, "draw": True}

        def one_round(target, _):
            target.load(**load, seconds=0.7)
            return measure(target, provider, load | {"seconds": options.seconds})

        alternate(name, "hit", targets, options, one_round)
    return run


def warm_up(targets):
    """Has each answer so many misses that just-in-time compilers have seen the code."""
    for target in targets:
        target.load(requests=4000, first=8 * SLICE, people=SLICE, connections=128)


def miss(options):
    provider = servers.Provider()
    targets = start_all(options, provider, "miss")
    warm_up(targets)

    def one_round(target, n):
        load = {"connections": CONNECTIONS, "people": SLICE}
        target.load(**load, first=(10 + 2 * n) * SLICE, seconds=0.7)
        return measure(target, provider, load | {"first": (11 + 2 * n) * SLICE, "seconds": options.seconds})

    alternate("miss", "miss", targets, options, one_round)


def latency(options):
    provider = servers.Provider()
    targets = start_all(options, provider, "miss", fast=True)
    warm_up(targets)

    def one_round(target, n):
        load = {"rate": 4000, "connections": 64, "people": SLICE, "first": (200 + n) * SLICE, "seconds": options.seconds}
        return measure(target, provider, load)

    alternate("latency-miss-4000", "miss", targets, options, one_round)


def waiting(options):
    provider = servers.Provider(delay_ms=8000)
    targets = start_all(options, provider, "miss", fast=True)
    # So that what a ledger needs once it is used does not count as memory of those who wait.
    for target in targets:
        if target.kind.remembers:
            target.load(requests=4000, people=1, connections=CONNECTIONS)
            catch_up(target)

    def one_round(target, n):
        load = {"rate": 250, "connections": 2400, "people": SLICE, "first": (300 + n) * SLICE, "seconds": 12}
        return measure(target, provider, load, sample_at=11)

    alternate("waiting-2000", "miss", targets, options, one_round, min(options.rounds, 3))


def memory(options):
    provider, rows = servers.Provider(), {}
    for name in (name for name in options.targets if name.startswith("idgate")):
        target = servers.Target(name, options.kinds[name], provider)
        rows |= remember([target], options.entries)
        target.stop()
    machine.stop_all()
    tables.save(f"memory-{options.entries}", machine.circumstances() | {"memory": rows})


def start(options):
    provider, rows = servers.Provider(), {}
    for name in (name for name in options.targets if name.startswith("idgate")):
        rows[name] = {"ready_ms": [], "mib": []}
        for _ in range(options.rounds):
            machine.wait_until_idle(options.patience)
            target = servers.Target(name, options.kinds[name], provider)
            rows[name]["ready_ms"].append(target.process.ready_ms)
            time.sleep(1)
            rows[name]["mib"].append(resident_mib(target.pid))
            target.stop()
    machine.stop_all()
    tables.save("start", machine.circumstances() | {"start": rows})


def unpinned():
    """What pins nothing itself may use the whole machine."""
    return machine.pin(machine.PROCESSORS)


def protocols(options):
    unpinned()()
    tables.save("protocols", machine.circumstances() | {"protocols": compat.measure(str(options.binary), options.rounds)})
    machine.pin(machine.OTHERS)()


def instructions(_):
    count = [sys.executable, machine.ROOT / "benches/instructions.py", "--limits", "--count-only"]
    subprocess.run(count, check=True, preexec_fn=unpinned())


WORKLOADS = {
    "start": start, "hit-hot": hit("hit-hot", 1), "hit-100k": hit("hit-100k", 100_000), "miss": miss, "latency-miss-4000": latency,
    "waiting-2000": waiting, "memory": memory, "protocols": protocols, "instructions": instructions,
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("workload", nargs="+", choices=[*WORKLOADS, "all", "document"])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=4, help="of a round")
    arguments.add_argument("--entries", type=int, default=1_000_000, help="remembered people of the workload memory")
    arguments.add_argument("--targets", type=lambda text: text.split(","), help="only these, and the limits")
    arguments.add_argument("--binary", type=Path, help="instead of building target/profiling/idgate")
    arguments.add_argument("--beside", type=Path, help="another binary of idgate, measured in the same run")
    arguments.add_argument("--patience", type=float, default=120, help="the longest wait for an idle machine, in seconds")
    options = arguments.parse_args()
    names = [*WORKLOADS] if "all" in options.workload else [name for name in options.workload if name != "document"]
    if names:
        options.kinds = servers.kinds(None, options.beside and options.beside.resolve())
        options.targets = options.targets or [*options.kinds]
        if unknown := set(options.targets) - set(options.kinds):
            sys.exit(f"there is no target {', '.join(sorted(unknown))}")
        servers.set_up({name: kind for name, kind in options.kinds.items() if name in options.targets})
        options.binary = options.binary.resolve() if options.binary else servers.build()
        options.kinds = servers.kinds(options.binary, options.beside and options.beside.resolve())
        machine.pin(machine.OTHERS)()
    failed = []
    for name in names:
        # One that fails does not cost the others.
        try:
            WORKLOADS[name](options)
            print(tables.text(name, options.entries), flush=True)
        except (OSError, ValueError, KeyError, AssertionError, subprocess.SubprocessError, SystemExit) as why:
            failed.append(f"{name}: {why!r}")
            print(f"  {failed[-1]}", file=sys.stderr, flush=True)
            machine.stop_all()
    if "all" in options.workload or "document" in options.workload:
        tables.document()
    if failed:
        sys.exit("\n".join(["failed:", *failed]))


if __name__ == "__main__":
    main()
