"""Runs the clients against [compat]: idgate takes the place of each provider and answers through its own chain."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import people
from callers import KINDS, Party, merged, sample
from gateway import Gateway

SIGNED = [kind for kind, (_, _, shows) in KINDS.items() if shows != "app code"]
BEARER = "a-bearer-key-of-the-clients-tests"
APP_CODE = "an-app-code-of-the-clients-tests"
SECRET = "a-secret-of-the-clients-tests"
# The suffix of the client that has used up its daily cap of one request.
SPENT = "_spent"
CONFIGURATION = """
[compat]
enabled = true
[log]
file = "{folder}/{name}.requests"
[server]
request_timeout = "5s"
# So that each client of a case meets the same, however many have asked before.
[breaker]
consecutive_failures = 1000
minimum_calls = 1000
[holds]
calls = 1000
"""
CLIENT = """
[clients.tests{sort}]
keys = [{{ id = "bearer{sort}", sha256 = "{bearer}" }}]
"""
ISSUED = merged("issued")


def start(binary, folder, name):
    """A gateway with [compat], one client with an unused cap and one with an exhausted cap."""
    toml = CONFIGURATION.format(folder=folder, name=name)
    for sort in ("", SPENT):
        hashes = {"bearer": sha256(BEARER + sort), "code": sha256(APP_CODE + sort)}
        lines = [CLIENT, *(line + "\n" for line in ISSUED.values())]
        toml += "".join(lines).format(sort=sort, secret=SECRET, **hashes)
    return Gateway(binary, folder, name, toml + "daily_cap = 1\n")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def pairs(_, shows):
    """The right pair, an unknown one, one with a wrong secret, and that of the client with the exhausted daily cap."""
    key, secret = (APP_CODE, "") if shows == "app code" else (shows.split()[0], SECRET)
    return [(key, secret), ("nobody", "anything"), (key, "anything"), (key + SPENT, secret)]


def lines(binary, folder):
    """One line for each client and case."""
    with start(binary, folder, "compat") as gateway:
        gateway.verify(BEARER + SPENT, *people.BY_CASE["throttled"])
        with Party(KINDS, lambda *_: gateway.public, pairs) as party:
            for case in ("match", "mismatch", "no_record", "invalid"):
                yield from party.tell(case, people.BY_CASE[case])
            for provider in gateway.providers():
                gateway.spoil(provider, {"kind": "refuse_connections"})
            yield from party.tell("down", people.BY_CASE["down"])
            gateway.mend()
            yield from at_once(gateway, party)
            # Each client is answered after request_timeout, when the outcome of its call is still unknown.
            for provider in gateway.providers():
                gateway.spoil(provider, {"kind": "hang"})
            yield from party.tell("unknown", people.BY_CASE["unknown"])
            gateway.mend()
            yield from party.tell("throttled", people.BY_CASE["throttled"], pair=3)
            yield from party.tell("unknown_key", people.BY_CASE["match"], pair=1)
            yield from party.tell("wrong_secret", people.BY_CASE["match"], SIGNED, pair=2)
        yield from seed(binary, folder, gateway)
        nobody_is_in([f"{folder}/compat.log", f"{folder}/compat.requests"])


def at_once(gateway, party):
    """Concurrent requests about one person over REST and three protocols to a slow provider make one call."""
    person = people.BY_CASE["at_once"]
    gateway.spoil("aliyun", {"kind": "slow", "delay": "2s"})
    with ThreadPoolExecutor() as pool:
        rest = pool.submit(gateway.verify, BEARER, *person)
        yield from party.tell("at_once", person, ["python", "node", "curl-idcard"])
        status, body = rest.result()
    yield {"case": "at_once", "client": "rest", "status": status, "verdict": body.get("verdict")}
    yield {"case": "at_once", "client": "upstream", "calls": gateway.asked_about(person[1])}
    gateway.mend()


def seed(binary, folder, second):
    """Runs the sample of the provider's page; all providers of the first instance fail."""
    person = people.BY_CASE["seed"]
    with start(binary, folder, "first") as first:
        for provider in first.providers():
            first.spoil(provider, {"kind": "status", "status": 500})
        said = sample([first.public, second.public], *pairs("aliyun", "access key")[0], person)
        asked = first.asked_about(person[1]) > 0
    line = {"case": "seed", "client": "sample", "said": said, "first_was_asked": asked}
    yield {**line, "calls_of_second": second.asked_about(person[1])}


def nobody_is_in(files):
    """Checks that the files contain no name and no number, although some clients send both in the URL."""
    for path in files:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if path.endswith(".requests") and "/idcard" not in text:
            raise SystemExit(f"{path} has no line for /idcard")
        for name, id_number in people.BY_CASE.values():
            if name in text or id_number in text or name.encode().hex("%").upper() in text.upper():
                raise SystemExit(f"{path} has somebody's name or number")
