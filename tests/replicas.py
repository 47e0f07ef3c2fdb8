#!/usr/bin/env python3
"""Three replicas that share one Redis, and what becomes of them and of it.

  tests/replicas.py [BINARY]      default: target/debug/idgate

One `idgate sandbox` simulates the providers and counts their calls; three `idgate serve` ask it. Then: a crowd with one
question; a budget; `kill -9` and SIGSTOP of the replica that calls; Redis killed and stopped under load; and a look at
everything that Redis was told. Prints the figures. Needs `redis-server` and Python. All traffic is on loopback.
"""

import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from invented import number

BINARY = sys.argv[1] if len(sys.argv) > 1 else "target/debug/idgate"
NAME = "测试者"
KEY_ID, SECRET = "sandboxAccessKeyId", "sandboxAccessKeySecret"
TAKEOVER = 2
CONFIGURATION = """
[server]
listen = "127.0.0.1:{public}"
admin_listen = "127.0.0.1:{admin}"
request_timeout = "15s"
drain_notice = "0s"
[log]
level = "error"
file = "{folder}/requests-{name}.log"
[ledger]
file = "{folder}/ledger-{name}.db"
[cache]
digest_key = {{ value = "synthetic-digest-key-0123456789abcdef" }}
[replica]
name = "{name}"
most = 3
[shared]
redis = ["unix:{redis}"]
takeover = "{takeover}s"
[enumeration]
numbers_per_client = 0
[breaker]
minimum_calls = 100000
[chain]
order = ["aliyun"]
budget = "14s"
[providers.aliyun]
driver = "aliyun"
endpoints = ["http://{provider}"]
access_key_id = {{ value = "{key_id}" }}
access_key_secret = {{ value = "{secret}" }}
attempt_timeout = "14s"
rate_limit = 1000000
max_concurrency = 10000
{more}
"""


def ask_port(port, method, path, body=None, headers=None, timeout=40):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request(method, path, body, {"Content-Type": "application/json"} | (headers or {}))
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text[:1] in b"{[" and text else text.decode()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Redis:
    def __init__(self, folder):
        self.folder, self.path = folder, f"{folder}/redis"
        self.start()

    def start(self):
        if os.path.exists(self.path):
            os.remove(self.path)
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", self.path]
            + ["--dir", self.folder],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        until("Redis listens", lambda: self.say("PING").startswith("+PONG"))

    def say(self, *words):
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.settimeout(5)
                one.connect(self.path)
                parts = [word.encode() for word in words]
                one.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
                return one.recv(65536).decode(errors="replace")
            except OSError:
                return ""

    def kill(self):
        self.process.kill()
        self.process.wait()


class Sandbox:
    def __init__(self):
        self.process = subprocess.Popen(
            [BINARY, "sandbox", "--quiet", "--unlisted", "match", "--listen", "127.0.0.1:0"]
            + ["--admin-listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for line in self.process.stdout:
            if line.startswith("look"):
                self.admin = int(re.search(r"http://127\.0\.0\.1:(\d+)", line)[1])
                break
        status = ask_port(self.admin, "GET", "/v1/status")[1]
        provider = next(one for one in status["providers"] if one["name"] == "aliyun")
        self.provider = provider["endpoints"][0]["endpoint"]

    def calls(self):
        return ask_port(self.admin, "GET", "/sandbox/aliyun/calls")[1]["calls"]

    def delay(self, delay):
        if delay:
            fault = json.dumps({"kind": "slow", "delay": delay})
            assert ask_port(self.admin, "PUT", "/sandbox/aliyun/fault", fault)[0] == 204
        else:
            ask_port(self.admin, "DELETE", "/sandbox/aliyun/fault")


class Replica:
    def __init__(self, fleet, name, more=""):
        self.name, self.fleet = name, fleet
        self.public, self.admin = free_ports(2)
        self.file = f"{fleet.folder}/{name}.toml"
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(
                public=self.public, admin=self.admin, folder=fleet.folder, name=name, redis=fleet.redis.path,
                takeover=TAKEOVER, provider=fleet.sandbox.provider, more=more, **fleet.credential,
            ))
        self.start()

    def start(self):
        self.process = subprocess.Popen([BINARY, "serve", "--config", self.file], stdin=subprocess.DEVNULL, env={})
        until(f"{self.name} is ready", self.is_ready)

    def is_ready(self):
        assert self.process.poll() is None, "it ended"
        try:
            return ask_port(self.admin, "GET", "/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, n, **headers):
        body = json.dumps({"name": NAME, "id_number": number(n)})
        began = time.monotonic()
        try:
            status, answer = ask_port(self.public, "POST", "/v1/verify", body.encode(), headers)
        except (OSError, http.client.HTTPException) as error:
            return {"status": 0, "error": str(error), "took": time.monotonic() - began}
        return {"status": status, "took": time.monotonic() - began, "answer": answer,
                "source": answer.get("provenance", {}).get("source", answer.get("code"))}

    def shared(self):
        return ask_port(self.admin, "GET", "/v1/status")[1]["shared"]

    def roles(self):
        text = ask_port(self.admin, "GET", "/metrics")[1]
        found = re.findall(r'idgate_shared_questions_total\{role="(\w+)"\} (\d+)', text)
        return {role: int(count) for role, count in found}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=40) == 0


class Fleet:
    def __init__(self, folder, more=""):
        self.folder, self.redis, self.sandbox = folder, Redis(folder), Sandbox()
        self.credential = {"key_id": KEY_ID, "secret": SECRET}
        self.replicas = [Replica(self, name, more) for name in ["one", "two", "three"]]
        self.settled()

    def settled(self, count=3):
        def sees(replica):
            shared = replica.shared()
            return shared["state"] == "up" and sum(one["state"] == "live" for one in shared["replicas"]) == count
        until("all see all", lambda: all(sees(one) for one in self.replicas if one.process.poll() is None))

    def roles(self):
        total = {}
        for replica in self.replicas:
            for role, count in replica.roles().items():
                total[role] = total.get(role, 0) + count
        return {role: count for role, count in total.items() if count}

    def end(self):
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.stop()
        self.sandbox.process.send_signal(signal.SIGTERM)
        self.sandbox.process.wait(timeout=40)
        self.redis.kill()


def until(what, condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.02)


def at_once(tasks, workers=400):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda task: task(), tasks))


def later(task):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    return pool.submit(task)


def share(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def a_crowd_with_one_question(fleet, people):
    fleet.sandbox.delay("3s")
    n, before = next(people), fleet.sandbox.calls()
    answers = at_once([lambda one=fleet.replicas[k % 3]: one.ask(n) for k in range(1000)])
    fleet.sandbox.delay(None)
    sources = [answer["source"] for answer in answers]
    calls = fleet.sandbox.calls() - before
    print(f"1,000 identical questions: {calls} call, {sources.count('provider')} provider, "
          f"{sources.count('shared') + sources.count('cache')} shared or cache, roles {fleet.roles()}")
    assert calls == 1 and sources.count("provider") == 1 and all(one["status"] == 200 for one in answers)


def the_owner_is_killed(fleet, people):
    fleet.sandbox.delay("4s")
    before, hundred = fleet.sandbox.calls(), [next(people) for _ in range(100)]
    one, two, three = fleet.replicas
    owner = later(lambda: at_once([lambda n=n: one.ask(n) for n in hundred], 100))
    until("all are called", lambda: fleet.sandbox.calls() - before == 100)
    others = later(lambda: at_once([lambda n=n, r=r: r.ask(n) for n in hundred for r in [two, three]], 200))
    time.sleep(0.5)
    one.process.kill()
    one.process.wait()
    owner.result()
    answers = others.result()
    calls, longest = fleet.sandbox.calls() - before, max(answer["took"] for answer in answers)
    print(f"kill -9 of the owner of 100 calls: the others answered {sum(a['status'] == 200 for a in answers)} of 200, "
          f"{calls} calls, the slowest after {longest:.1f} s")
    assert all(answer["status"] == 200 for answer in answers) and calls <= 200
    fleet.sandbox.delay(None)
    one.start()
    fleet.settled()


def the_owner_stands_still(fleet, people):
    fleet.sandbox.delay("1s")
    before, n = fleet.sandbox.calls(), next(people)
    one, two, _ = fleet.replicas
    owner = later(lambda: one.ask(n))
    until("it is called", lambda: fleet.sandbox.calls() > before)
    one.process.send_signal(signal.SIGSTOP)
    answer = two.ask(n)
    time.sleep(2)
    one.process.send_signal(signal.SIGCONT)
    first = owner.result()
    calls = fleet.sandbox.calls() - before
    until("the late verdict is counted", lambda: one.roles().get("lost") == 1)
    print(f"SIGSTOP of the owner: answered {answer['status']} after {answer['took']:.1f} s, {calls} calls, "
          f"lost {one.roles()['lost']}, its own caller got {first['status']}")
    assert answer["status"] == first["status"] == 200 and calls == 2
    fleet.sandbox.delay(None)
    fleet.settled()


def redis_goes_under_load(fleet, people, how):
    end, took, failed, alone = time.monotonic() + 12, {}, [], fleet.roles().get("alone", 0)
    before, asked = fleet.sandbox.calls(), set()
    def load(worker):
        mine = []
        while time.monotonic() < end:
            n = next(people)
            asked.add(n)
            for turn in range(3):
                began = time.monotonic()
                answer = fleet.replicas[(worker + turn) % 3].ask(n)
                mine.append((began, answer["took"]))
                if answer["status"] != 200:
                    failed.append(answer)
                time.sleep(0.03)
        return mine
    running = later(lambda: at_once([lambda w=w: load(w) for w in range(8)], 8))
    time.sleep(3)
    gone = time.monotonic()
    if how == "killed":
        fleet.redis.kill()
    elif how == "stopped":
        fleet.redis.process.send_signal(signal.SIGSTOP)
    else:
        fleet.redis.say("FLUSHALL")
        fleet.redis.say("SCRIPT", "FLUSH")
    time.sleep(5)
    if how == "killed":
        fleet.redis.start()
    elif how == "stopped":
        fleet.redis.process.send_signal(signal.SIGCONT)
    back = time.monotonic()
    until("shared again", lambda: all(one.shared()["state"] == "up" for one in fleet.replicas))
    again = time.monotonic() - back
    took = [one for worker in running.result() for one in worker]
    calm = [one for began, one in took if began < gone - 0.2]
    first = [one for began, one in took if gone <= began < gone + 1]
    calls = fleet.sandbox.calls() - before
    print(f"Redis {how} for 5 s under load: {len(took)} questions about {len(asked)} people, {len(failed)} failed, "
          f"{calls} calls, alone {fleet.roles().get('alone', 0) - alone}, p99 before {share(calm, .99) * 1e3:.0f} ms, "
          f"in the first second {share(first, .99) * 1e3:.0f} ms, shared again after {again:.2f} s")
    assert not failed, failed[:3]
    assert calls <= 3 * len(asked)


def a_budget_of_100(fleet, people):
    def settled():
        pages = [ask_port(one.admin, "GET", "/metrics")[1] for one in fleet.replicas]
        return all(re.search(r"idgate_budget_slice\{.*\} 0", page) for page in pages)
    until("no budget is divided", settled)
    before = fleet.sandbox.calls()
    answers = at_once([lambda k=k, n=n: fleet.replicas[k % 3].ask(n) for k, n in enumerate(
        [next(people) for _ in range(500)])], 100)
    calls = fleet.sandbox.calls() - before
    print(f"500 in parallel on a budget of 100 calls: {calls} calls, {sum(a['status'] == 200 for a in answers)} answers")
    assert calls == 100


def canary(folder, monitored):
    with open(monitored, "rb") as file:
        seen = file.read()
    numbers = sum(number(n).encode() in seen for n in range(1, 20_000))
    names = seen.count(NAME.encode()) + seen.count("".join(f"\\x{b:02x}" for b in NAME.encode()).encode())
    secrets = seen.count(SECRET.encode()) + seen.count(b"synthetic-digest-key")
    print(f"MONITOR: {len(seen)} bytes, {numbers} numbers, {names} names, {secrets} secrets")
    assert len(seen) > 10_000 and not numbers and not names and not secrets


def main():
    people = iter(range(1, 20_000))
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(folder)
        monitored = f"{folder}/monitor"
        with open(monitored, "wb") as file:
            monitor = subprocess.Popen(["redis-cli", "-s", fleet.redis.path, "MONITOR"], stdout=file)
        try:
            a_crowd_with_one_question(fleet, people)
            the_owner_is_killed(fleet, people)
            the_owner_stands_still(fleet, people)
            monitor.terminate()
            monitor.wait()
            canary(folder, monitored)
            for how in ["killed", "stopped", "flushed"]:
                redis_goes_under_load(fleet, people, how)
        finally:
            monitor.kill()
            fleet.end()
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(folder, "[providers.aliyun.budget]\ncalls_per_day = 100\n")
        try:
            a_budget_of_100(fleet, people)
        finally:
            fleet.end()


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    main()
