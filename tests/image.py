#!/usr/bin/env python3
"""Builds the image's last stage without a container engine, and runs it as its user with a read-only root.

  tests/image.py [BINARY]      default: target/debug/idgate

Reads the Dockerfile: what is copied, the user, the volume, the environment, the entry point, the health check, and how
the binary is stripped. A Debian root made by debootstrap stands for the base image, and is kept in target/image. Then:
the image as it is refuses to start and says why; with a configuration it answers a question through a provider (a
sandbox beside it), is healthy, writes files that nobody else can read, and only into its volume, and ends on SIGTERM.
Needs root, debootstrap, objcopy, unshare and the mirror of apt. Everything has a deadline.
"""

import hashlib
import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "target/debug/idgate").resolve()
BASE = PROJECT / "target/image"
DEBIAN = "bookworm"
PATIENCE = 60
CODE, KEY, OPERATOR = "synthetic-app-code", "synthetic-key", "synthetic-operator-key"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def instructions():
    """The stages of the Dockerfile: a list of (instruction, rest) each, without comments, continued lines joined."""
    lines = [line for line in (PROJECT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages = [[]]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        if word:
            stages[-1].append((word, rest.strip()))
    return stages[1:]


class Image:
    """What the last stage says."""

    def __init__(self):
        *before, last = instructions()
        only = lambda word: [rest for name, rest in last if name == word]
        self.copies = [shlex.split(rest) for rest in only("COPY")]
        self.environment = dict(pair.split("=", 1) for rest in only("ENV") for pair in shlex.split(rest))
        (self.volume,) = only("VOLUME")
        (self.user,) = only("USER")
        self.entry_point = json.loads(only("ENTRYPOINT")[-1])
        self.command = json.loads(only("CMD")[-1])
        self.health = json.loads(only("HEALTHCHECK")[-1].partition("CMD ")[2])
        runs = " && ".join(rest for stage in before for name, rest in stage if name == "RUN")
        self.strips = [shlex.split(part) for part in runs.split("&&") if part.strip().startswith("objcopy")]
        self.first_copies = next(shlex.split(rest)[:-1] for name, rest in before[0] if name == "COPY")


def mirror():
    """apt's mirror of Debian, from whatever it is configured with."""
    folder = pathlib.Path("/etc/apt")
    texts = [path.read_text() for path in [folder / "sources.list", *folder.glob("sources.list.d/*")] if path.is_file()]
    for text in texts:
        for block in re.split(r"\n\s*\n", text):
            of = lambda key: re.findall(rf"^{key}:\s*(.*)$", block, re.MULTILINE)
            if any(DEBIAN in suites.split() for suites in of("Suites")) and of("URIs"):
                return of("URIs")[0].split()[0]
        found = re.search(rf"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+{DEBIAN}\s", text, re.MULTILINE)
        if found:
            return found[1]
    sys.exit(f"apt has no mirror of {DEBIAN}")


def base():
    """The Debian root, made once."""
    root, is_done = BASE / "root", BASE / "done"
    if not is_done.exists():
        shutil.rmtree(BASE, ignore_errors=True)
        BASE.mkdir(parents=True)
        command = ["debootstrap", "--variant=minbase", DEBIAN, str(root), mirror()]
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
        if made.returncode:
            sys.exit(f"debootstrap failed:\n{made.stdout[-3000:]}")
        is_done.touch()
    return root


def build(image, root, work):
    """What the RUN and COPY lines make, in the Debian root."""
    # The layer of the dependencies must be a package that cargo accepts.
    package = work / "package"
    (package / "src").mkdir(parents=True)
    for name in image.first_copies:
        shutil.copy(PROJECT / name, package / name)
    (package / "src/main.rs").write_text("fn main() {}\n")
    (package / "src/lib.rs").touch()
    metadata = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    subprocess.run(metadata, cwd=package, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)

    out = work / "out"
    (out / "var/lib/idgate").mkdir(parents=True, mode=0o700)
    os.chmod(out / "var/lib/idgate", 0o700)
    shutil.copy(BINARY, out / "idgate")
    before = (out / "idgate").stat().st_size
    for command in image.strips:
        here = [part.replace("/out/", f"{out}/") for part in command]
        subprocess.run(here, check=True, timeout=300)
    after = (out / "idgate").stat().st_size
    assert after < before / 2, f"the binary is not stripped: {before} bytes before, {after} after"
    assert b".gnu_debuglink" in (out / "idgate").read_bytes(), "nothing leads to the debug file"
    print(f"stripped: {before >> 20} MiB before, {after >> 20} MiB after")

    for *options, source, target in image.copies:
        is_built = any(option.startswith("--from=build") for option in options)
        owner = next((option[8:] for option in options if option.startswith("--chown=")), "0:0")
        source = out / source.removeprefix("/out/") if is_built else PROJECT / source
        where = root / target.lstrip("/")
        command = ["cp", "-R", "--preserve=mode"]
        if source.is_dir():
            # Docker copies what is in a folder; the folder it is copied to stays as it is.
            shutil.rmtree(root / image.volume.lstrip("/"), ignore_errors=True)
            paths = [(entry, where / entry.name) for entry in source.iterdir()]
        else:
            where.parent.mkdir(parents=True, exist_ok=True)
            paths = [(source, where)]
        for one, there in paths:
            subprocess.run([*command, str(one), str(there)], check=True, timeout=PATIENCE)
            subprocess.run(["chown", "-R", owner, str(there)], check=True, timeout=PATIENCE)


# Mounts the root read-only over itself, then the volume and a configuration, in a namespace of their own.
INSIDE = """
set -eu
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount --bind "$DISK" "$ROOT$VOLUME"
if [ -n "$MOUNTED" ]; then mount --bind "$MOUNTED" "$ROOT$AT"; fi
mount -o remount,bind,ro "$ROOT"
umask 000
exec env -i PATH="$PATH" "$SETTING" chroot "$ROOT" setpriv --reuid "${AS%:*}" --regid "${AS#*:}" --clear-groups \
  --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class Container:
    def __init__(self, image, root, disk, mounted=None):
        (name, at), = image.environment.items()
        self.environment = dict(os.environ, ROOT=str(root), DISK=str(disk), VOLUME=image.volume, AS=image.user)
        self.environment |= {"MOUNTED": str(mounted or ""), "AT": at, "SETTING": f"{name}={at}"}

    def start(self, *command):
        inside = ["unshare", "--mount", "sh", "-c", INSIDE, "sh", *command]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(inside, env=self.environment, text=True, **output)

    def run(self, *command):
        process = self.start(*command)
        try:
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        return process.returncode, out


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    return [one.getsockname()[1] for one in sockets]


def request(port, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    sent = json.dumps(body).encode() if body else None
    connection.request("POST" if body else "GET", path, sent, {"Content-Type": "application/json"} | (headers or {}))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def until_ready(process, port, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{what} has ended:\n{process.stdout.read()[-3000:]}")
        try:
            if request(port, "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{what} is not ready after {PATIENCE} s")


def main():
    assert os.geteuid() == 0, "needs root, to mount and to change the user"
    image, root = Image(), base()
    settings = [name for name in image.environment if name.startswith("IDGATE__")]
    assert not settings, f"ENV overrides a mounted file: {settings}"
    uid, gid = map(int, image.user.split(":"))
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        try:
            build(image, root, work)
            made = (root / image.volume.lstrip("/")).stat()
            assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (uid, gid, 0o700), "the folder is not the user's"
            # A new volume takes owner and mode from the folder of the image.
            disk = work / "volume"
            disk.mkdir()
            disk.chmod(0o700)
            os.chown(disk, uid, gid)

            code, out = Container(image, root, disk).run(*image.entry_point, *image.command)
            assert code == 78 and "[clients.NAME]" in out and "[operators.NAME]" in out, f"{code}\n{out}"
            print("without a configuration: refuses to start, and says what is missing")

            public, admin, behind, behind_admin = free_ports(4)
            upstream = work / "upstream.toml"
            upstream.write_text(
                f'[log]\nfile = "/dev/null"\n[compat]\nenabled = true\n[clients.image]\n'
                f'app_codes = [{{ id = "a", sha256 = "{sha256(CODE)}" }}]\n'
            )
            sandbox = [str(BINARY), "sandbox", "--config", str(upstream)]
            sandbox += ["--listen", f"127.0.0.1:{behind}", "--admin-listen", f"127.0.0.1:{behind_admin}"]
            processes.append(subprocess.Popen(sandbox, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            until_ready(processes[-1], behind_admin, "the provider")

            mounted = work / "idgate.toml"
            mounted.write_text(
                f'[server]\nlisten = "127.0.0.1:{public}"\nadmin_listen = "127.0.0.1:{admin}"\n'
                f'[clients.image]\nkeys = [{{ id = "k", sha256 = "{sha256(KEY)}" }}]\n'
                f'[operators.image]\nkeys = [{{ id = "o", sha256 = "{sha256(OPERATOR)}" }}]\n'
                f'[cache]\ndigest_key = {{ value = "synthetic-digest-key-0123456789abcdef" }}\n'
                f'[ledger]\nfile = "{image.volume}/ledger.db"\n[chain]\norder = ["yunyi"]\n[providers.yunyi]\n'
                f'driver = "yunyi"\nendpoints = ["http://127.0.0.1:{behind}"]\napp_code = {{ value = "{CODE}" }}\n'
            )
            mounted.chmod(0o644)
            container = Container(image, root, disk, mounted)
            tries = f"touch /made || touch /etc/idgate/made; touch {image.volume}/mine"
            code, out = container.run("/bin/sh", "-c", tries)
            assert code == 0 and out.count("Read-only file system") == 2, f"the root is not read-only: {code}\n{out}"
            (disk / "mine").unlink()

            gateway = container.start(*image.entry_point, *image.command)
            processes.append(gateway)
            until_ready(gateway, admin, "the image")
            status = pathlib.Path(f"/proc/{gateway.pid}/status").read_text()
            ids = {name: set(map(int, rest.split())) for name, rest in re.findall(r"^(Uid|Gid):\t(.*)$", status, re.M)}
            assert ids == {"Uid": {uid}, "Gid": {gid}}, ids
            question = {"name": "张三", "id_number": "11010519491231002X"}
            code, body = request(public, "/v1/verify", question, {"Authorization": f"Bearer {KEY}"})
            assert code == 200 and json.loads(body)["verdict"] == "match", f"{code} {body}"
            code, out = container.run(*image.health)
            assert code == 0, f"the health check: {code}\n{out}"
            print("with one: answers a question and is healthy, as its user, with a read-only root")

            gateway.send_signal(signal.SIGTERM)
            out, _ = gateway.communicate(timeout=PATIENCE)
            assert gateway.returncode == 0, f"SIGTERM: {gateway.returncode}\n{out[-3000:]}"
            files = {path.name: path.stat() for path in disk.iterdir()}
            assert {"ledger.db", "ledger.lock", "ledger.begun", "ledger.spool"} <= files.keys(), sorted(files)
            modes = {name: (oct(one.st_mode & 0o777), one.st_uid) for name, one in files.items()}
            assert set(modes.values()) == {("0o600", uid)}, f"others may read them: {modes}"
            print(f"ends on SIGTERM; {len(files)} files, each with the mode 0600 under umask 000")
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait(timeout=PATIENCE)


main()
