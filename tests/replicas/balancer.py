"""haproxy with the configuration of docker-compose.yml."""

import os
import pathlib
import shutil

from gateways import Gateway, free_port
from http1 import Broken, Http
from services import Service

CONFIGURATION = pathlib.Path(__file__).resolve().parents[2] / "config/load-balancer.cfg"


class Balancer(Service):
    name = "balancer"
    ask = Gateway.ask

    def __init__(self, world):
        self.world, self.public = world, free_port()
        self.http = Http(self.public)

    async def start(self):
        path = f"{os.environ['PATH']}:/usr/sbin"
        haproxy = shutil.which("haproxy", path=path)
        if not haproxy:
            raise SystemExit("haproxy is not here: install the Debian package haproxy")
        os.environ["LISTEN"] = f"127.0.0.1:{self.public}"
        for index, gateway in enumerate(self.world.gateways, 1):
            os.environ[f"GATEWAY_{index}"], os.environ[f"ADMIN_{index}"] = f"127.0.0.1:{gateway.public}", str(gateway.admin)
        self.spawn([haproxy, "-db", "-f", CONFIGURATION], self.world.folder / "haproxy.log", os.environ)

        async def answers():
            try:
                return (await self.ask(999_999_9)).status == 200
            except Broken:
                return False

        await self.world.until("the balancer answers", answers)
