"""Gateways in every kind of trouble that an alert is about, for tests/prometheus.py.

Each public method of World without an argument is a condition: it starts a gateway, produces the condition for real, and
keeps it up with traffic of its own until the end. Its text says how.
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from invented import number

# Bypasses any proxy that the environment names.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# The provider that only `one_verdict` asks, because the rule looks at all gateways together.
ONE_VERDICT = "yunyi"
KEY = "synthetic-key-of-the-prometheus-test"
SHA256 = hashlib.sha256(KEY.encode()).hexdigest()
ACCESS_KEY, SECRET = "IDGTESTACCESSKEY0001", "synthetic-secret-of-a-pair"
DAY = 86400

COMMON = """
[log]
file = "{log}"
[cache]
digest_key = {{ value = "synthetic-digest-key-0123456789abcdef" }}
[enumeration]
numbers_per_client = 0
[budget]
extra_attempts_per_minute = 100000
[chain]
order = {order}
# In a sandbox the chain is its own, and a purpose overrides it.
[purposes.default]
order = {order}
[ledger]
file = "{folder}/ledger.db"
"""
# A breaker that stays closed, where the failures themselves are to be seen.
NO_BREAKER = """
[breaker]
consecutive_failures = 1000000
minimum_calls = 1000000
"""
# Providers at a closed port of this machine, of `idgate serve`.
OUTSIDE = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
"""


def fetch(url, method="GET", body=None, headers=None):
    """The body of a good answer; HTTPError for others."""
    request = urllib.request.Request(url, body, headers or {}, method=method)
    with DIRECT.open(request, timeout=20) as response:
        return response.read().decode()


def until(what, holds, patience=30):
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not in {patience} s: {what}")
        time.sleep(0.1)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def in_days(days, form="%Y-%m-%d"):
    return time.strftime(form, time.gmtime(time.time() + days * DAY))


def faketime():
    found = list(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise FileNotFoundError("libfaketime is not here: install the Debian package libfaketime")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}


class Gateway:
    """An `idgate sandbox` (or `serve`) on free ports, with its own folder."""

    def __init__(self, spawn, binary, folder, name, toml="", order=("aliyun", "muzhiyun"), log="/dev/null", command="sandbox",
                 flags=("--unlisted", "match"), environment=None):
        self.name, self.folder, self.tls = name, folder / name, "[server.tls]" in toml
        self.folder.mkdir(exist_ok=True)
        self.file = self.folder / "idgate.toml"
        self.file.write_text(COMMON.format(log=log, folder=self.folder, order=json.dumps(list(order))) + toml)
        words = [binary, command, "--config", str(self.file)]
        if command == "sandbox":
            words += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *flags]
        self.log = self.folder / "stderr"
        with open(self.log, "w", encoding="utf-8") as log_file:
            # A full disk sends no signal, and neither does a file at its limit: Python ignores SIGXFSZ, and so does this.
            self.process = spawn(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log_file, text=True, restore_signals=False,
                env=environment or {},
            )
        found = {}
        if command == "sandbox":
            # The welcome text has the addresses; its last line begins with `look`.
            for line in self.process.stdout:
                if address := re.search(r"https?://[\w.]+:(\d+)", line):
                    found[line.split()[0]] = int(address[1])
                if line.startswith("look"):
                    break
            self.public, self.admin = found.get("ask"), found.get("look")
        else:
            def is_up():
                nonlocal found
                text = self.log.read_text()
                found = dict(re.findall(r'"(public|admin)":"127\.0\.0\.1:(\d+)"', text))
                return len(found) == 2 or self.process.poll() is not None
            until(f"{name} is up", is_up)
            self.public, self.admin = (int(found[key]) if key in found else None for key in ("public", "admin"))
        if self.admin is None:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{name} did not start:\n{self.log.read_text()}")

    def call(self, method, path, body=None):
        return fetch(f"http://127.0.0.1:{self.admin}{path}", method, body and json.dumps(body).encode())

    def spoil(self, provider, **fault):
        self.call("PUT", f"/sandbox/{provider}/fault", fault)

    def stop(self):
        self.process.terminate()
        self.process.wait(40)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Caller:
    """Asks over one connection."""

    def __init__(self, gateway, key=None):
        self.gateway, self.connection = gateway, http.client.HTTPConnection("127.0.0.1", gateway.public, timeout=20)
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def ask(self, n, name="测试者", **headers):
        body = json.dumps({"name": name, "id_number": number(n)}).encode()
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            self.connection.request("POST", "/v1/verify", body, self.headers | headers)
            answer = self.connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return None


class Activity:
    """What belongs to one condition: its gateways, and the threads that keep it up."""

    def __init__(self):
        self.stop, self.gateways, self.scraped, self.ending = threading.Event(), [], [], []
        self.is_produced = False

    def end(self):
        self.stop.set()
        for action in self.ending:
            action()
        for gateway in self.gateways:
            gateway.kill()


class World:
    def __init__(self, binary, folder, prometheus):
        self.binary, self.folder, self.prometheus = binary, folder, prometheus
        self.lock, self.processes, self.is_over = threading.Lock(), [], False
        self.wrong, self.people, self.activities, self.local = [], itertools.count(), {}, threading.local()

    # What the conditions are made of.

    def spawn(self, *words, **more):
        """Starts a process, and none after the end: a condition may still be in the making then."""
        with self.lock:
            if self.is_over:
                raise RuntimeError("it is over")
            self.processes.append(subprocess.Popen(*words, **more))
            return self.processes[-1]

    @property
    def activity(self):
        return self.activities[self.local.name]

    def gateway(self, name, toml="", is_scraped=True, **more):
        gateway = Gateway(self.spawn, self.binary, self.folder, name, toml, **more)
        self.activity.gateways.append(gateway)
        if is_scraped:
            self.activity.scraped.append(gateway.admin)
            self.prometheus.add(gateway.admin)
            # Its counters are known as they are before anything happens.
            until(f"{name} is scraped", lambda: self.prometheus.has_scraped(gateway.admin), 60)
        return gateway

    def again(self, rate, action):
        """Does `action` `rate` times a second, until the end."""
        stop = self.activity.stop

        def run():
            while not stop.wait(1 / rate):
                try:
                    action()
                except (OSError, http.client.HTTPException):
                    pass

        threading.Thread(target=run, daemon=True).start()

    def asks(self, gateway, rate=10, key=None, **headers):
        """Asks about somebody new, until the end."""
        caller = Caller(gateway, key)
        self.again(rate, lambda: caller.ask(next(self.people), **headers))

    def produce(self, name):
        self.local.name = name
        self.activities[name] = Activity()
        try:
            getattr(self, name)()
            self.activity.is_produced = True
        except Exception as error:  # pylint: disable=broad-except
            self.wrong.append(f"condition {name}: {type(error).__name__}: {error}")

    def begin(self, conditions):
        """Produces the conditions side by side."""
        left, lock = list(conditions), threading.Lock()

        def work():
            while left:
                with lock:
                    name = left.pop(0) if left else None
                if name:
                    self.produce(name)

        # Not all at once: their starts would keep each other from being scraped.
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()

    def has_caused(self, name, labels):
        """Whether an alert with these labels may come from this condition."""
        activity = self.activities.get(name)
        return bool(activity) and ("instance" not in labels or labels["instance"] in [f"127.0.0.1:{admin}" for admin in activity.scraped])

    def finish(self, name):
        """Ends a condition that is no longer needed."""
        activity = self.activities.get(name)
        if activity and activity.is_produced and not activity.stop.is_set():
            self.prometheus.remove(*activity.scraped)
            activity.end()

    def end(self):
        with self.lock:
            self.is_over = True
        for activity in list(self.activities.values()):
            activity.end()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    # The healthy gateway, which stays healthy to the end.

    def calm(self):
        """Matches and mismatches, cached answers, joined calls, refused input, and repeated requests with a key."""
        gateway = self.gateway("calm", flags=("--unlisted", "no_record"))
        people = json.loads(gateway.call("GET", "/sandbox/people"))
        people = people.get("people", people) if isinstance(people, dict) else people
        caller, turns = Caller(gateway), itertools.count()

        def known():
            n = next(turns)
            person = people[n % len(people)]
            body = {"name": person["name"] if n % 3 else "测试者", "id_number": person["id_number"] if n % 10 else "1"}
            caller.connection.request("POST", "/v1/verify", json.dumps(body).encode(), caller.headers | ({"Idempotency-Key": "one"} if n % 30 == 1 else {}))
            caller.connection.getresponse().read()

        self.again(20, known)
        self.asks(gateway, 10)
        # Two at a time about the same person, over two connections.
        for _ in range(2):
            twin = Caller(gateway)
            self.again(4, lambda twin=twin: twin.ask(10_000_000 + int(time.monotonic() * 4)))

    # The conditions.

    def killed(self):
        """kill -9."""
        gateway = self.gateway("killed")
        gateway.process.kill()

    def isolated(self):
        """An operator isolates every provider, and the callers go on."""
        gateway = self.gateway("isolated")
        self.asks(gateway)
        for one in json.loads(gateway.call("GET", "/v1/status"))["providers"]:
            gateway.call("POST", f"/v1/providers/{one['name']}/isolate")

    def cut_off(self):
        """The provider reads each request and resets the connection: it may have billed it."""
        gateway = self.gateway("cut_off", NO_BREAKER, order=["aliyun_intl"])
        gateway.spoil("aliyun_intl", kind="reset")
        self.asks(gateway)

    def in_arrears(self):
        """The first provider says that the account is in arrears, the second sends garbage; the third answers."""
        gateway = self.gateway("in_arrears", NO_BREAKER, order=["aliyun", "muzhiyun", "tencent"])
        gateway.spoil("aliyun", kind="outcome", outcome="account_fault", reason="arrears")
        gateway.spoil("muzhiyun", kind="garbage")
        self.asks(gateway)

    def broken(self):
        """The first provider is down, so its breakers open and the next one answers. Some callers ask too often."""
        gateway = self.gateway("broken", '[providers.muzhiyun]\nrate_limit = 2\n')
        gateway.spoil("aliyun", kind="outcome", outcome="source_down")
        for _ in range(3):
            self.asks(gateway, 20)

    def one_verdict(self):
        """A source says match about everybody, after three days (written into the storage) in which six of ten were."""
        self.asks(self.gateway("one_verdict", order=[ONE_VERDICT]))

    def credentials(self):
        """A service lends a key that ends in half a minute, and afterwards fails."""
        served = itertools.count()

        class Lender(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = {"Code": "Success", "AccessKeyId": "STS.synthetic", "AccessKeySecret": "synthetic", "SecurityToken": "synthetic",
                        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30))}
                data = json.dumps(body).encode()
                self.send_response(200 if next(served) == 0 else 500)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        lender = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lender)
        self.activity.ending.append(lender.shutdown)
        threading.Thread(target=lender.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{lender.server_address[1]}/"
        toml = f'[providers.fetched]\ndriver = "aliyun"\nendpoints = ["http://127.0.0.1:9"]\ncredentials = {{ kind = "uri", uri = "{uri}" }}\n'
        self.gateway("credentials", OUTSIDE + toml, order=["fetched"], command="serve")

    def outside(self, name, url, environment=None):
        toml = f'[providers.outside]\ndriver = "muzhiyun"\nendpoints = ["{url}"]\napp_code = {{ value = "synthetic" }}\n'
        return self.gateway(name, OUTSIDE + NO_BREAKER + toml, order=["outside"], command="serve", environment=environment)

    def unresolved(self):
        """A provider's name is one that no resolver may know (RFC 6761). It is asked for once, and waited for a second."""
        self.asks(self.outside("unresolved", "https://provider.invalid", {"RES_OPTIONS": "attempts:1 timeout:1"}), 5)

    def exhausted(self):
        """The limit on open files falls to what is open already, while calls need sockets."""
        gateway = self.outside("exhausted", "http://127.0.0.1:9")
        caller, pid = Caller(gateway), gateway.process.pid
        caller.ask(next(self.people))
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        free = next(n for n in itertools.count() if not os.path.exists(f"/proc/{pid}/fd/{n}"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[1]))
        for _ in range(20):
            caller.ask(next(self.people))
        time.sleep(3)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def spent(self):
        """A client spends its budget, a small package ends soon, and somebody is paid for twice with no-cache."""
        toml = f"""
[clients.poor]
keys = [{{ id = "p", sha256 = "{SHA256}" }}]
[clients.poor.budget]
calls_per_day = 40
yuan_per_day = "100"
[[providers.aliyun.packages]]
id = "last"
calls = 30
price_yuan = "9"
bought = "{in_days(-20)}"
ends = "{in_days(3)}"
"""
        gateway = self.gateway("spent", toml)
        caller = Caller(gateway, KEY)
        for _ in range(3):
            caller.ask(0, Cache_Control="no-cache")
        self.asks(gateway, 4, KEY)

    def guessed(self):
        """A client tries sixty names for a number. Its key ends in five days. Strangers flood the log."""
        toml = f'[clients.thief]\nkeys = [{{ id = "t", sha256 = "{SHA256}", expires = "{in_days(5, "%Y-%m-%dT%H:%M:%SZ")}" }}]\n'
        gateway = self.gateway("guessed", toml)
        caller = Caller(gateway, KEY)
        names = ["".join(pair) for pair in itertools.product("赵钱孙李周吴郑王", repeat=2)]
        turns = itertools.cycle(names)
        self.again(40, lambda: caller.ask(1, next(turns)))
        for _ in range(2):
            self.asks(gateway, 40, "not-a-key")

    def replayed(self):
        """A key sends more signed requests than compat.nonces_per_key, each with a nonce of its own."""
        toml = f"""
[compat]
enabled = true
nonces_per_key = 1000
[clients.legacy]
rate_limit = 1
burst = 1
access_keys = [{{ id = "{ACCESS_KEY}", secret = {{ value = "{SECRET}" }} }}]
"""
        gateway = self.gateway("replayed", toml)
        connection = http.client.HTTPConnection("127.0.0.1", gateway.public, timeout=20)
        encoded = lambda text: urllib.parse.quote(text, safe="-_.~")

        def signed(n):
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            parameters = {
                "Action": "Id2MetaVerify", "Version": "2019-03-07", "Format": "JSON", "AccessKeyId": ACCESS_KEY, "SignatureMethod": "HMAC-SHA1",
                "SignatureVersion": "1.0", "SignatureNonce": f"nonce-{n}", "Timestamp": now, "ParamType": "normal", "UserName": "测试者",
                "IdentifyNum": number(n),
            }
            query = "&".join(f"{encoded(key)}={encoded(value)}" for key, value in sorted(parameters.items()))
            digest = hmac.digest(f"{SECRET}&".encode(), f"GET&%2F&{encoded(query)}".encode(), "sha1")
            connection.request("GET", f"/?{query}&Signature={encoded(base64.b64encode(digest).decode())}")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        first = signed(0)
        if first[0] != 200 or '"OK"' not in first[1].upper() and '"200"' not in first[1]:
            raise RuntimeError(f"a signed request was answered with {first}")
        for n in range(1, 1001):
            signed(n)
        numbers = itertools.count(1001)
        self.again(5, lambda: signed(next(numbers)))

    def disk_full(self):
        """No file of the gateway may grow any more, so no paid call is made."""
        gateway = self.gateway("disk_full")
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        self.asks(gateway)

    def locked(self):
        """Another process holds the write lock of the database."""
        gateway = self.gateway("locked")
        self.asks(gateway)
        other = sqlite3.connect(gateway.folder / "ledger.db", timeout=10, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        self.activity.ending.append(other.close)

    def slow_disk(self):
        """The process is stopped for most of the time, mostly while it waits for the disk, as on a machine that swaps."""
        gateway = self.gateway("slow_disk")
        for _ in range(6):
            self.asks(gateway, 1000)

        def pause():
            gateway.process.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            gateway.process.send_signal(signal.SIGCONT)

        # Between two stops it makes a dozen commits on a fast machine, so that more than one in a hundred is slow.
        self.again(50, pause)

    def jumped(self):
        """The clock was right, and is a month ahead at the next start; the start after that finds entries of then."""
        # The shortest `keep`, so that a month is a jump.
        toml = 'keep = "24h"\n'
        for offset in ("-30d", "+0"):
            gateway = self.gateway("jumped", toml, is_scraped=False, environment=faketime() | {"FAKETIME": offset})
            caller = Caller(gateway)
            for _ in range(3):
                caller.ask(next(self.people))
            # The look at the ledger's time follows the first move from the spool to the database.
            time.sleep(2)
            gateway.stop()
        self.asks(self.gateway("jumped", toml), 2)

    def misconfigured(self):
        """A reload of a configuration with a mistake."""
        gateway = self.gateway("misconfigured", '[reload]\npoll = "0s"\n')
        good = gateway.file.read_text()
        gateway.file.write_text(f"{good}\n[no_such_section]\n")
        try:
            gateway.call("POST", "/v1/reload")
        except urllib.error.HTTPError:
            pass

    def hanging_file(self):
        """A file of the configuration is on a mount that hangs: a FIFO to which nobody writes."""
        secret = self.folder / "hanging.key"
        secret.write_text("synthetic-secret-of-a-pair")
        pair = f'access_keys = [{{ id = "{ACCESS_KEY}", secret = {{ file = "{secret}" }} }}]'
        self.gateway("hanging_file", f'[reload]\npoll = "1s"\n[clients.legacy]\n{pair}\n[compat]\nenabled = true\n')
        secret.unlink()
        os.mkfifo(secret)

    def stepped(self):
        """The wall clock of the gateway steps an hour ahead."""
        clock = self.folder / "clock"
        clock.write_text("+0")
        gateway = self.gateway("stepped", environment=faketime() | {"FAKETIME_TIMESTAMP_FILE": str(clock)})
        self.asks(gateway, 2)
        new = self.folder / "clock.new"
        new.write_text("+3600")
        os.replace(new, clock)

    def full_log(self):
        """The disk of the access log is full."""
        self.asks(self.gateway("full_log", log="/dev/full"))

    def distrusted(self):
        """The certificate ends in five days, and clients do not trust who issued it."""
        if not shutil.which("openssl"):
            raise FileNotFoundError("openssl is not here")
        certificate, key = self.folder / "server.pem", self.folder / "server.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "5", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
            check=True, timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        toml = f'[server.tls]\ncertificate = "{certificate}"\nkey = {{ file = "{key}" }}\n'
        gateway = self.gateway("distrusted", toml)

        def distrusting():
            with socket.create_connection(("127.0.0.1", gateway.public), 5) as connection:
                try:
                    ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
                except ssl.SSLError:
                    pass

        self.again(10, distrusting)
