#!/usr/bin/env python3
"""New people without end: whether memory and tables stay within their caps. Fails if they do not.

  benches/sustained.py [--minutes 30] [--rate 2000] [--ledger] [--window 15s] [BINARY]

BINARY is measured, or else target/profiling/idgate is built. Every question is about another person, open loop. The caps are
those of config/default.toml: 200,000 verdicts, holds and bills, 1,000,000 tries of names, which 2,000 people a second reach
in nine minutes. --window makes everything expire after that time, so that the caps of a short run are reached, too.

Memory and tables are looked at every 10 seconds. It fails if memory has grown by more than 5 % between the middle and the
end, if more verdicts are kept than may be, if a request failed, or if the rate was not reached.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from harness import machine, servers, tables

EVERY = 10
VERDICTS = 200_000
MAY_GROW = 1.05
# What is shown of the metrics, and what it is called.
SHOWN = {
    "idgate_cache_entries": "verdicts", "idgate_subject_holds": "holds", "idgate_connections": "connections",
    "idgate_in_flight": "in flight", "idgate_ledger_behind_entries": "ledger behind",
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", nargs="?", type=Path)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--rate", type=int, default=2000)
    arguments.add_argument("--ledger", action="store_true")
    arguments.add_argument("--window")
    options = arguments.parse_args()
    servers.set_up({})
    kinds = servers.kinds(options.binary.resolve() if options.binary else servers.build())
    name = "idgate-ledger" if options.ledger else "idgate"
    # A day of verdicts: nothing leaves but by the cap.
    env = {"IDGATE__CACHE__MAX_ENTRIES": str(VERDICTS)}
    if options.window:
        names = ("CACHE__MATCH_TTL", "ENUMERATION__WINDOW", "HOLDS__WINDOW")
        env |= {f"IDGATE__{name}": options.window for name in names}
    started, provider = machine.circumstances(), servers.Provider()
    target = servers.Target(name, kinds[name], provider, env)
    seconds, samples = options.minutes * 60, []
    command = servers.load_command(target, rate=options.rate, seconds=seconds, connections=64, people=10**9)
    head = ["second", "MiB", *SHOWN.values()]
    print(" ".join(f"{cell:>13}" for cell in head), flush=True)
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=machine.pin(machine.OTHERS))
    began = time.monotonic()
    while load.poll() is None:
        try:
            load.wait(EVERY)
        except subprocess.TimeoutExpired:
            metrics = target.metrics()
            sample = [round(time.monotonic() - began), machine.resident_mib(target.pid), *(metrics.get(name, 0) for name in SHOWN)]
            samples.append(sample)
            print(" ".join(f"{cell:13,.0f}" for cell in sample), flush=True)
    result = json.loads(load.stdout.read())
    machine.stop_all()
    wrong = judge(result, samples, options)
    thin = samples[:: max(1, len(samples) // 12)]
    text = tables.table(head, [[f"{cell:,.0f}" for cell in sample] for sample in thin])
    text += f"\n{result['requests']:,} new people in {result['seconds'] / 60:.1f} minutes, p50 {result['p50_us'] / 1000:.2f} ms, "
    text += f"p99 {result['p99_us'] / 1000:.2f} ms. {'; '.join(wrong) if wrong else 'Memory and tables stayed within their caps'}.\n"
    print(f"\n{text}")
    tables.save("sustained-ledger" if options.ledger else "sustained", started | {"table": text})
    if wrong:
        sys.exit(1)


def judge(result, samples, options):
    """What is wrong."""
    wrong, memory = [], [sample[1] for sample in samples]
    part = max(1, len(samples) // 10)
    half = len(samples) // 2
    middle, end = median(memory[half:half + part] or [0]), median(memory[-part:] or [0])
    if len(samples) < 10:
        wrong.append("too short to see whether memory grows")
    elif end > middle * MAY_GROW:
        wrong.append(f"memory grew from {middle:.0f} MiB in the middle to {end:.0f} MiB at the end")
    # An eviction may be a moment late.
    if (most := max((sample[2] for sample in samples), default=0)) > VERDICTS * 1.01:
        wrong.append(f"{most:,.0f} verdicts were kept, of {VERDICTS:,} that may be")
    if failed := result["bad"] + result["broken"] + result["lost"]:
        wrong.append(f"{failed:,} requests failed")
    if result["requests"] < 0.97 * options.rate * options.minutes * 60:
        wrong.append(f"only {result['requests'] / result['seconds']:,.0f} people a second")
    return wrong


if __name__ == "__main__":
    main()
