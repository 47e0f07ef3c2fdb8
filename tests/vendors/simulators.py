"""Runs the clients against the sandbox's simulators."""

import people
from callers import KINDS, VENDORS, Party, merged, sample
from gateway import Gateway

# Each simulator accepts one key, which for the market drivers is an AppCode.
CLIENTS = [kind for kind, (_, _, shows) in KINDS.items() if shows != "app key"]
SIGNED = [kind for kind in CLIENTS if KINDS[kind][2] != "app code"]
# The credential of each driver in the sandbox.
KEYS = {provider: tuple(pair) for provider, pair in merged("sandbox").items()}
FAULTS = {}
# A simulator that detects a case by itself needs no fault.
for vendor in VENDORS:
    for case, faults in vendor["faults"].items():
        FAULTS.setdefault(case, {}).update(faults)


def pairs(provider, _):
    """The right pair, an unknown one, and one with a wrong secret."""
    return [KEYS[provider], ("nobody", "anything"), (KEYS[provider][0], "anything")]


def lines(binary, folder):
    """One line for each client and case."""
    with Gateway(binary, folder, "simulators", "") as gateway:
        at = {provider: gateway.endpoints(provider)[0] for provider in KEYS}
        with Party(CLIENTS, lambda provider, _: at[provider], pairs) as party:
            for case in ("match", "mismatch", "no_record"):
                yield from party.tell(case, people.BY_CASE[case])
            for case, faults in FAULTS.items():
                for provider, fault in faults.items():
                    gateway.spoil(provider, fault)
                yield from party.tell(case, people.BY_CASE[case])
                gateway.mend()
            yield from party.tell("unknown_key", people.BY_CASE["match"], pair=1)
            yield from party.tell("wrong_secret", people.BY_CASE["match"], SIGNED, pair=2)
        for fault in ({"kind": "code", "code": "500"}, {"kind": "refuse_connections"}):
            gateway.spoil("aliyun", {**fault, "endpoint": 0})
            said = sample(gateway.endpoints("aliyun"), *KEYS["aliyun"], people.BY_CASE["seed"])
            yield {"case": f"seed, {fault['kind']}", "client": "sample", "said": said}
            gateway.mend()
