#!/usr/bin/env python3
"""What the providers' own protocols cost against REST, on the hit path: processor time of the gateway for each request.

  benches/compat.py [BINARY] [ROUNDS]      default: target/profiling/idgate 7

One gateway, one remembered person, one client with a key of each kind, over one connection at a time; in turns, in one run. Every
request is signed before the clock runs. Needs Linux (scheduler statistics) and nothing but Python. Compare the ratios.
"""

import base64
import hashlib
import hmac
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid

REQUESTS = 8000
NAME, NUMBER = "张三", "11010519491231002X"
KEY_ID, SECRET, REST_KEY, APP_CODE = "BenchAccessKeyId", "bench-secret-0123456789", "bench-rest-key-0123456789", "benchappcode0123456789012345678901"
CONFIGURATION = f"""
[log]
level = "error"
file = "{{folder}}/requests.log"
[compat]
enabled = true
nonces_per_key = 10000000
[cache]
match_ttl = "24h"
[enumeration]
numbers_per_client = 0
[clients.bench]
rate_limit = 1000000
keys = [{{{{ id = "bench-1", sha256 = "{hashlib.sha256(REST_KEY.encode()).hexdigest()}" }}}}]
access_keys = [{{{{ id = "{KEY_ID}", secret = {{{{ value = "{SECRET}" }}}} }}}}]
app_codes = [{{{{ id = "bench-code", sha256 = "{hashlib.sha256(APP_CODE.encode()).hexdigest()}" }}}}]
"""


def request(host, method, target, headers, body=""):
    headers = {"host": host, **headers, "content-length": str(len(body.encode()))}
    lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def rest(host):
    body = f'{{"name":"{NAME}","id_number":"{NUMBER}"}}'
    return request(host, "POST", "/v1/verify", {"authorization": f"Bearer {REST_KEY}", "content-type": "application/json"}, body)


def v3(host):
    body = urllib.parse.urlencode({"ParamType": "normal", "IdentifyNum": NUMBER, "UserName": NAME})
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "host": host,
        "x-acs-action": "Id2MetaVerify",
        "x-acs-content-sha256": hashlib.sha256(body.encode()).hexdigest(),
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-version": "2019-03-07",
    }
    names = ";".join(headers)
    canonical = "\n".join(["POST", "/", "", *(f"{name}:{value}" for name, value in headers.items()), "", names, headers["x-acs-content-sha256"]])
    text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
    signature = hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()
    headers["authorization"] = f"ACS3-HMAC-SHA256 Credential={KEY_ID},SignedHeaders={names},Signature={signature}"
    return request(host, "POST", "/", headers, body)


def v1(host):
    def quote(text):
        return urllib.parse.quote(text, safe="-_.~")

    pairs = {
        "AccessKeyId": KEY_ID, "Action": "Id2MetaVerify", "Format": "JSON", "IdentifyNum": NUMBER, "ParamType": "normal",
        "SignatureMethod": "HMAC-SHA1", "SignatureNonce": uuid.uuid4().hex, "SignatureVersion": "1.0",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "UserName": NAME, "Version": "2019-03-07",
    }
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in sorted(pairs.items()))
    signature = hmac.new(f"{SECRET}&".encode(), f"POST&%2F&{quote(text)}".encode(), "sha1").digest()
    body = f"{text}&Signature={quote(base64.b64encode(signature).decode())}"
    return request(host, "POST", "/", {"content-type": "application/x-www-form-urlencoded"}, body)


def app_code(host):
    query = urllib.parse.urlencode({"xm": NAME, "sfz": NUMBER})
    return request(host, "GET", f"/idcard?{query}", {"authorization": f"APPCODE {APP_CODE}"})


def busy(process):
    """Nanoseconds that all threads of the process have run."""
    total = 0
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


def run(process, port, make):
    requests = [make(f"127.0.0.1:{port}") for _ in range(REQUESTS)]
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    before = busy(process)
    for one in requests:
        connection.sendall(one)
        answer = connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(answer.decode())
    cost = busy(process) - before
    connection.close()
    return cost / REQUESTS / 1000


def measure(binary, rounds):
    """The processor time of a request, by protocol: one figure for each round."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/idgate.toml", "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(folder=folder))
        process = subprocess.Popen(
            [binary, "sandbox", "--config", f"{folder}/idgate.toml", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={},
        )
        try:
            port = None
            for line in process.stdout:
                if found := re.match(r"ask .*http://127\.0\.0\.1:(\d+)", line):
                    port = int(found[1])
                if line.startswith("look"):
                    break
            if port is None:
                sys.exit("the sandbox does not come up")
            kinds = {"REST": rest, "V3": v3, "V1": v1, "AppCode": app_code}
            costs = {name: [] for name in kinds}
            for turn in range(rounds + 1):
                for name, make in list(kinds.items()) if turn % 2 else reversed(list(kinds.items())):
                    cost = run(process, port, make)
                    # The first turn warms up.
                    if turn:
                        costs[name].append(cost)
            return costs
        finally:
            process.kill()
            process.wait()


def main():
    binary, rounds = (sys.argv[1:] + ["target/profiling/idgate", "7"][len(sys.argv) - 1:])
    costs = measure(os.path.abspath(binary), int(rounds))
    for name, every in costs.items():
        ratio = statistics.median(cost / base for cost, base in zip(every, costs["REST"]))
        print(f"{name:8} {statistics.median(every):6.1f} µs of processor time a request, {ratio:.2f} of REST")


if __name__ == "__main__":
    main()
