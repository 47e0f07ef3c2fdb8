"""Three replicas in every kind of trouble that an alert is about, for tests/prometheus.py.

Redis, PostgreSQL, the provider and the gateways are those of tests/replicas. Each condition is a method of Replicas: it
produces the condition, tells which gateways are in it, and mends it once its alerts have fired, because the next one
begins with three healthy replicas again. Its text says how.
"""

import asyncio
import calendar
import contextlib
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from troubled import DAY, faketime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "replicas"))

from gateways import Gateway, World
from load import Load
from rows import forge, is_cut_off, level, lose_entries

# The one that all replicas ask, and nobody else.
PROVIDER = "mock"
# Questions a second. Each is asked three times on average, at any replica.
RATE = 20
PATIENCE = 60
# The longest that is taken, so that a spool fills sooner; the smallest spool that there may be.
REFERENCE, SPOOL = "r" * 128, "16MiB"


class Replicas:
    """All of it is done by one thread, in its own event loop."""

    # PostgreSQL loses what it got meanwhile, so nobody else may write anything of its own to it.
    FIRST = ("restored",)
    # Without Redis nobody is silent: that comes before one is.
    IN_TURN = ("forged", "slow", "redis_away", "one_too_many", "one_silent", "postgres_away")
    # It is no replica of the three.
    BESIDE = ("unmigrated",)

    def __init__(self, binary, prometheus):
        self.binary, self.prometheus = binary, prometheus
        self.wrong, self.troubled, self.finished = [], {}, set()
        self.around, self.all, self.producing = contextlib.AsyncExitStack(), None, None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    # For the thread of the test.

    def start(self):
        """Three healthy replicas under traffic."""
        # A short path: a Unix socket's has at most 107 bytes.
        folder = pathlib.Path(self.around.enter_context(tempfile.TemporaryDirectory(prefix="idgate-")))
        # PostgreSQL's user must get to its folder.
        folder.chmod(0o711)
        self.world = World(folder, folder / "template", self.binary, patience="500ms", spool_most=SPOOL)
        # Also if one of them does not come up.
        self.around.push_async_exit(self.world.__aexit__)
        self.do(self.set_up()).result(2 * PATIENCE)

    def begin(self):
        """Produces the conditions."""
        self.all = self.do(self.produce_all())

    def settle(self):
        """Waits until the last condition is mended."""
        try:
            self.all.result(PATIENCE)
        except TimeoutError:
            self.wrong.append(f"conditions {sorted(self.troubled)} of the replicas do not end")

    def has_caused(self, name, labels):
        """Whether an alert with these labels may come from this condition."""
        return name in self.troubled and ("instance" not in labels or labels["instance"] in self.troubled[name])

    def finish(self, name):
        """Mends a condition whose alerts have fired."""
        self.finished.add(name)

    def end(self):
        self.do(self.tear_down()).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    # For its own.

    async def set_up(self):
        await self.world.__aenter__()
        await self.scrape(*self.world.gateways)
        self.load = await self.around.enter_async_context(Load(self.world, RATE))

    async def tear_down(self):
        if self.producing:
            self.producing.cancel()
            await asyncio.gather(self.producing, return_exceptions=True)
        await self.around.aclose()

    async def scrape(self, *gateways):
        """Its counters are known as they are before anything happens."""
        self.prometheus.add(*(gateway.admin for gateway in gateways))
        for gateway in gateways:
            await self.world.until(f"{gateway.name} is scraped", lambda: self.is_scraped(gateway), PATIENCE)

    async def is_scraped(self, gateway):
        return await asyncio.to_thread(self.prometheus.has_scraped, gateway.admin)

    async def produce_all(self):
        self.producing = asyncio.create_task(self.produce_in_order())
        await self.producing
        if self.load.wrong:
            self.wrong.append(f"replicas told wrong verdicts: {self.load.wrong[:3]}")

    async def produce_in_order(self):
        await self.produce(self.FIRST)
        await asyncio.gather(self.produce(self.IN_TURN), self.produce(self.BESIDE))

    async def produce(self, names):
        for name in names:
            try:
                async with getattr(self, name)() as gateways:
                    self.troubled[name] = {f"127.0.0.1:{gateway.admin}" for gateway in gateways}
                    # Those that do not fire are named by the test. It is mended all the same.
                    with contextlib.suppress(AssertionError):
                        await self.world.until("its alerts fire", lambda: self.is_finished(name), PATIENCE)
            except Exception as error:  # pylint: disable=broad-except
                self.wrong.append(f"condition {name}: {type(error).__name__}: {error}")
            self.troubled.pop(name, None)

    async def is_finished(self, name):
        return name in self.finished

    async def all_share(self):
        await self.world.until("all replicas share again", self.world.is_shared, PATIENCE)

    async def all_keep_up(self):
        """While there is traffic, something always waits, but not for long."""

        async def keep_up():
            waited = [await gateway.metric("idgate_ledger_oldest_unmoved_seconds") for gateway in self.world.gateways]
            return max(waited) < 2

        await self.world.until("PostgreSQL gets what comes", keep_up, PATIENCE)

    # The conditions.

    @contextlib.asynccontextmanager
    async def forged(self):
        """Somebody with access to Redis copies the verdict about one person onto others, about whom other replicas ask."""
        forge(self.world)
        yield self.world.gateways

    @contextlib.asynccontextmanager
    async def restored(self):
        """PostgreSQL is restored to a copy that lacks what it had acknowledged."""
        await lose_entries(self.world)
        yield self.world.gateways
        await self.all_keep_up()

    @contextlib.asynccontextmanager
    async def slow(self):
        """Redis answers nobody for most of the time, as while it is forked; no command waits for longer than the patience."""

        async def pause():
            while True:
                await asyncio.to_thread(self.world.redis.say, "CLIENT", "PAUSE", "60", "ALL")
                await asyncio.sleep(0.1)

        async with meanwhile(pause()):
            yield self.world.gateways
        await self.all_share()

    @contextlib.asynccontextmanager
    async def redis_away(self):
        """Redis is killed. Nobody hears of the others then, which is no silence."""
        self.world.redis.kill()
        await self.world.until("all notice", self.all_are_cut_off)
        yield self.world.gateways
        if "IdgateReplicaSilent" in {alert["labels"]["alertname"] for alert in self.prometheus.get("alerts")["alerts"]}:
            self.wrong.append("IdgateReplicaSilent is about replicas that live, while Redis is away")
        self.world.redis.start()
        await self.all_share()

    async def all_are_cut_off(self):
        return all([await is_cut_off(gateway) for gateway in self.world.gateways])

    @contextlib.asynccontextmanager
    async def one_too_many(self):
        """A fourth replica is started, though replica.most is three, and with another configuration."""
        fourth = Gateway(self.world, 3, self.world.gateways[0].settings | {"rate": 50_000})
        self.world.gateways.append(fourth)
        fourth.start()
        await fourth.ready()
        await self.scrape(fourth)
        yield self.world.gateways
        self.prometheus.remove(fourth.admin)
        await fourth.stop()
        self.world.gateways.remove(fourth)
        await self.all_share()

    @contextlib.asynccontextmanager
    async def one_silent(self):
        """kill -9 of a replica, which is started again later."""
        silent = self.world.gateways[2]
        self.load.up.remove(silent)
        silent.kill()
        yield self.world.gateways
        silent.start()
        await silent.ready()
        await self.all_share()
        self.load.up.append(silent)

    @contextlib.asynccontextmanager
    async def postgres_away(self):
        """PostgreSQL is stopped, and one replica is asked so much that its spool is filled to more than four fifths."""
        one = self.world.gateways[0]
        self.world.postgres.stop()

        async def asks():
            for _ in range(100):
                await one.ask(0, reference=REFERENCE)

        async def fill():
            while await one.metric("idgate_ledger_spool_bytes") < 0.85 * await one.metric("idgate_ledger_spool_most_bytes"):
                await asyncio.gather(*(asks() for _ in range(20)))

        async with meanwhile(fill()):
            yield self.world.gateways
        self.world.postgres.start()
        await self.all_keep_up()

    @contextlib.asynccontextmanager
    async def unmigrated(self):
        """`idgate ledger migrate` was not run for three months, and the month, the last that has a partition, ends in days."""
        now = time.gmtime()
        ends = max(0, 26 - now.tm_mday) * DAY
        year, month = divmod(now.tm_year * 12 + now.tm_mon - 1 - 3, 12)
        ran = calendar.timegm((year, month + 1, 15, 0, 0, 0)) - time.time()
        # It shares nothing with the other three.
        more = {"schema": "late", "migrate": "false", "namespace": "late"}
        one = Gateway(self.world, 4, self.world.gateways[0].settings | more)
        one.configure()
        command = [self.binary, "ledger", "migrate", "--config", one.folder / "idgate.toml"]
        subprocess.run([str(part) for part in command], check=True, capture_output=True, env=faketime() | {"FAKETIME": f"{ran:+.0f}"})
        one.environment = faketime() | {"FAKETIME": f"{ends:+d}"}
        async with contextlib.AsyncExitStack() as around:
            around.callback(one.kill)
            # It looks at the months when it starts, from the newest entry on: there must be one.
            one.start()
            await one.ready()
            assert (await one.ask(0)).status == 200
            await self.world.until("its entries have reached PostgreSQL", lambda: level(one), PATIENCE)
            await one.stop()
            one.start()
            await one.ready()
            await self.scrape(one)
            yield [one]
            self.prometheus.remove(one.admin)


@contextlib.asynccontextmanager
async def meanwhile(coroutine):
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
