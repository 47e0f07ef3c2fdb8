"""The replicas: three processes of the same binary, with what they share."""

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import subprocess

from http1 import Broken, Http
from people import NAME, number
from services import Forwarder, Postgres, Provider, Redis, Service

SHARED = """
[shared]
redis = ["unix:{redis}"]
tls = false
takeover = "{takeover}"
patience = "{patience}"
namespace = "{namespace}"
"""
KEYS = {name: f"idg_{name}-key-of-the-replicas-synthetic-0123456789" for name in ("payout", "limited", "slow", "capped")}
CONFIGURATION = """
[server]
listen = "127.0.0.1:{public}"
admin_listen = "127.0.0.1:{admin}"
drain_notice = "{notice}"
request_timeout = "20s"
[log]
file = "{folder}/access.log"
[replica]
name = "{name}"
most = 3
{sharing}
[ledger]
spool_folder = "{folder}/spool"
spool_most = "{spool_most}"
[ledger.postgres]
host = "{postgres}"
database = "idgate"
user = "idgate"
schema = "{schema}"
migrate = {migrate}
[cache]
digest_key = {{ value = "synthetic-digest-key-0123456789abcdef" }}
match_ttl = "1h"
mismatch_ttl = "1h"
[enumeration]
numbers_per_client = 0
[clients.payout]
keys = [{{ id = "p", sha256 = "{payout}" }}]
rate_limit = 100000
[clients.limited]
keys = [{{ id = "l", sha256 = "{limited}" }}]
rate_limit = 100000
[clients.slow]
keys = [{{ id = "s", sha256 = "{slow}" }}]
rate_limit = 50
[clients.capped]
keys = [{{ id = "c", sha256 = "{capped}" }}]
rate_limit = 100000
daily_cap = 100
[clients.limited.budget]
calls_per_day = 100
[providers.mock]
driver = "muzhiyun"
endpoints = ["http://127.0.0.1:{provider}"]
app_code = {{ value = "synthetic0app0code00000000000001" }}
rate_limit = {rate}
max_concurrency = 2000
attempt_timeout = "12s"
[chain]
order = ["mock"]
budget = "15s"
{more}
"""
DEFAULTS = {
    "rate": 100_000, "notice": "0s", "patience": "50ms", "takeover": "2s", "namespace": "idgate", "spool_most": "4GiB",
    "schema": "idgate", "migrate": "true", "more": "",
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Gateway(Service):
    """One replica. Its ports stay the same over restarts."""

    # Of its processes, such as another clock; None: the usual.
    environment = None

    def __init__(self, world, index, settings):
        self.name, self.world, self.settings = f"r{index}", world, settings
        self.folder = world.folder / self.name
        (self.folder / "spool").mkdir(parents=True, exist_ok=True, mode=0o700)
        self.public, self.admin = free_port(), free_port()
        self.forwarder = Forwarder(self.folder / "redis.sock", world.redis.socket) if world.is_forwarded else None
        self.http, self.operator = Http(self.public), Http(self.admin)
        self.binary = world.binary

    def configure(self):
        hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        values = DEFAULTS | self.settings | hashes | {
            "public": self.public, "admin": self.admin, "folder": self.folder, "name": self.name,
            "postgres": self.world.postgres.folder, "provider": self.world.provider.port,
            "redis": self.forwarder.socket if self.forwarder else self.world.redis.socket,
        }
        sharing = SHARED.format(**values) if self.world.shares else ""
        (self.folder / "idgate.toml").write_text(CONFIGURATION.format(sharing=sharing, **values))

    def start(self):
        self.configure()
        self.spawn([self.binary, "serve", "--config", self.folder / "idgate.toml"], self.folder / "log", self.environment)

    async def stop(self):
        """As an operator stops it."""
        self.signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait)

    async def ready(self):
        end = asyncio.get_running_loop().time() + 40
        while True:
            try:
                if (await self.operator.request("GET", "/readyz")).status == 200:
                    return
            except Broken:
                pass
            if self.process.poll() is not None or asyncio.get_running_loop().time() > end:
                raise RuntimeError(f"{self.name} does not come up:\n" + (self.folder / "log").read_text()[-3000:])
            await asyncio.sleep(0.05)

    async def ask(self, n, client="payout", reference=None, **headers):
        body = json.dumps({"name": NAME, "id_number": number(n), "reference": reference or f"r-{n}"}).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers |= {"Content-Type": "application/json", "Authorization": f"Bearer {KEYS[client]}"}
        return await self.http.request("POST", "/v1/verify", body, headers)

    async def look_up(self, verification, client="payout"):
        """The answer of this id, from the ledger."""
        return await self.http.request("GET", f"/v1/verifications/{verification}", b"", {"Authorization": f"Bearer {KEYS[client]}"})

    async def status(self):
        return (await self.operator.request("GET", "/v1/status")).json

    async def metric(self, name, **labels):
        """The sum of the series of this name that have these labels."""
        total = 0.0
        for line in (await self.operator.request("GET", "/metrics")).body.decode().splitlines():
            found = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
            if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
                total += float(found[2])
        return total

    def unread(self):
        """Bytes that callers have sent and this process has not read."""
        found = 0
        with open("/proc/net/tcp", encoding="ascii") as file:
            for line in list(file)[1:]:
                _, local, _, _, queues, *_ = line.split()
                if int(local.split(":")[1], 16) == self.public:
                    found += int(queues.split(":")[1], 16)
        return found

    def processor_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class World:
    """All of it, for one row of the table."""

    def __init__(self, folder, template, binary, old=None, shares=True, forwarded=False, starts_old=False, **settings):
        self.folder, self.template, self.binary, self.old = folder, template, binary, old or binary
        self.shares, self.is_forwarded = shares, forwarded
        self.redis, self.postgres = Redis(folder), Postgres(folder / "pg")
        self.provider = Provider(free_port(), folder / "provider.log")
        self.gateways = [Gateway(self, index, settings) for index in range(3)]
        for gateway in self.gateways if starts_old else []:
            gateway.binary = self.old

    async def __aenter__(self):
        self.provider.start()
        self.redis.start()
        self.postgres.create(self.template)
        for gateway in self.gateways:
            if gateway.forwarder:
                await gateway.forwarder.start()
            gateway.start()
        await asyncio.gather(*(gateway.ready() for gateway in self.gateways))
        if self.shares:
            await self.until("all replicas share", self.is_shared)
        return self

    async def __aexit__(self, *_):
        for service in [*self.gateways, self.redis, self.provider, self.postgres]:
            service.kill()
        for gateway in self.gateways:
            if gateway.forwarder:
                await gateway.forwarder.close()

    async def until(self, what, check, seconds=30):
        """Waits for a condition, and returns how long that took."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while not await check():
            if clock() - began > seconds:
                raise AssertionError(f"not within {seconds} s: {what}")
            await asyncio.sleep(0.02)
        return clock() - began

    async def is_shared(self):
        """Every replica reaches Redis, and knows all the others."""
        for gateway in self.gateways:
            if await gateway.metric("idgate_shared_up") != 1 or await gateway.metric("idgate_replicas", state="live") != len(self.gateways):
                return False
        return True

    async def until_read(self, count):
        """Waits until `count` more questions are written, and the replicas have read them and do nothing but wait."""
        def written():
            return sum(gateway.http.written for gateway in self.gateways)

        def used():
            return sum(gateway.processor_seconds() for gateway in self.gateways)

        first = written()

        async def check():
            before = used()
            await asyncio.sleep(0.1)
            return written() - first >= count and not any(gateway.unread() for gateway in self.gateways) and used() == before

        await self.until(f"{count} questions are read", check)

    async def metric(self, name, **labels):
        return sum([await gateway.metric(name, **labels) for gateway in self.gateways])

    def ledger_verify(self, *more):
        """What `idgate ledger verify` says about PostgreSQL."""
        command = [self.binary, "ledger", "verify", "--config", self.gateways[0].folder / "idgate.toml", *more]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, env={}, check=False)
