#!/usr/bin/env python3
"""Counts the instructions of a request under callgrind, and fails when one has become dearer.

  benches/instructions.py [--write] [BINARY]      default: builds and measures target/instructions/idgate

Each kind of request is sent some hundred times to two fresh gateways, to one of them three times as often; the
difference is the price of a request, without start and end. One connection, one request after the other, the provider
answers at once. The counts are compared with benches/instructions.toml; --write writes them there instead. A kind may
grow by 5 % before this fails: then make it cheaper, or write the table in the commit that has the reason.

Instructions depend little on what else the machine does. Stacks are wiped by the clock, which is up to 8 % of noise on
a busy machine, so run it alone. valgrind has no SHA instructions, so SHA-256 runs in software here and is counted
apart. Needs Python 3.11 and valgrind.
"""

import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = f"{HERE}/instructions.toml"
PROFILE = "instructions"
MAY_GROW = 1.05
FEW, MANY = 300, 900
KEY = "bench-key"
LEDGER = """
[ledger]
file = "{folder}/ledger.db"
"""
# Name: whether each request is about another person, and whether there is a ledger.
KINDS = {"hit": (False, False), "miss": (True, False), "hit_with_ledger": (False, True), "miss_with_ledger": (True, True)}
# The functions that are SHA-256 itself.
SHA = re.compile(r"sha256_block|sha2.*compress|compress256")


def number(n):
    """The `n`th invented number, with a valid check character."""
    year, rest = 1950 + n % 50, n // 50
    month, rest = 1 + rest % 12, rest // 12
    day, rest = 1 + rest % 28, rest // 28
    digits = f"{110101 + rest // 1000}{year}{month:02}{day:02}{rest % 1000:03}"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return digits + "10X98765432"[sum(int(d) * w for d, w in zip(digits, weights)) % 11]


def provide():
    """Answers every call of Id2MetaVerify with a match, at once. Returns the port."""
    body = json.dumps({"RequestId": "0FCA0B3F", "Code": "200", "Message": "success", "ResultObject": {"BizCode": "1"}})
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if length := re.search(rb"(?i)content-length: *(\d+)", head):
                    await reader.readexactly(int(length[1]))
                writer.write(answer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    ready, ports = threading.Event(), []

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    ready.wait()
    return ports[0]


def configuration(folder, provider, ledger):
    """benches/gateway.toml, filled in."""
    with open(f"{HERE}/gateway.toml", encoding="utf-8") as file:
        text = file.read()
    for name, value in (("port", "0"), ("dir", folder), ("upstream", f"127.0.0.1:{provider}")):
        text = text.replace("{{" + name + "}}", value)
    # The digest key is the same each time, because it decides where entries lie.
    text = text.replace("[cache]", '[cache]\ndigest_key = { value = "bench-digest-key-0123456789abcdef" }')
    return text + (LEDGER.format(folder=folder) if ledger else "")


def ask(connection, n):
    body = json.dumps({"name": "测试者", "id_number": number(n)}).encode()
    connection.request("POST", "/v1/verify", body, {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"{answer.status}: {text.decode()}")


def run(binary, provider, kind, requests):
    """The instructions of a gateway that answers `requests` requests: all, and those of SHA-256."""
    new_person, ledger = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/gateway.toml", "w", encoding="utf-8") as file:
            file.write(configuration(folder, provider, ledger))
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", binary, "serve", "--config", f"{folder}/gateway.toml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            # One worker: with more it is chance who wakes whom.
            env={"TOKIO_WORKER_THREADS": "1", "PATH": os.environ["PATH"]},
        )
        lines = []
        for line in process.stderr:
            lines.append(line)
            if up := re.search(r'"public":"127\.0\.0\.1:(\d+)"', line):
                break
        else:
            sys.exit("".join(lines))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", int(up[1]), timeout=60)
        for n in range(requests):
            ask(connection, n if new_person else 0)
        connection.close()
        process.terminate()
        process.wait()
        report = subprocess.run(
            ["callgrind_annotate", "--threshold=100", "--auto=no", f"{folder}/out"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    lines = [re.match(r"\s*([\d,]+) \(", line) for line in report.splitlines()]
    counts = [(int(found[1].replace(",", "")), line) for found, line in zip(lines, report.splitlines()) if found]
    total = next(count for count, line in counts if "PROGRAM TOTALS" in line)
    return total, sum(count for count, line in counts if SHA.search(line))


def build():
    subprocess.run(["cargo", "build", "--locked", "--profile", PROFILE, "--bin", "idgate"], check=True, cwd=f"{HERE}/..")
    return f"{HERE}/../target/{PROFILE}/idgate"


def main():
    arguments = [one for one in sys.argv[1:] if one != "--write"]
    write = len(arguments) < len(sys.argv) - 1
    binary = os.path.abspath(arguments[0] if arguments else build())
    table = {}
    if os.path.exists(TABLE):
        with open(TABLE, "rb") as file:
            table = tomllib.load(file)
    provider, measured, dearer = provide(), {}, []
    for kind in KINDS:
        few, many = run(binary, provider, kind, FEW), run(binary, provider, kind, MANY)
        total, sha = ((after - before) // (MANY - FEW) for before, after in zip(few, many))
        measured[kind] = {"without_sha": total - sha, "sha": sha}
        before = table.get(kind, {}).get("without_sha")
        change = f", {(total - sha) / before - 1:+.1%} of the table's {before:,}" if before else ""
        print(f"{kind}: {total - sha:,} instructions and {sha:,} of SHA-256{change}", flush=True)
        if before and total - sha > before * MAY_GROW:
            dearer.append(kind)
    if write:
        head = "# Instructions of a request on one connection. Written by benches/instructions.py --write.\n"
        rows = "".join(f"\n[{kind}]\nwithout_sha = {one['without_sha']}\nsha = {one['sha']}\n" for kind, one in measured.items())
        with open(TABLE, "w", encoding="utf-8") as file:
            file.write(head + rows)
    elif dearer:
        sys.exit(f"dearer by more than {MAY_GROW - 1:.0%}: {', '.join(dearer)}. Make it cheaper, or say why and commit --write's table")


if __name__ == "__main__":
    main()
