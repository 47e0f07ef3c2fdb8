"""Callers at a fixed rate while something happens to the replicas."""

import asyncio
import collections
import random

from http1 import Broken
from people import number, verdict_of


class Load:
    """Asks about a person of `people`, three times each on average, at a random replica of those that are `up`."""

    def __init__(self, world, rate=200, first=0, people=1_000_000, seed=1):
        self.world, self.rate, self.first, self.people = world, rate, first, people
        self.chance = random.Random(seed)
        self.up = list(world.gateways)
        self.asked_at = collections.defaultdict(set)
        self.codes, self.times, self.failed, self.wrong, self.told = collections.Counter(), [], [], [], {}
        self.sources = {}
        self.next, self.is_over = first, False

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.is_over = True
        await self.task

    async def run(self):
        clock = asyncio.get_running_loop().time
        began, sent, running = clock(), 0, set()
        while not self.is_over:
            while sent < (clock() - began) * self.rate:
                task = asyncio.create_task(self.one())
                running.add(task)
                task.add_done_callback(running.discard)
                sent += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*running)

    def person(self):
        """A new one, or one of the last thousand again."""
        if self.next == self.first or self.chance.random() < 1 / 3:
            self.next += 1
            return self.next - 1
        return self.chance.randint(max(self.first, self.next - 1000), self.next - 1)

    async def one(self):
        n, gateway = self.person(), self.chance.choice(self.up)
        self.asked_at[n].add(gateway.name)
        at = asyncio.get_running_loop().time()
        try:
            answer = await gateway.ask(n)
        except Broken as error:
            return self.failed.append((n, gateway.name, f"broken: {error}"))
        self.times.append((at, answer.seconds))
        if answer.status != 200:
            self.codes[answer.json.get("code", answer.status)] += 1
            return self.failed.append((n, gateway.name, answer.json.get("code", answer.status), answer.json.get("attempts")))
        told = answer.json
        self.codes[told["provenance"]["source"]] += 1
        self.told[told["verification_id"]] = f"r-{n}"
        self.sources[told["verification_id"]] = told["provenance"]["source"]
        if told["verdict"] != verdict_of(number(n)):
            self.wrong.append((n, told["verdict"]))

    def percentile(self, share, since=0.0, until=float("inf")):
        """Milliseconds, of what was asked between two moments."""
        times = sorted(seconds for at, seconds in self.times if since <= at < until)
        return times[min(len(times) - 1, int(len(times) * share))] * 1000 if times else float("nan")

    async def extra_calls(self):
        """Calls beyond one for each person; and the most that replicas which cannot see each other may make."""
        calls = await self.world.provider.calls()
        extra = sum(calls.get(number(n), 0) - 1 for n in self.asked_at if calls.get(number(n), 0) > 1)
        return extra, sum(len(replicas) - 1 for replicas in self.asked_at.values())

    def check(self):
        assert not self.failed, f"{len(self.failed)} failed, such as {self.failed[:3]}"
        assert not self.wrong, f"wrong verdicts: {self.wrong[:3]}"
