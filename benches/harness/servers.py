"""What is measured: idgate, the limits of its platform, what a user would pick instead; and the invented provider."""

import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from .machine import CLEAN, OTHERS, ROOT, SERVER, WORK, Process, free_port, need, pin

PEERS = ROOT / "benches" / "peers"
BIN = WORK / "cargo" / "release"
PERSON = '{"name":"张伟","id_number":"11010519491231002X"}'
LEDGER = {
    "IDGATE__LEDGER__FILE": "{{dir}}/ledger.db",
    "IDGATE__CACHE__DIGEST_KEY__VALUE": "bench-digest-key-0123456789abcdef",
}


@dataclass
class Kind:
    """A server that can be measured. {{name}} is filled in, in the command, in `env` and in the file `config`."""

    command: list
    hit: bool = True
    miss: bool = True
    # Whether it takes 4,000 misses a second on one processor.
    fast: bool = True
    # Whether it remembers answers.
    remembers: bool = False
    config: Path | None = None
    env: dict = field(default_factory=dict)
    tools: dict = field(default_factory=dict)


def gateway(binary, env):
    config = ROOT / "benches" / "gateway.toml"
    command = [binary, "serve", "--config", "{{dir}}/gateway.toml"]
    return Kind(command, remembers=True, config=config, env={"TOKIO_WORKER_THREADS": "1"} | env)


def kinds(binary, beside=None):
    """By name. `beside`: another binary of idgate, measured in the same run."""
    uvicorn = [WORK / "python/bin/uvicorn", "--app-dir", PEERS / "python", "app:app", "--port", "{{port}}", "--loop", "uvloop"]
    uvicorn += ["--http", "httptools", "--no-access-log", "--log-level", "error", "--backlog", "4096", "--timeout-keep-alive", "3600"]
    others = {"idgate-beside": gateway(beside, {}), "idgate-beside-ledger": gateway(beside, LEDGER)} if beside else {}
    return {
        "limit-axum": Kind([BIN / "limit-axum", "--listen", "127.0.0.1:{{port}}"], miss=False, env={"TOKIO_WORKER_THREADS": "1"}),
        "limit-proxy": Kind(
            [BIN / "limit-proxy", "--listen", "127.0.0.1:{{port}}", "--upstream", "{{upstream}}"],
            hit=False, env={"TOKIO_WORKER_THREADS": "1"},
        ),
        "idgate": gateway(binary, {}),
        "idgate-ledger": gateway(binary, LEDGER),
        **others,
        "nginx": Kind(
            ["nginx", "-c", "{{dir}}/nginx.conf", "-g", "daemon off;"],
            remembers=True, config=PEERS / "nginx.conf", tools={"nginx": "nginx-light"},
        ),
        "haproxy": Kind(
            ["haproxy", "-db", "-f", "{{dir}}/haproxy.cfg"],
            hit=False, config=PEERS / "haproxy.cfg", tools={"haproxy": "haproxy"},
        ),
        "node": Kind(
            ["node", PEERS / "node/server.js"], fast=False, remembers=True, tools={"node": "nodejs", "npm": "npm"},
            env={"PORT": "{{port}}", "UPSTREAM": "{{upstream}}", "NODE_ENV": "production", "NODE_PATH": f"{WORK}/node/node_modules"},
        ),
        "python": Kind(uvicorn, fast=False, remembers=True, env={"UPSTREAM": "{{upstream}}"}),
    }


REFERENCE = {"hit": "limit-axum", "miss": "limit-proxy"}


def set_up(chosen):
    """Builds and installs, below target/bench, what these need. Does nothing the second time."""
    # Debian's folders of daemons are not in everybody's PATH.
    os.environ["PATH"] = CLEAN["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    need({"cargo": "cargo"} | {command: package for kind in chosen.values() for command, package in kind.tools.items()})
    build = ["cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", PEERS / "rust/Cargo.toml"]
    subprocess.run(build, env=os.environ | {"CARGO_TARGET_DIR": str(WORK / "cargo")}, check=True)
    if "node" in chosen:
        npm = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        install("node", [PEERS / "node/package.json", PEERS / "node/package-lock.json"], [npm])
    if "python" in chosen:
        pins = PEERS / "python/requirements.txt"
        pip = [WORK / "python/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", pins]
        install("python", [pins], [[sys.executable, "-m", "venv", WORK / "python"], pip])


def install(name, pins, commands):
    """Runs `commands` in a new folder of this name that has `pins`, unless that was done with the same pins."""
    folder = WORK / name
    stamp, now = folder / "installed", hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()
    if stamp.exists() and stamp.read_text() == now:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for one in pins:
        shutil.copy(one, folder)
    for command in commands:
        subprocess.run(command, cwd=folder, check=True)
    stamp.write_text(now)


def build():
    """This checkout's idgate."""
    subprocess.run(["cargo", "build", "--locked", "--profile", "profiling", "--bin", "idgate"], cwd=ROOT, check=True)
    return ROOT / "target/profiling/idgate"


class Provider:
    """Answers at once, or after a delay."""

    def __init__(self, delay_ms=0):
        self.port = free_port()
        self.process = Process("provider", [BIN / "provider", "--listen", f"127.0.0.1:{self.port}", "--delay-ms", delay_ms],
                               OTHERS, {"TOKIO_WORKER_THREADS": "1"})
        self.process.wait_for(self.port)

    def asked(self):
        """How many questions it has had."""
        return int(get(self.port, "/count"))


class Target:
    """A running server."""

    def __init__(self, name, kind, provider, env=None, stdout=None, pinned=True):
        self.name, self.kind = name, kind
        self.folder = WORK / "run" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # Caches made of files are in memory where the system has that.
        self.files = Path(tempfile.mkdtemp(prefix="bench-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else self.folder))
        self.port, self.admin = free_port(), free_port()
        values = {"dir": self.folder, "files": self.files, "port": self.port, "admin": self.admin,
                  "upstream": f"127.0.0.1:{provider.port}"}

        def fill(text):
            return re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found[1]]), str(text))

        if kind.config:
            (self.folder / kind.config.name).write_text(fill(kind.config.read_text()))
        env = {name: fill(value) for name, value in (kind.env | (env or {})).items()}
        self.process = Process(name, [fill(word) for word in kind.command], SERVER if pinned else None, env, stdout=stdout)
        self.pid = self.process.pid
        self.process.wait_for(self.port)

    def ask(self):
        """One question, to see that it works."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json", "Authorization": "Bearer bench-key"}
        connection.request("POST", "/v1/verify", PERSON.encode(), headers)
        response = connection.getresponse()
        if response.status != 200:
            self.process.fail(f"answers {response.status} {response.read()}")
        connection.close()

    def load(self, **options):
        """Runs the load generator to its end. `draw=True` is a flag."""
        result = subprocess.run(load_command(self, **options), stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pin(OTHERS))
        return json.loads(result.stdout.splitlines()[-1])

    def metrics(self):
        """Sums of idgate's metrics by name."""
        sums = {}
        for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", get(self.admin, "/metrics"), re.M):
            sums[name] = sums.get(name, 0) + float(value)
        return sums

    def stop(self, patience=15):
        self.process.stop(patience)
        shutil.rmtree(self.files, ignore_errors=True)


def load_command(target, **options):
    command = [BIN / "load", "--to", f"127.0.0.1:{target.port}"]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return command


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text
