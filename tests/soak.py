#!/usr/bin/env python3
"""Everything that can go wrong from outside, all at once, for a while; then whether anything was lost or paid twice.

  tests/soak.py [MINUTES] [BINARY]      default: 30 minutes, target/debug/idgate

One gateway with a ledger and one provider of this script, which fails 60 % of its calls. At the same time:
- the readers of the access log and of the process's own log stop reading, for a while and in turns;
- strangers hold connections with unfinished request heads, and flood the log with requests nobody may make;
- a bulk client asks for eight times what the provider allows, while a payout client asks five times a second;
- the wall clock steps an hour back and forth, and the configuration is reloaded.

At the end: each answer that a caller was told is in the ledger with the same verdict; the ledger has exactly the calls
that the provider billed; nobody was billed twice; /livez always answered within a second; the payout client got its
share; SIGTERM ended the gateway in time, with nothing cut; the chain of the ledger is sound. Needs Python and
libfaketime. All traffic is on loopback.
"""

import asyncio
import collections
import glob
import hashlib
import http.client
import json
import multiprocessing
import os
import queue
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from invented import number

MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 30
BINARY = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "target/debug/idgate")
SEED = int(os.environ.get("SEED", time.time()))
FAILURES = 0.6
RATE = 50
PAYOUT_RATE, BULK_RATE, BULK_CALLERS = 5, 400, 40
STRANGERS, FLOOD_RATE = 400, 200
# Milliseconds for /livez, and seconds for the end after SIGTERM: drain_notice and drain_timeout, and a little.
LIVEZ_LIMIT, END_LIMIT = 1000, 25
# The part of its questions to which the payout client must get a verdict in the end. Asked three times, with 60 % failures
# and one call each time, it would be 78 %.
PAYOUT_SHARE = 0.7
# Exit codes: nothing was cut; and the last log lines were lost, whose reader has stopped.
ENDS_WELL = (0, 3)

CONFIGURATION = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
drain_notice = "100ms"
[reload]
poll = "1s"
[cache]
digest_key = {{ value = "synthetic-digest-key-0123456789abcdef" }}
match_ttl = "24h"
mismatch_ttl = "24h"
[enumeration]
numbers_per_client = 0
[ledger]
file = "{folder}/ledger.db"
[budget]
extra_attempts_per_minute = 6000
[clients.payout]
keys = [{{ id = "p", sha256 = "{payout}" }}]
[clients.bulk]
keys = [{{ id = "b", sha256 = "{bulk}" }}]
rate_limit = 2000
[providers.mock]
driver = "muzhiyun"
endpoints = ["http://127.0.0.1:{provider}", "http://localhost:{provider}"]
app_code = {{ value = "synthetic0app0code00000000000001" }}
rate_limit = {rate}
[chain]
order = ["mock"]
"""
KEYS = {name: f"idg_{name}-key-of-the-soak-synthetic-0123456789" for name in ("payout", "bulk")}
NAME = "测试者"


def verdict_of(id_number):
    """What the provider says about a number: each verdict must come back unchanged."""
    return "match" if hashlib.sha256(id_number.encode()).digest()[0] % 2 else "mismatch"


# The provider.


def provide(listener, counts):
    chance = random.Random(SEED)
    bills = collections.Counter()
    calls = 0

    async def serve(reader, writer):
        nonlocal calls
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                target = head.split(b" ", 2)[1].decode()
                if target == "/bills":
                    body = {"calls": calls, "bills": sum(bills.values()), "twice": [n for n, count in bills.items() if count > 1]}
                    status = 200
                else:
                    calls += 1
                    id_number = urllib.parse.parse_qs(target.partition("?")[2])["sfz"][0]
                    if chance.random() < FAILURES:
                        # By its documents 666 is never billed, and an unknown text is no verdict.
                        status, body = (503, {}) if chance.random() < 0.5 else (666, {"ok": 0, "msg": "系统繁忙"})
                    elif verdict_of(id_number) == "match":
                        status, body = 200, {"ok": 1, "msg": "实名信息正确", "match": True}
                    else:
                        status, body = 200, {"ok": 1, "msg": "实名校验失败：身份证与姓名不匹配", "match": False}
                    if status == 200:
                        bills[id_number] += 1
                data = json.dumps(body).encode()
                writer.write(f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run():
        async with await asyncio.start_server(serve, sock=listener) as server:
            await server.serve_forever()

    asyncio.run(run())


# The callers.


class Caller:
    def __init__(self, client, public):
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEYS[client]}"}
        self.public, self.connection = public, None

    def ask(self, n, key=None):
        """Status and body of the answer about the `n`th person; no status if the connection broke."""
        body = json.dumps({"name": NAME, "id_number": number(n), "reference": f"s-{n}"}).encode()
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.public, timeout=30)
            self.connection.request("POST", "/v1/verify", body, headers)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self.connection = None
            return None, {}


def payout(public, stop, results):
    """Asks at its pace about a new person each time, until it has a verdict or was refused three times; and again later."""
    told, wrong, codes, asked, got = [], [], collections.Counter(), 0, 0
    work, lock = queue.Queue(), threading.Lock()

    def run():
        nonlocal got
        caller = Caller("payout", public)
        while (n := work.get()) is not None:
            for attempt in range(3):
                status, answer = caller.ask(n, f"key-{n}-{attempt}" if n % 3 == 0 else None)
                with lock:
                    codes[answer.get("code", status)] += 1
                    if status == 200:
                        told.append((answer["verification_id"], f"s-{n}", answer["verdict"]))
                        if answer["verdict"] != verdict_of(number(n)):
                            wrong.append(f"payout was told {answer['verdict']} about s-{n}")
                        got += 1
                        break
                time.sleep(min(2.0, answer.get("retry_after_seconds", 0.5)))

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    while not stop.wait(1 / PAYOUT_RATE):
        work.put(asked)
        asked += 1
    for _ in threads:
        work.put(None)
    for thread in threads:
        thread.join()
    results.put(("payout", told, wrong, dict(codes), asked, got))


def bulk(public, stop, results):
    """Asks far above what the provider allows; half of its questions repeat earlier ones."""
    told, wrong, codes, lock = [], [], collections.Counter(), threading.Lock()
    first = 1_000_000

    def run(index):
        caller, chance, asked = Caller("bulk", public), random.Random(SEED + index), 0
        while not stop.wait(BULK_CALLERS / BULK_RATE):
            n = first + index * 100_000 + (asked if chance.random() < 0.5 else chance.randint(0, asked))
            asked += 1
            status, answer = caller.ask(n)
            with lock:
                codes[answer.get("code", status)] += 1
                if status == 200:
                    told.append((answer["verification_id"], f"s-{n}", answer["verdict"]))
                    if answer["verdict"] != verdict_of(number(n)):
                        wrong.append(f"bulk was told {answer['verdict']} about s-{n}")

    threads = [threading.Thread(target=run, args=(n,)) for n in range(BULK_CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(("bulk", told, wrong, dict(codes), sum(codes.values()), len(told)))


# The strangers.


def strangers(public, stop):
    head = b"POST /v1/verify HTTP/1.1\r\nHost: gateway\r\nX-Filler: " + b"x" * 12_000

    async def unfinished():
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", public)
                writer.write(head)
                # Until the gateway has had enough of it.
                await asyncio.wait_for(reader.read(), 60)
                writer.close()
            except (OSError, asyncio.TimeoutError):
                pass
            await asyncio.sleep(0.5)

    async def flood():
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", public)
                for _ in range(FLOOD_RATE):
                    writer.write(b"GET /nothing-here?secret=1 HTTP/1.1\r\nHost: gateway\r\n\r\n")
                    await reader.readuntil(b"\r\n\r\n")
                    await asyncio.sleep(1 / FLOOD_RATE)
                writer.close()
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await asyncio.sleep(0.1)

    async def run():
        tasks = [asyncio.create_task(unfinished()) for _ in range(STRANGERS)] + [asyncio.create_task(flood())]
        while not stop.is_set():
            await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def probe(admin, stop, results):
    """Asks /livez twice a second, each time on a connection of its own, as an orchestrator does."""
    times, failures = [], 0
    while not stop.wait(0.5):
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", admin), timeout=5) as one:
                one.sendall(b"GET /livez HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
                failures += not one.recv(1024).startswith(b"HTTP/1.1 200")
        except OSError:
            failures += 1
        times.append((time.monotonic() - began) * 1e3)
    results.put(("probe", times, failures))


# The gateway.


class Sink:
    """Reads a pipe of the gateway, except while it is stalled, and keeps the last lines."""

    def __init__(self, pipe):
        self.pipe, self.reading, self.last = pipe, threading.Event(), collections.deque(maxlen=200)
        self.reading.set()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        for line in self.pipe:
            self.last.append(line)
            self.reading.wait()


def start(folder, provider, clock):
    path = f"{folder}/idgate.toml"
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder, provider=provider, rate=RATE, **hashes))
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not library:
        sys.exit("libfaketime is not here: install the Debian package libfaketime")
    environment = {
        "LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
        # Only the wall clock steps.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
    }
    process = subprocess.Popen(
        [BINARY, "serve", "--config", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment,
    )
    for line in process.stderr:
        if up := re.search(r'"public":"127\.0\.0\.1:(\d+)"', line):
            public, admin = int(up[1]), int(re.search(r'"admin":"127\.0\.0\.1:(\d+)"', line)[1])
            return process, public, admin
        print(line, end="")
    sys.exit(f"the gateway ended with {process.wait()}")


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def step(clock, offset):
    """Sets the gateway's wall clock to `offset` from the real time."""
    with open(f"{clock}.new", "w", encoding="ascii") as file:
        file.write(offset)
    os.replace(f"{clock}.new", clock)


def trouble(process, sinks, clock, until):
    """Stalls and steps by chance, until the end; then lets everything run again."""
    chance, steps, stalls = random.Random(SEED), 0, 0
    while time.monotonic() < until:
        stalled = chance.choice([[], [0], [1], [0, 1]])
        for index in stalled:
            sinks[index].reading.clear()
        stalls += bool(stalled)
        if chance.random() < 0.5:
            step(clock, chance.choice(["+0", "+3600", "-3600"]))
            steps += 1
        if chance.random() < 0.5:
            process.send_signal(signal.SIGHUP)
        time.sleep(max(0, min(chance.uniform(2, 20), until - time.monotonic())))
        for sink in sinks:
            sink.reading.set()
        if process.poll() is not None:
            break
        time.sleep(max(0, min(chance.uniform(1, 10), until - time.monotonic())))
    step(clock, "+0")
    return stalls, steps


def check_ledger(folder, told, billed):
    database = sqlite3.connect(f"file:{folder}/ledger.db?mode=ro", uri=True)
    wrong = []
    written = {row[0]: row[1:] for row in database.execute("SELECT id, reference, outcome FROM entries WHERE kind = 'answer'")}
    for verification, reference, verdict in told:
        if written.get(verification) != (reference, verdict):
            wrong.append(f"{reference} was told {verdict} as {verification}, and the ledger has {written.get(verification)}")
    calls = dict(database.execute("SELECT billed, count(*) FROM entries WHERE kind = 'call' GROUP BY billed"))
    if calls.get("yes", 0) != billed:
        wrong.append(f"the provider billed {billed} calls, and the ledger has {calls}")
    database.close()
    return wrong, calls


def main():
    print(f"SEED={SEED}, {MINUTES:g} minutes", flush=True)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    provider = listener.getsockname()[1]
    # Processes of their own: one interpreter would measure its own delays.
    stop, results, workers = multiprocessing.Event(), multiprocessing.Queue(), []

    def work(function, *arguments):
        workers.append(multiprocessing.Process(target=function, args=arguments, daemon=True))
        workers[-1].start()

    work(provide, listener, None)
    with tempfile.TemporaryDirectory() as folder:
        clock = f"{folder}/clock"
        step(clock, "+0")
        process, public, admin = start(folder, provider, clock)
        sinks = [Sink(process.stdout), Sink(process.stderr)]
        wrong = []
        try:
            work(probe, admin, stop, results)
            work(strangers, public, stop)
            work(payout, public, stop, results)
            work(bulk, public, stop, results)
            stalls, steps = trouble(process, sinks, clock, time.monotonic() + MINUTES * 60)
            if process.poll() is not None:
                sys.exit(f"the gateway ended with {process.returncode}:\n{''.join(sinks[1].last)}")
            stop.set()
            by_name = {}
            for _ in range(3):
                name, *rest = results.get(timeout=120)
                by_name[name] = rest
            metrics = get(admin, "/metrics")
            began = time.monotonic()
            # A caller has gone, a reader has stopped: the end must not wait for them.
            sinks[0].reading.clear()
            process.terminate()
            try:
                code = process.wait(END_LIMIT)
                ended = time.monotonic() - began
                if code not in ENDS_WELL:
                    wrong.append(f"it ended with {code}")
            except subprocess.TimeoutExpired:
                ended = END_LIMIT
                wrong.append(f"SIGTERM has not ended it after {END_LIMIT} s")
        finally:
            process.kill()
            process.wait()
        bills = json.loads(get(provider, "/bills"))
        told = by_name["payout"][0] + by_name["bulk"][0]
        missing, calls = check_ledger(folder, told, bills["bills"])
        wrong += by_name["payout"][1] + by_name["bulk"][1] + missing[:20]
        if bills["twice"]:
            wrong.append(f"{len(bills['twice'])} people were billed twice")
        times, failures = by_name["probe"]
        if failures or max(times) > LIVEZ_LIMIT:
            wrong.append(f"/livez failed {failures} times, slowest {max(times):.0f} ms")
        _, _, payout_codes, asked, got = by_name["payout"]
        if got < PAYOUT_SHARE * asked:
            wrong.append(f"the payout client got {got} of {asked} answers")
        sound = subprocess.run([BINARY, "ledger", "verify", "--file", f"{folder}/ledger.db"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if sound.returncode:
            wrong.append(sound.stdout)
        lost = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("idgate_log_lines_lost_total"))
        print(f"payout: {got} of {asked} answered, {payout_codes}")
        print(f"bulk: {by_name['bulk'][4]} of {by_name['bulk'][3]} answered, {by_name['bulk'][2]}")
        print(f"provider: {bills['calls']} calls, {bills['bills']} billed, {len(bills['twice'])} people twice; ledger: {calls}")
        print(f"/livez: {len(times)} times, median {sorted(times)[len(times) // 2]:.0f} ms, slowest {max(times):.0f} ms, {failures} failed")
        print(f"{stalls} stalls ({lost:.0f} log lines lost), {steps} steps of the clock; ended {ended:.1f} s after SIGTERM")
        print(sound.stdout.splitlines()[0] if sound.stdout else "nothing from ledger verify", flush=True)
        if wrong:
            print("WRONG:", *wrong, sep="\n  ")
            print("".join(list(sinks[1].last)[-20:]))
    for worker in workers:
        worker.kill()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
