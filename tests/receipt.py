#!/usr/bin/env python3
"""Verifies receipts like a third party: with an independent JOSE library and the code from docs/receipts.md.

  tests/receipt.py [BINARY]      default: target/debug/idgate, which `cargo test` has built

Starts sandboxes, asks, and fetches receipts and the published keys. Checks that receipts verify, that they match only
the right person, that no byte can be changed, and that a replaced key still verifies what it signed. Needs PyPI's
joserfc. All traffic is on loopback.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/debug/idgate")
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "receipts.md")
NAME, NUMBER = "张三", "11010519491231002X"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def documented():
    """`claims_of` and `is_about` from docs/receipts.md."""
    with open(PAGE, encoding="utf-8") as file:
        [block] = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)
    found = {}
    exec(compile(block, "receipts.md", "exec"), found)  # pylint: disable=exec-used
    return found["claims_of"], found["is_about"]


class Sandbox:
    """`idgate sandbox` on free ports."""

    def __init__(self, *arguments):
        free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [BINARY, "sandbox", *free, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={},
        )
        self.addresses = {}
        # The welcome text has the addresses; its last line begins with `look`.
        for line in self.process.stdout:
            if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.addresses[line.split()[0]] = address[0]
            if line.startswith("look"):
                return
        sys.exit(f"the sandbox ended with {self.process.wait()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def call(self, where, path, body=None, method=None):
        """Returns the response as text; raises for an error status."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(self.addresses[where] + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def ask(self):
        return json.loads(self.call("ask", "/v1/verify", {"name": NAME, "id_number": NUMBER, "reference": "payout-4711"}))

    def receipt(self, verification):
        return self.call("ask", f"/v1/verifications/{verification}/receipt")

    def keys(self):
        return json.loads(self.call("ask", "/.well-known/jwks.json"))


def fails(work):
    """Whether `work` raises; invalid UTF-8 or JSON counts as a failure too."""
    try:
        work()
    except Exception:  # pylint: disable=broad-except
        return True
    return False


def check(claims_of, is_about, sandbox):
    """Asks and checks the receipt of the answer."""
    answer = sandbox.ask()
    receipt, keys = sandbox.receipt(answer["verification_id"]), sandbox.keys()
    claims = claims_of(receipt, keys)
    assert claims["jti"] == answer["verification_id"] and claims["verdict"] == answer["verdict"] == "match", claims
    assert claims["reference"] == "payout-4711" and claims["provider"] == answer["provenance"]["provider"], claims
    assert is_about(claims, NAME, NUMBER)
    assert not is_about(claims, "李四", NUMBER) and not is_about(claims, NAME, "110101199003079972")
    assert NAME not in json.dumps(claims, ensure_ascii=False) and NUMBER not in json.dumps(claims)
    assert sandbox.receipt(answer["verification_id"]) == receipt, "another receipt of the same answer"
    tried = 0
    for place, letter in enumerate(receipt):
        for other in {ALPHABET[(ALPHABET.find(letter) + step) % 64] for step in (1, 2, 21, 32)} | {"."} - {letter}:
            changed = receipt[:place] + other + receipt[place + 1:]
            tried += 1
            if not fails(lambda: claims_of(changed, keys)):
                sys.exit(f"byte {place} changed from {letter} to {other}, and it still verifies")
    print(f"a receipt of {len(receipt)} bytes verifies; {tried} changed ones do not", flush=True)
    return answer["verification_id"], receipt


def main():
    claims_of, is_about = documented()
    # Without configuration.
    with Sandbox() as sandbox:
        check(claims_of, is_about, sandbox)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("old", "new"):
            made = [BINARY, "key", "new", "--receipts", f"{folder}/{name}"]
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL, env={})
        file = f"{folder}/idgate.toml"

        def configure(receipts):
            with open(file, "w", encoding="utf-8") as config:
                config.write('[reload]\npoll = "0s"\n[receipts]\n' + receipts)

        configure(f'key = {{ file = "{folder}/old" }}\n')
        with Sandbox("--config", file) as sandbox:
            verification, receipt = check(claims_of, is_about, sandbox)
            configure(f'key = {{ file = "{folder}/new" }}\nformer = [{{ public_key = "{folder}/old.pub" }}]\n')
            assert json.loads(sandbox.call("look", "/v1/reload", method="POST"))["changed"] == ["receipts"]
            keys = sandbox.keys()
            assert len(keys["keys"]) == 2 and is_about(claims_of(receipt, keys), NAME, NUMBER)
            anew = sandbox.receipt(verification)
            assert anew != receipt and claims_of(anew, keys) == claims_of(receipt, keys)
            configure(f'key = {{ file = "{folder}/new" }}\n')
            sandbox.call("look", "/v1/reload", method="POST")
            assert fails(lambda: claims_of(receipt, sandbox.keys())) and claims_of(anew, sandbox.keys())
    print("a key that was replaced verifies what it signed, as long as it is published")
    return 0


if __name__ == "__main__":
    sys.exit(main())
