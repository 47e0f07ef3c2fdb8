"""As much of an HTTP client as the callers need, on asyncio and without a dependency."""

import asyncio
import dataclasses
import json


class Broken(Exception):
    """The connection ended before the answer did."""


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes
    seconds: float

    @property
    def json(self):
        return json.loads(self.body) if self.body else {}


class Http:
    """One server, as many connections as questions are asked at once; each is kept for the next question."""

    def __init__(self, port):
        self.port, self.idle, self.written = port, [], 0

    async def request(self, method, path, body=b"", headers=None):
        clock = asyncio.get_running_loop().time
        began = clock()
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        while True:
            is_new = not self.idle
            try:
                pair = await asyncio.open_connection("127.0.0.1", self.port) if is_new else self.idle.pop()
            except OSError as error:
                raise Broken(str(error)) from error
            reader, writer = pair
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                self.written += 1
                head = await reader.readuntil(b"\r\n\r\n")
            except (OSError, asyncio.IncompleteReadError) as error:
                writer.close()
                # An idle connection that the server has closed in the meantime: nothing was answered on it.
                if is_new or getattr(error, "partial", b""):
                    raise Broken(str(error)) from error
                continue
            try:
                status, *rest = head.decode("latin-1").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in rest if ": " in line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
            except (OSError, asyncio.IncompleteReadError) as error:
                writer.close()
                raise Broken(str(error)) from error
            if fields.get("connection") == "close":
                writer.close()
            else:
                self.idle.append(pair)
            return Answer(int(status.split()[1]), fields, body, clock() - began)

    def close(self):
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()
