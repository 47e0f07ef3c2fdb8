#!/usr/bin/env python3
"""Repeatedly kills a sandbox under load and then checks its ledger.

  tests/ledger_kill.py [TIMES] [BINARY]      default: 200 times, target/debug/idgate

After each `kill -9` at a random moment and a restart: the ledger has every verdict that a caller received with
`source: provider`; its hash chain is intact; a request that was in flight is recorded as `outcome_unknown` with its
call billed `unknown`, or as whatever was written before the kill. Half of the callers send an Idempotency-Key: the
repeated request replays the answer with the same id, and gets a verdict where there was no answer. Needs only Python.
All traffic is on loopback.
"""

import http.client
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

from invented import number

TIMES = int(sys.argv[1]) if len(sys.argv) > 1 else 200
BINARY = sys.argv[2] if len(sys.argv) > 2 else "target/debug/idgate"
CALLERS = 8
CONFIGURATION = """
[log]
level = "error"
file = "/dev/null"
[ledger]
file = "{folder}/ledger.db"
[cache]
digest_key = {{ value = "synthetic-digest-key-0123456789abcdef" }}
[enumeration]
numbers_per_client = 0
"""


def send(connection, n, with_key):
    """Asks about the `n`th person; repeated calls send identical bodies."""
    body = json.dumps({"name": "测试者", "id_number": number(n), "reference": f"k-{n}"})
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": f"key-{n}"} if with_key else {})
    connection.request("POST", "/v1/verify", body.encode(), headers)


class Load:
    """Callers that ask about a new person each time until the gateway is gone."""

    def __init__(self, port, first):
        self.lock, self.next = threading.Lock(), first
        self.told, self.open, self.other = {}, set(), {}
        # Requests with a key: the answer, or None if there was none.
        self.keyed = {}
        self.threads = [threading.Thread(target=self.run, args=(port, n % 2 == 0)) for n in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def run(self, port, with_key):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while True:
            with self.lock:
                n = self.next
                self.next += 1
            reference = f"k-{n}"
            try:
                send(connection, n, with_key)
                with self.lock:
                    self.open.add(reference)
                    if with_key:
                        self.keyed[n] = None
                answer = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):
                return
            with self.lock:
                self.open.discard(reference)
                if answer.get("provenance", {}).get("source") == "provider":
                    self.told[answer["verification_id"]] = reference
                    if with_key:
                        self.keyed[n] = answer
                else:
                    code = answer.get("code", "shared")
                    self.other[code] = self.other.get(code, 0) + 1

    def ended(self):
        for thread in self.threads:
            thread.join()


def start(folder):
    process = subprocess.Popen(
        [BINARY, "sandbox", "--config", f"{folder}/idgate.toml", "--unlisted", "match"]
        + ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={},
    )
    ports = {}
    # The welcome text has the addresses; its last line begins with `look`.
    for line in process.stdout:
        if address := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            ports[line.split()[0]] = int(address[1])
        if line.startswith("look"):
            break
    else:
        sys.exit(f"the sandbox ended with {process.wait()}")
    connection = http.client.HTTPConnection("127.0.0.1", ports["look"], timeout=30)
    # Slow enough that a kill finds calls in flight.
    connection.request("PUT", "/sandbox/aliyun/fault", b'{"kind": "slow", "delay": "20ms"}')
    assert connection.getresponse().status == 204
    return process, ports["ask"]


def check(folder, load):
    """Lists the errors in the ledger after a kill under load."""
    database = sqlite3.connect(f"file:{folder}/ledger.db?mode=ro", uri=True)
    wrong = []
    for verification, reference in load.told.items():
        row = database.execute("SELECT outcome, reference FROM entries WHERE id = ?", [verification]).fetchone()
        if row != ("match", reference):
            wrong.append(f"{reference} was told {verification}, and the ledger has {row}")
    shown = {}
    for reference in load.open:
        rows = database.execute("SELECT outcome, body FROM entries WHERE reference = ?", [reference]).fetchall()
        words = "+".join(row[0] for row in rows) or "never began"
        shown[words] = shown.get(words, 0) + 1
        if len(rows) > 1 or any(row[0] not in ("outcome_unknown", "match") for row in rows):
            wrong.append(f"{reference} was in flight, and the ledger has {words}")
        for outcome, body in rows:
            entry = json.loads(body)
            billed = {attempt["billed"] for attempt in entry.get("attempts", [])}
            if outcome == "outcome_unknown" and not billed <= {"unknown", "yes"}:
                wrong.append(f"{reference} is outcome_unknown, billed {billed}")
    database.close()
    return wrong, shown


def ask_again(port, load):
    """Lists the errors in idempotent replays after a kill under load."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    wrong, replays = [], 0
    for n, told in load.keyed.items():
        send(connection, n, True)
        response = connection.getresponse()
        answer, replayed = json.loads(response.read()), response.getheader("Idempotency-Replayed") == "true"
        replays += replayed
        if told and (answer != told or not replayed):
            wrong.append(f"key-{n} was told {told}, and is told {answer}, replayed: {replayed}")
        if not told and answer.get("verdict") != "match":
            wrong.append(f"key-{n} was told nothing, and is told {answer}")
    connection.close()
    return wrong, replays


def main():
    limits = "\n".join(
        f"[providers.{name}]\nrate_limit = 1000000\nmax_concurrency = 1000"
        for name in ("aliyun", "aliyun_intl", "muzhiyun", "yunyi")
    )
    seed = int(os.environ.get("SEED", time.time()))
    chance = random.Random(seed)
    print(f"SEED={seed}, {TIMES} times", flush=True)
    totals, told, asked, replays = {}, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/idgate.toml", "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(folder=folder) + limits)
        process, port = start(folder)
        for turn in range(1, TIMES + 1):
            load = Load(port, asked)
            time.sleep(chance.uniform(0.02, 0.6))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            load.ended()
            process, port = start(folder)
            wrong, shown = check(folder, load)
            wrong_keys, replayed = ask_again(port, load)
            wrong, replays = wrong + wrong_keys, replays + replayed
            asked, told = load.next, told + len(load.told)
            for words, count in shown.items():
                totals[words] = totals.get(words, 0) + count
            sound = subprocess.run([BINARY, "ledger", "verify", "--file", f"{folder}/ledger.db"], stdout=subprocess.PIPE, text=True)
            if sound.returncode:
                wrong.append(sound.stdout)
            if load.other:
                wrong.append(f"answers that nobody expects: {load.other}")
            if wrong:
                print(f"kill {turn}:", *wrong, sep="\n  ")
                process.kill()
                return 1
            if turn % 20 == 0 or turn == TIMES:
                print(f"{turn} kills: {told} told and there, {replays} replayed, in flight: {totals}; {sound.stdout.splitlines()[0]}", flush=True)
        process.kill()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
