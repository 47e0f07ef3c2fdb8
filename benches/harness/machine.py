"""Processes, their processor time and memory, and how busy the machine is. Linux only."""

import atexit
import contextlib
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Everything that is built, downloaded or written.
WORK = ROOT / "target" / "bench"
TICKS = os.sysconf("SC_CLK_TCK")
PROCESSORS = sorted(os.sched_getaffinity(0))
# What is measured has the first processor for itself; load generator and provider share the last one.
SERVER, OTHERS = {PROCESSORS[0]}, {PROCESSORS[-1]}
# Proxies are for the way out, not for loopback.
CLEAN = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


def stat(pid):
    """The fields of /proc/PID/stat after the name, or None."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(root):
    """The process and its living descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def processor_seconds(root):
    """User and system time of the tree so far, ended children included."""
    return sum(int(field) for pid in tree(root) if (fields := stat(pid)) for field in fields[11:15]) / TICKS


def resident_mib(root):
    """Resident memory of the tree; shared pages are counted once."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    return total / 1024


def busy_seconds():
    """The time that all processors have not been idle since boot, stolen time included."""
    user, nice, system, idle, wait, *rest = (int(one) for one in Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS


def children_seconds():
    """The processor time of this script's ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wait_until_idle(limit=120):
    """Waits for half a second in which the machine does nothing, or for `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(0.5)
        if (busy_seconds() - before) / 0.5 / len(PROCESSORS) < 0.04:
            return


def pin(processors):
    return lambda: os.sched_setaffinity(0, processors)


class Process:
    """A server that was started, with its output in a file. Ended at the latest when this script ends."""

    running = []

    def __init__(self, name, command, processors=None, env=None, cwd=None, stdout=None):
        folder = WORK / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, folder / f"{name}.log"
        began = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log, cwd=cwd,
                env=CLEAN | (env or {}), preexec_fn=pin(processors) if processors else None, start_new_session=True,
            )
        self.pid, self.began, self.ready_ms = self.process.pid, began, None
        Process.running.append(self)

    def fail(self, why):
        sys.exit(f"{self.name} {why}:\n{self.log.read_text(errors='replace')[-2000:]}")

    def wait_for(self, port, seconds=300):
        """Until it takes connections; how long that took is in `ready_ms`."""
        end = time.monotonic() + seconds
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    self.ready_ms = (time.monotonic() - self.began) * 1000
                    return
            if self.process.poll() is not None:
                self.fail("has ended")
            if time.monotonic() > end:
                self.fail("does not come up")
            time.sleep(0.001)

    def stop(self, patience=15):
        if self in Process.running:
            Process.running.remove(self)
        if self.process.poll() is None:
            pids = tree(self.pid)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait()


# So that an ended script ends what it started.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@atexit.register
def stop_all():
    for process in list(Process.running):
        process.stop()


def free_port():
    """Below the ports that the system gives to connections: it may be long until the server takes it."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def need(tools):
    """Ends with what is missing. `tools`: command → Debian's package."""
    missing = {package for command, package in tools.items() if not shutil.which(command)}
    if missing:
        sys.exit(f"missing: apt-get install --no-install-recommends {' '.join(sorted(missing))}")


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def jitter():
    """The 99th percentile of the same millisecond of work, on the server's processor, as a multiple of its median. What
    neighbours take from a virtual machine shows nowhere else."""
    allowed, work, took = os.sched_getaffinity(0), bytes(1 << 20), []
    os.sched_setaffinity(0, SERVER)
    for _ in range(2000):
        began = time.perf_counter()
        hashlib.sha256(work).digest()
        took.append(time.perf_counter() - began)
    os.sched_setaffinity(0, allowed)
    took.sort()
    return took[len(took) * 99 // 100] / took[len(took) // 2]


def circumstances():
    """What a table says about how it came to be."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    # The tables themselves may change.
    dirty = [line for line in git("status", "--porcelain", "--untracked-files=no").splitlines() if not line.endswith(".md")]
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git("rev-parse", "--short=7", "HEAD") + (" with uncommitted changes" if dirty else ""),
        "machine": f"{len(PROCESSORS)} × {model[1] if model else os.uname().machine}, Linux {os.uname().release}",
        "load": " ".join(Path("/proc/loadavg").read_text().split()[:3]),
        "jitter": jitter(),
    }
