"""Runs the clients as processes that read one request a line and write what the client returned or raised."""

import glob
import json
import os
import re
import subprocess
import sys

import installing

CLIENTS = os.path.join(installing.HERE, "clients")


def interpreter(word):
    """`python:VERSION` is a virtualenv, `this` the current interpreter, anything else a program."""
    name, _, version = word.partition(":")
    return installing.python(version) if name == "python" else sys.executable if name == "this" else word


# The files of all vendors: clients, keys and faults.
VENDORS = [json.load(open(path, encoding="utf-8")) for path in sorted(glob.glob(f"{CLIENTS}/*.json"))]
# Name in the table: command, the provider whose protocol it uses, the kind of credential.
KINDS = {
    name: ([interpreter(kind["run"][0]), f"{CLIENTS}/{kind['run'][1]}", *kind["run"][2:]], kind["provider"], kind["shows"])
    for vendor in VENDORS
    for name, kind in vendor["kinds"].items()
}


def merged(part):
    """Merges one part of all vendors' files."""
    return {name: value for vendor in VENDORS for name, value in vendor.get(part, {}).items()}


UUID = re.compile(r"\b[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b")
# Values that change with time.
ONCE = {"age": "YEARS", "retry_after": "MILLISECONDS"}
# Some clients put the whole query, including the person, into their errors.
QUERY = re.compile(r"\?[^\s']+")


class Client:
    """A client in a process of its own."""

    def __init__(self, kind, endpoint, pairs):
        self.endpoint = endpoint
        # Excludes any proxy, profile or key of this machine.
        environment = {"PATH": os.environ["PATH"], "NODE_PATH": installing.node_modules(), "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            KINDS[kind][0] + [endpoint] + [word for pair in pairs for word in pair],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment,
        )

    def ask(self, person, pair):
        """Sends a request with one of its pairs of key and secret, without waiting for the answer."""
        name, id_number = person
        self.process.stdin.write(json.dumps({"name": name, "id_number": id_number, "pair": pair}) + "\n")
        self.process.stdin.flush()

    def said(self):
        """The client's next line, with values that vary between runs masked."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a client ended: {self.process.args}")
        return self.masked(json.loads(line))

    def masked(self, value):
        if isinstance(value, dict):
            same = {name: self.masked(one) for name, one in value.items() if one is not None}
            return {**same, **{name: word for name, word in ONCE.items() if same.get(name)}}
        if isinstance(value, str):
            return UUID.sub("REQUEST_ID", QUERY.sub("?QUERY", value.replace(self.endpoint, "ENDPOINT")))
        return value

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Party:
    """Clients of several kinds, ready to ask concurrently; a context manager that stops them."""

    def __init__(self, kinds, endpoint, pairs):
        """`endpoint` and `pairs` map a provider and a kind of credential to the address and the pairs to use."""
        self.clients = {kind: Client(kind, endpoint(*KINDS[kind][1:]), pairs(*KINDS[kind][1:])) for kind in kinds}
        for client in self.clients.values():
            client.said()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.end()

    def tell(self, case, person, kinds=None, pair=0):
        """All clients, or those of some kinds, ask at the same time; yields a line of the table for each."""
        asked = {kind: self.clients[kind] for kind in kinds or self.clients}
        for client in asked.values():
            client.ask(person, pair)
        for kind, client in asked.items():
            yield {"case": case, "client": kind, **client.said()}


def sample(endpoints, key, secret, person):
    """The output of the provider's own sample, with `endpoints` as its two regions."""
    done = subprocess.run(
        [installing.python("2.1.0"), f"{CLIENTS}/seed.py", *endpoints],
        input="\n".join(person), capture_output=True, text=True, encoding="utf-8", timeout=60, check=False,
        env={"ALIBABA_CLOUD_ACCESS_KEY_ID": key, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret, "PYTHONUTF8": "1"},
    )
    # A failure of the first region alone does not set the return code.
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.stdout.strip()
