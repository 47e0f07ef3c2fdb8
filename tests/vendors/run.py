#!/usr/bin/env python3
"""The vendors' real clients against idgate: what each returns or raises, compared with tests/vendors/expected.jsonl.

  tests/vendors/run.py [--write] [BINARY]      default: target/debug/idgate, which `cargo test` has built

Nothing of a client is changed but endpoint, protocol and key. They ask the sandbox's simulators, which speak the providers'
protocols with the code that asks the real ones. One JSON line per client and case; --write puts what was seen into the
table. Needs Python and npm with their indexes the first time; all later traffic is on loopback. The clients are pinned in
requirements-*.txt and package.json. Not here: Java, PHP, Go and .NET.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import installing
from gateway import Gateway

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = os.path.join(HERE, "clients")
EXPECTED = os.path.join(HERE, "expected.jsonl")
# What hangs has failed.
LIMIT_SECONDS = 300

CURRENT = [installing.python("current"), f"{CLIENTS}/alibaba.py"]
OLD = [installing.python("2.1.0"), f"{CLIENTS}/alibaba.py"]
NODE = ["node", f"{CLIENTS}/alibaba.js"]
CURL = [sys.executable, f"{CLIENTS}/plain.py"]
# Name, command, the provider whose protocol it speaks.
KINDS = {
    "python": (CURRENT + ["cloudauth"], "aliyun"),
    "python-2.1.0": (OLD + ["cloudauth"], "aliyun"),
    "python-core": (CURRENT + ["core"], "aliyun"),
    "python-intl": (CURRENT + ["intl"], "aliyun_intl"),
    "node": (NODE + ["cloudauth"], "aliyun"),
    "pop-core-post": (NODE + ["pop-core-post"], "aliyun"),
    "pop-core-get": (NODE + ["pop-core-get"], "aliyun"),
    "appcode-idcard": (NODE + ["appcode-idcard"], "muzhiyun"),
    "appcode-iden": (NODE + ["appcode-iden"], "yunyi"),
    "curl-idcard": (CURL + ["/idcard"], "muzhiyun"),
    "curl-iden": (CURL + ["/idenAuthentication"], "yunyi"),
}
# Of the sandbox's list; the number of `no_record` is on none, that of `invalid` cannot be one.
PEOPLE = {
    "match": ("张三", "11010519491231002X"),
    "mismatch": ("李四", "11010519491231002X"),
    "no_record": ("张三", "440524188001010014"),
    "invalid": ("张三", "1101051949123100"),
}
# The register behind these two would say so; their simulators leave a number's form to it.
INVALID = {
    "aliyun": {"kind": "code", "code": "401"},
    "aliyun_intl": {"kind": "code", "code": "InvalidParameter"},
}
# What the simulators take: the sandbox's settings of each driver.
KEYS = {
    "aliyun": ("sandboxAccessKeyId", "sandboxAccessKeySecret"),
    "aliyun_intl": ("sandboxIntlAccessKeyId", "sandboxIntlAccessKeySecret"),
    "muzhiyun": ("sandbox0muzhiyun0appcode00000001", ""),
    "yunyi": ("sandbox0yunyi0appcode00000000001", ""),
}
THROTTLED = {
    "aliyun": {"kind": "code", "code": "Throttling.User", "retry_after": "700ms"},
    "aliyun_intl": {"kind": "code", "code": "Throttling.Api", "retry_after": "700ms"},
    "muzhiyun": {"kind": "code", "code": "T429ID"},
    "yunyi": {"kind": "code", "code": "T429ID"},
}
DOWN = {
    "aliyun": {"kind": "code", "code": "ServiceUnavailable"},
    "aliyun_intl": {"kind": "code", "code": "ServiceUnavailable"},
    "muzhiyun": {"kind": "code", "code": "D503BB"},
    "yunyi": {"kind": "code", "code": "D503BB"},
}


class Client:
    """A client in a process of its own, which answers one line for one line."""

    def __init__(self, kind, endpoint, key, secret):
        self.endpoint = endpoint
        # No proxy, no profile, no key of the machine.
        environment = {"PATH": os.environ["PATH"], "NODE_PATH": installing.node_modules(), "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            KINDS[kind][0] + [endpoint, key, secret],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment,
        )

    def ask(self, person):
        name, id_number = person
        self.process.stdin.write(json.dumps({"name": name, "id_number": id_number}) + "\n")
        self.process.stdin.flush()

    def said(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a client ended: {self.process.args}")
        return self.masked(json.loads(line))

    def masked(self, value):
        """The same without what is another each time."""
        if isinstance(value, dict):
            return {name: self.masked(one) for name, one in value.items() if one is not None}
        if isinstance(value, str):
            # One of the clients puts all of its query into its errors.
            value = re.sub(r"\?[^\s']+", "?QUERY", value.replace(self.endpoint, "ENDPOINT"))
            return re.sub(r"\b[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b", "REQUEST_ID", value)
        return value

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Party:
    """Every client at once, all with keys of one sort."""

    def __init__(self, endpoint_and_key):
        self.clients = {kind: Client(kind, *endpoint_and_key(provider)) for kind, (_, provider) in KINDS.items()}
        for client in self.clients.values():
            client.said()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.end()

    def tell(self, case, person, only=None):
        """One line of the table for each client."""
        asked = {kind: client for kind, client in self.clients.items() if only is None or only(kind)}
        for client in asked.values():
            client.ask(person)
        for kind, client in asked.items():
            yield {"case": case, "client": kind, **client.said()}


def signs(kind):
    """Whether a client has a secret beside its key."""
    return KINDS[kind][1].startswith("aliyun")


def simulators(binary, folder):
    """The clients at the simulators themselves."""
    with Gateway(binary, folder, "simulators", "") as gateway:
        at = {provider: gateway.endpoints(provider)[0] for provider in KEYS}
        with Party(lambda provider: (at[provider], *KEYS[provider])) as party:
            for case, faults in (("invalid", INVALID), ("throttled", THROTTLED), ("down", DOWN)):
                for provider, fault in faults.items():
                    gateway.spoil(provider, fault)
                yield from party.tell(case, PEOPLE.get(case, PEOPLE["match"]))
                gateway.mend()
            for case in ("match", "mismatch", "no_record"):
                yield from party.tell(case, PEOPLE[case])
        with Party(lambda provider: (at[provider], "nobody", "anything")) as party:
            yield from party.tell("unknown_key", PEOPLE["match"])
        with Party(lambda provider: (at[provider], KEYS[provider][0], "anything")) as party:
            yield from party.tell("wrong_secret", PEOPLE["match"], only=signs)


def compare(seen):
    """What differs from the table, a line each."""
    with open(EXPECTED, encoding="utf-8") as file:
        expected = {one(json.loads(line)): json.loads(line) for line in file}
    seen = {one(line): line for line in seen}
    for name in sorted(expected.keys() | seen.keys()):
        if expected.get(name) != seen.get(name):
            for sign, lines in (("-", expected), ("+", seen)):
                if name in lines:
                    yield f"{sign} {as_line(lines[name])}"


def one(line):
    return line["case"], line["client"]


def as_line(line):
    return json.dumps(line, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("binary", nargs="?", default=os.path.join(installing.ROOT, "target", "debug", "idgate"))
    arguments = parser.parse_args()
    installing.install()
    signal.alarm(LIMIT_SECONDS)
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for line in simulators(arguments.binary, folder):
            print(as_line(line), flush=True)
            seen.append(line)
    if arguments.write:
        with open(EXPECTED, "w", encoding="utf-8") as file:
            file.writelines(as_line(line) + "\n" for line in seen)
    wrong = list(compare(seen))
    if wrong:
        print(f"\n{os.path.relpath(EXPECTED, installing.ROOT)} expects otherwise:", *wrong, sep="\n", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
