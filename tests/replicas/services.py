"""Redis, PostgreSQL and the provider, each in a folder of this run, and what stands between Redis and a replica."""

import asyncio
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from http1 import Http

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 30


def wait_for(what, check):
    end = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} does not come up")
        time.sleep(0.02)


class Service:
    """A process that can be stopped, continued, killed and started again."""

    process = None

    def spawn(self, command, log, environment=None):
        command = [str(part) for part in command]
        environment = environment or {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        with open(log, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)

    def signal(self, which):
        self.process.send_signal(which)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if self.process:
            self.process.wait()


class Redis(Service):
    def __init__(self, folder, name="redis"):
        self.folder, self.socket = folder, folder / f"{name}.sock"

    def start(self, of=None):
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no"]
        command += ["--dir", self.folder, "--dbfilename", f"{self.socket.stem}.rdb", "--maxmemory-policy", "volatile-lru"]
        self.spawn(command + ["--repl-diskless-sync-delay", "0"], self.folder / "redis.log")
        wait_for("Redis", lambda: self.say("PING") == "PONG")

    def say(self, *words):
        said = subprocess.run(["redis-cli", "-s", self.socket, *map(str, words)], capture_output=True, text=True, check=False)
        return said.stdout.strip()


class Postgres(Service):
    """PostgreSQL refuses to run as root, so root runs it as nobody."""

    def __init__(self, folder):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) + [os.path.dirname(shutil.which("postgres") or "")]
        self.bin = next((pathlib.Path(path) for path in found if path and os.access(f"{path}/initdb", os.X_OK)), None)
        if not self.bin:
            sys.exit("PostgreSQL is not here: install the Debian package postgresql")
        self.folder, self.data = folder, folder / "postgres"
        self.run_as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []

    def create(self, template):
        """Copies `template`, which the first one makes: initdb takes seconds."""
        self.folder.mkdir(exist_ok=True)
        self.own(self.folder)
        if not template.exists():
            initdb = [self.bin / "initdb", "-D", self.data, "-A", "trust", "-U", "idgate", "-E", "UTF8", "--no-locale", "--no-sync"]
            subprocess.run([str(part) for part in self.run_as + initdb], check=True, capture_output=True, cwd="/")
            subprocess.run(["cp", "-a", self.data, template], check=True)
        else:
            subprocess.run(["cp", "-a", template, self.data], check=True)
        self.start()
        self.run("createdb", "idgate")

    def own(self, folder):
        if self.run_as:
            shutil.chown(folder, "nobody", "nogroup")

    def start(self):
        command = [*self.run_as, self.bin / "postgres", "-D", self.data, "-k", self.folder, "-c", "listen_addresses="]

        def is_ready():
            # After kill -9 it refuses to start until its orphaned backends have noticed.
            if self.process is None or self.process.poll() is not None:
                self.spawn(command, self.folder.parent / "postgres.log")
            return self.run("pg_isready", check=False).returncode == 0

        wait_for("PostgreSQL", is_ready)

    def run(self, program, *arguments, check=True):
        command = [self.bin / program, "-h", self.folder, "-U", "idgate", *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=check)

    def ask(self, query):
        """The rows of a query, as lists of text."""
        out = self.run("psql", "-d", "idgate", "-X", "-A", "-t", "-F", "\t", "-c", f"SET search_path TO idgate; {query}").stdout
        return [line.split("\t") for line in out.splitlines() if line and line != "SET"]

    def copy(self):
        """Copies the files of the stopped server, as a backup has them."""
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        subprocess.run(["cp", "-a", self.data, self.folder / "copy"], check=True)

    def restore(self):
        """Puts the copy in place of the files of the stopped server."""
        shutil.rmtree(self.data)
        subprocess.run(["cp", "-a", self.folder / "copy", self.data], check=True)

    def stop(self):
        """As an operator stops it."""
        self.signal(signal.SIGINT)
        self.process.wait()


class Provider(Service):
    def __init__(self, port, log):
        self.port, self.log = port, log

    def start(self):
        self.spawn([sys.executable, HERE / "provider.py", self.port], self.log)
        wait_for("the provider", self.listens)

    def listens(self):
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    async def tell(self, path):
        http = Http(self.port)
        try:
            return json.loads((await http.request("GET", path)).body)
        finally:
            http.close()

    async def calls(self):
        """How often it was asked, by number."""
        return (await self.tell("/calls"))["by_number"]

    async def arrivals(self):
        return (await self.tell("/calls"))["arrivals"]

    async def set(self, delay=0.0, fails=False):
        await self.tell(f"/set?delay={delay}&fails={int(fails)}")

    async def hold(self):
        await self.tell("/hold")

    async def release(self):
        await self.tell("/release")


class Forwarder:
    """Passes one replica's bytes to Redis and back, unless it is told to wait or to cut."""

    def __init__(self, socket, to):
        self.socket, self.to = socket, to
        self.delay, self.is_cut = 0.0, False
        self.pairs, self.tasks = set(), set()

    async def start(self):
        self.server = await asyncio.start_unix_server(self.serve, self.socket)

    async def serve(self, reader, writer):
        if self.is_cut:
            return writer.close()
        try:
            there, back = await asyncio.open_unix_connection(self.to)
        except OSError:
            return writer.close()
        pair = (writer, back)
        self.pairs.add(pair)
        self.tasks.add(asyncio.current_task())
        try:
            await asyncio.gather(self.pump(reader, back, True), self.pump(there, writer, False))
        finally:
            self.pairs.discard(pair)
            self.tasks.discard(asyncio.current_task())

    async def pump(self, reader, writer, is_command):
        try:
            while data := await reader.read(1 << 16):
                if is_command and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self):
        self.is_cut = True
        self.drop()

    def drop(self):
        for pair in list(self.pairs):
            for writer in pair:
                writer.transport.abort()

    def mend(self):
        self.is_cut = False

    async def close(self):
        self.server.close()
        self.cut()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def point_at(self, to):
        self.to = to
        self.drop()
