"""The vendors' clients in the versions that are pinned here, below target/vendors, from whatever indexes pip and npm are set up for.

What stands is kept until a pin changes. `python3 tests/vendors/installing.py` does only this.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.join(ROOT, "target", "vendors")
# A folder of Python for each list of pins: the versions of some clients do not go together.
PYTHONS = sorted(name[len("requirements-"):-len(".txt")] for name in os.listdir(HERE) if name.startswith("requirements-"))
# Some packages come as sources only, and are built with these instead of a download for each.
BUILD = ["setuptools==80.9.0", "wheel==0.45.1"]


def python(version):
    """The interpreter that has the Python clients of that version."""
    return os.path.join(TARGET, f"python-{version}", "bin", "python")


def node_modules():
    """Where Node finds its clients."""
    return os.path.join(TARGET, "node", "node_modules")


def install():
    """Installs what is missing or pinned otherwise; raises if it cannot be had."""
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(virtualenv, version) for version in PYTHONS] + [pool.submit(node)]
        for job in jobs:
            job.result()


def virtualenv(version):
    requirements = os.path.join(HERE, f"requirements-{version}.txt")
    folder = os.path.join(TARGET, f"python-{version}")

    def fill():
        run([sys.executable, "-m", "venv", folder])
        pip = [python(version), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        run(pip + BUILD)
        # Every package is in the list, in a version that was tried with the others.
        run(pip + ["--no-deps", "--no-build-isolation", "--requirement", requirements])

    once(folder, [requirements], fill)


def node():
    folder = os.path.join(TARGET, "node")
    pins = [os.path.join(HERE, "package.json"), os.path.join(HERE, "package-lock.json")]

    def fill():
        for pin in pins:
            shutil.copy(pin, folder)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder])

    once(folder, pins, fill)


def once(folder, pins, fill):
    """Fills the folder anew unless it was filled from these very pins."""
    digest = hashlib.sha256(b"".join(open(pin, "rb").read() for pin in pins)).hexdigest()
    done = os.path.join(folder, "pins.sha256")
    if os.path.exists(done) and open(done, encoding="ascii").read() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    fill()
    with open(done, "w", encoding="ascii") as file:
        file.write(digest)


def run(words):
    subprocess.run(words, stdin=subprocess.DEVNULL, check=True, timeout=600)


if __name__ == "__main__":
    install()
