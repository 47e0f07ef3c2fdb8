"""Runs an idgate on free ports, sets its faults and reads its counters."""

import json
import os
import re
import subprocess
import urllib.request

# Bypasses any proxy that the environment names.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Gateway:
    """`idgate sandbox` with a configuration; a context manager that stops it."""

    def __init__(self, binary, folder, name, toml):
        path = os.path.join(folder, f"{name}.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(toml)
        self.log = os.path.join(folder, f"{name}.log")
        words = [binary, "sandbox", "--config", path, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env={}
            )
        found = {}
        # The welcome text has the addresses; its last line begins with `look`.
        for line in self.process.stdout:
            if address := re.search(r"http://(127\.0\.0\.1:\d+)", line):
                found[line.split()[0]] = address[1]
            if line.startswith("look"):
                break
        else:
            self.process.wait()
            with open(self.log, encoding="utf-8") as log:
                raise SystemExit(f"the sandbox did not start:\n{log.read()}")
        self.public, self.admin = found["ask"], found["look"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def providers(self):
        """The names of all providers of the sandbox."""
        return [one["name"] for one in json.loads(self.call("GET", "/v1/status"))["providers"]]

    def endpoints(self, provider):
        """The addresses of a provider's simulators."""
        shown = json.loads(self.call("GET", "/v1/status"))["providers"]
        return [one["endpoint"] for one in next(one for one in shown if one["name"] == provider)["endpoints"]]

    def spoil(self, provider, fault):
        """Sets a fault; src/server/sandbox/fault.rs defines the format."""
        self.call("PUT", f"/sandbox/{provider}/fault", fault)

    def mend(self):
        """Clears all faults and closes all breakers."""
        for provider in self.providers():
            self.call("DELETE", f"/sandbox/{provider}/fault")
            self.call("POST", f"/v1/providers/{provider}/restore")

    def asked_about(self, id_number):
        """The number of calls, over all simulators, about a person of the sandbox's list."""
        people = [json.loads(self.call("GET", f"/sandbox/{provider}/calls"))["people"] for provider in self.providers()]
        return sum(about["calls"] for shown in people for about in shown if about["id_number"] == id_number)

    def call(self, method, path, body=None):
        """One request to the admin listener."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.admin}{path}", data, method=method)
        with DIRECT.open(request, timeout=30) as answer:
            return answer.read()

    def verify(self, key, name, id_number):
        """Asks over REST; returns the status and the document."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        body = json.dumps({"name": name, "id_number": id_number}).encode()
        request = urllib.request.Request(f"http://{self.public}/v1/verify", body, headers)
        try:
            with DIRECT.open(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
