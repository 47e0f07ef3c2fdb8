#!/usr/bin/env python3
"""Nobody reads standard output for a while, under load: no request may be slower, and every lost line must be counted.

  benches/stalled_log.py [--stall 60] [--around 30] [--rate 5000] [BINARY]

BINARY is measured, or else target/profiling/idgate is built. The access log goes to a pipe. Its reader reads for --around
seconds, stops for --stall seconds, and reads again for --around seconds, while hits come at a fixed rate, open loop.

It fails if the median of the p99 of each second is more than 1.5 times as high while the reader stands still as before, if
a request waited more than a second longer than the slowest one before, if fewer requests were answered, if the stall lost
no line (then it was too short), or if the lines read and the lines counted as lost are not all requests together.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

from harness import machine, servers, tables

TOLERANCE = 1.5


class Reader(threading.Thread):
    """Counts the lines about questions, unless it stands still."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.lines, self.reads = pipe, 0, threading.Event()
        self.reads.set()

    def run(self):
        with open(self.pipe, "rb") as lines:
            for line in lines:
                self.lines += b'"/v1/verify"' in line
                self.reads.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", nargs="?", type=Path)
    arguments.add_argument("--stall", type=int, default=60)
    arguments.add_argument("--around", type=int, default=30)
    arguments.add_argument("--rate", type=int, default=5000)
    options = arguments.parse_args()
    servers.set_up({})
    kind = servers.kinds(options.binary.resolve() if options.binary else servers.build())["idgate"]
    # Without a file the access log goes to standard output.
    config = machine.WORK / "stalled" / kind.config.name
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(kind.config.read_text().replace('file = "{{dir}}/access.log"', ""))
    started, provider = machine.circumstances(), servers.Provider()
    out, into = os.pipe()
    target = servers.Target("idgate-stalled", servers.replace(kind, config=config), provider, stdout=into)
    os.close(into)
    reader = Reader(out)
    reader.start()
    before = target.load(requests=1000, connections=32)["requests"]
    command = servers.load_command(target, rate=options.rate, seconds=2 * options.around + options.stall, connections=64,
                                   every_second=True)
    with open(machine.WORK / "logs" / "stalled.jsonl", "w+", encoding="utf-8") as seconds:
        load = subprocess.Popen(command, stdout=seconds, preexec_fn=machine.pin(machine.OTHERS))
        time.sleep(options.around)
        reader.reads.clear()
        time.sleep(options.stall)
        reader.reads.set()
        load.wait()
        seconds.seek(0)
        *every, whole = (json.loads(line) for line in seconds)
    lost = target.metrics()["idgate_log_lines_lost_total"]
    target.stop()
    reader.join(30)
    machine.stop_all()
    begun, over = options.around, options.around + options.stall
    # A second at each border is of both phases.
    phases = {
        "before": [one for one in every if 1 < one["second"] < begun],
        "reader stands still": [one for one in every if begun + 1 < one["second"] < over],
        "after": [one for one in every if over + 1 < one["second"] <= over + options.around],
    }
    figures = {name: [median(one[key] for one in phase) for key in ("requests", "p50_us", "p99_us")] + [max(one["max_us"] for one in phase)]
               for name, phase in phases.items()}
    wrong = judge(figures, whole, lost, reader.lines, before)
    rows = [[name, f"{rate:,.0f}", *(f"{time / 1000:.2f} ms" for time in times)] for name, (rate, *times) in figures.items()]
    text = tables.table(["phase", "requests/s", "p50", "p99", "slowest"], rows)
    text += f"\n{reader.lines:,} lines were read, {lost:,.0f} are counted as lost; there were {whole['requests'] + before:,} requests. "
    text += f"{'; '.join(wrong) if wrong else 'No request was slower for it'}.\n"
    print(f"\n{text}")
    tables.save("stalled-log", started | {"table": text})
    if wrong:
        sys.exit(1)


def judge(figures, whole, lost, lines, before):
    """What is wrong."""
    wrong = []
    (rate, _, p99, slowest), (stalled_rate, _, stalled_p99, stalled_slowest) = figures["before"], figures["reader stands still"]
    if stalled_p99 > p99 * TOLERANCE:
        wrong.append(f"p99 rose from {p99 / 1000:.2f} to {stalled_p99 / 1000:.2f} ms")
    if stalled_slowest > slowest + 1e6:
        wrong.append(f"a request took {stalled_slowest / 1e6:.1f} s")
    if stalled_rate * TOLERANCE < rate:
        wrong.append(f"{stalled_rate:,.0f} requests a second instead of {rate:,.0f}")
    if failed := whole["bad"] + whole["broken"] + whole["lost"]:
        wrong.append(f"{failed:,} requests failed")
    if not lost:
        wrong.append("no line was lost: the stall was too short")
    if lines + lost != whole["requests"] + before:
        wrong.append(f"{whole['requests'] + before - lines - lost:,.0f} lines are neither read nor counted as lost")
    return wrong


if __name__ == "__main__":
    main()
