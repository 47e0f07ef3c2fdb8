#!/usr/bin/env python3
"""What durability costs: the miss path (and the hit path) with the ledger on against off, in turns, in one run.

  benches/durability.py [BINARY] [ROUNDS] [SECONDS] [CONNECTIONS]      default: target/release/idgate 5 3 64

Two gateways, one with a ledger in FOLDER (environment; default: a new one beside the binary, so that it is on a disk), ask the
simulator of one sandbox, which answers at once, or after DELAY (environment, such as 80ms). Needs wrk. Compare the ratios: the
machine is shared by gateway, provider and wrk.
"""

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
arguments = sys.argv[1:]
BINARY = os.path.abspath(arguments[0] if arguments else "target/release/idgate")
ROUNDS, SECONDS, CONNECTIONS = (int(n) for n in (arguments[1:] + ["5", "3", "64"][len(arguments[1:]):]))
LIMITS = """
[log]
level = "error"
file = "/dev/null"
[reload]
poll = "0s"
[enumeration]
numbers_per_client = 0
[cache]
max_entries = 2000000
match_ttl = "24h"
digest_key = { value = "bench-digest-key-0123456789abcdef" }
"""
started = []


def start(folder, name, toml, command, words):
    path = f"{folder}/{name}.toml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(toml)
    log = open(f"{folder}/{name}.log", "w+", encoding="utf-8")
    process = subprocess.Popen([BINARY, command, "--config", path] + words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={})
    started.append(process)
    return log, process.pid


def processor_time(pid):
    """Seconds."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def port_in(log, pattern):
    for _ in range(600):
        log.seek(0)
        if found := re.search(pattern, log.read()):
            return int(found[1])
        time.sleep(0.05)
    log.seek(0)
    sys.exit(log.read())


def wrk(port, pid, script, first):
    before = processor_time(pid)
    out = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script, f"http://127.0.0.1:{port}/v1/verify"],
        stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "IDGATE_FIRST": str(first)},
    ).stdout
    rate, p50, p99, errors = (float(n) for n in re.search(r"RESULT (\S+) (\S+) (\S+) (\S+)", out).groups())
    if errors:
        print(f"{errors:.0f} errors", flush=True)
    return rate, p50, p99, (processor_time(pid) - before) / rate / SECONDS * 1e6


def fsync(folder):
    file, times = os.open(f"{folder}/fsync", os.O_CREAT | os.O_WRONLY | os.O_APPEND), []
    for _ in range(200):
        os.write(file, b"x" * 4096)
        began = time.perf_counter()
        os.fdatasync(file)
        times.append((time.perf_counter() - began) * 1e3)
    os.close(file)
    return sorted(times)


def main():
    parent = os.environ.get("FOLDER") or os.path.dirname(BINARY)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        times = fsync(folder)
        print(f"fdatasync of 4 KiB here: p50 {times[100]:.2f} ms, p99 {times[197]:.2f} ms")
        words = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--unlisted", "match"]
        sandbox, _ = start(folder, "sandbox", '[log]\nfile = "/dev/null"\nlevel = "error"\n', "sandbox", words)
        connection = http.client.HTTPConnection("127.0.0.1", port_in(sandbox, r"look .*?http://127\.0\.0\.1:(\d+)"))
        connection.request("GET", "/v1/status")
        provider = json.loads(connection.getresponse().read())["providers"]
        endpoint = next(one for one in provider if one["name"] == "aliyun")["endpoints"][0]["endpoint"]
        if delay := os.environ.get("DELAY"):
            fault = json.dumps({"kind": "slow", "delay": delay})
            connection.request("PUT", "/sandbox/aliyun/fault", fault.encode())
            assert connection.getresponse().status == 204
        gateways, free = {}, 21_000 + os.getpid() % 10_000
        for index, (name, ledger) in enumerate((("off", ""), ("on", f'[ledger]\nfile = "{folder}/ledger.db"\n'))):
            port = free + index
            toml = LIMITS + ledger + f"""
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{port + 10}"
[providers.mock]
driver = "aliyun"
endpoints = ["http://{endpoint}"]
{SETTINGS}
max_concurrency = 10000
rate_limit = 1000000
[chain]
order = ["mock"]
"""
            _, pid = start(folder, name, toml, "serve", [])
            for _ in range(200):
                try:
                    http.client.HTTPConnection("127.0.0.1", port).connect()
                    break
                except OSError:
                    time.sleep(0.05)
            gateways[name] = port, pid
        with open(f"{HERE}/miss.lua", encoding="utf-8") as file, open(f"{folder}/hit.lua", "w", encoding="utf-8") as hit:
            hit.write(file.read().replace("next = next + 1", ""))
        first = 0
        for path, script in (("miss", f"{HERE}/miss.lua"), ("hit", f"{folder}/hit.lua")):
            results = {"off": [], "on": []}
            for turn in range(ROUNDS + 1):
                for name in ("off", "on") if turn % 2 else ("on", "off"):
                    result = wrk(*gateways[name], script, first)
                    first += 500_000 if path == "miss" else 0
                    # The first turn warms up.
                    if turn:
                        results[name].append(result)
            for name, rounds in results.items():
                rate, p50, p99, cost = (statistics.median(one[n] for one in rounds) for n in range(4))
                print(f"{path}, ledger {name}: {rate:8.0f} req/s, p50 {p50:6.2f} ms, p99 {p99:6.2f} ms, {cost:.0f} µs of a processor ({CONNECTIONS} connections)")
            ratio = statistics.median(on[0] / off[0] for on, off in zip(results["on"], results["off"]))
            print(f"{path}: on / off = {ratio:.2f} of the throughput", flush=True)


SETTINGS = 'access_key_id = { value = "sandboxAccessKeyId" }\naccess_key_secret = { value = "sandboxAccessKeySecret" }'
if __name__ == "__main__":
    try:
        main()
    finally:
        for one in started:
            one.kill()
            one.wait()
