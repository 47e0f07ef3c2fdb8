"""The one provider of all replicas. It counts every call, and fails, waits and forgets as it is told over HTTP.

  provider.py PORT

`GET /idcard?sfz=NUMBER` is muzhiyun's protocol. `GET /set?delay=SECONDS&fails=0|1` changes how it answers, `GET /hold` lets
every call wait until `GET /release`. `GET /calls` tells the calls by number and by second of arrival, `GET /reset` forgets them.
"""

import asyncio
import collections
import json
import sys
import time
import urllib.parse

from people import verdict_of

MATCH = {"ok": 1, "msg": "实名信息正确", "match": True}
MISMATCH = {"ok": 1, "msg": "实名校验失败：身份证与姓名不匹配", "match": False}
# By its documents never billed.
FAILURE = {"ok": 0, "msg": "系统繁忙"}


class Provider:
    def __init__(self):
        self.delay, self.fails = 0.0, False
        self.calls, self.arrivals = collections.Counter(), []
        self.released = asyncio.Event()
        self.released.set()

    async def answer(self, target):
        path, _, query = target.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        if path == "/set":
            self.delay, self.fails = float(query.get("delay", 0)), query.get("fails") == "1"
            return 200, {}
        if path == "/hold":
            self.released.clear()
            return 200, {}
        if path == "/release":
            self.released.set()
            return 200, {}
        if path == "/calls":
            return 200, {"by_number": self.calls, "arrivals": self.arrivals}
        if path == "/reset":
            self.calls, self.arrivals = collections.Counter(), []
            return 200, {}
        fails = self.fails
        self.calls[query["sfz"]] += 1
        self.arrivals.append(time.time())
        await self.released.wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if fails:
            return 666, FAILURE
        return 200, MATCH if verdict_of(query["sfz"]) == "match" else MISMATCH

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = await self.answer(head.split(b" ", 2)[1].decode())
                body = json.dumps(body).encode()
                lines = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(lines.encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def main(port):
    async with await asyncio.start_server(Provider().serve, "127.0.0.1", port, backlog=2048) as server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
