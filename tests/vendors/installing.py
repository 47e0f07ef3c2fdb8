"""Installs the pinned versions of the vendors' clients below target/vendors.

Uses the indexes that pip and npm are configured for. An installation is kept until a pin changes. `python3 tests/vendors/installing.py` only installs.
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
# One virtualenv for each list of pins, because some client versions conflict.
PYTHONS = sorted(name[len("requirements-"):-len(".txt")] for name in os.listdir(HERE) if name.startswith("requirements-"))
# Build tools for packages that come as sources only; without them, pip would download tools for each build.
BUILD = ["setuptools==80.9.0", "wheel==0.45.1"]


def python(version):
    """The interpreter of the virtualenv for this version."""
    return os.path.join(TARGET, f"python-{version}", "bin", "python")


def node_modules():
    """The folder of the Node clients, for NODE_PATH."""
    return os.path.join(TARGET, "node", "node_modules")


def install():
    """Installs what is missing or pinned to another version; raises on failure."""
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
        # The list has every dependency, in versions tested together.
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
    """Rebuilds the folder unless it was built from exactly these pins."""
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
