#!/usr/bin/env python3
"""Receives the traces of a sandbox like a collector, and decodes them with OpenTelemetry's own definitions.

  tests/traces.py [BINARY]      default: target/debug/idgate, which `cargo test` has built

Checks parents and children, sampling, that attributes are only those of the list, that nothing of a person, no secret
and no text of a caller arrives, and that a collector which hangs, or none at all, changes no answer and delays neither
answers nor the end of the process. Needs PyPI's opentelemetry-proto. All traffic is on loopback.
"""

import gzip
import http.server
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/debug/idgate")
LIMIT_SECONDS = 240
NAME, NUMBER = "张三", "11010519491231002X"
HEADER = "Bearer canary-of-the-collector"
CANARIES = ["canary", NAME, NUMBER, NUMBER[:17], NUMBER.lower(), "19491231", "zhangsan"]
LIST = {
    "request": {
        "http.request.method", "http.route", "http.response.status_code", "idgate.protocol", "idgate.client",
        "idgate.purpose", "idgate.verification_id", "idgate.verdict", "idgate.source", "idgate.code",
    },
    "recall": {"idgate.recall"},
    "attempt": {"idgate.provider", "idgate.endpoint", "idgate.outcome", "idgate.reason", "idgate.billed"},
    "ledger": {"idgate.written"},
}
# Far above what an answer takes, far below what a collector that hangs would cost.
MOST_SECONDS = 2.0


class Collector:
    """An OTLP receiver; `spans` has what it decoded, `raw` every byte."""

    def __init__(self):
        self.arrived, self.headers, self.raw = queue.Queue(), [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.raw.append(body)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.headers.append((self.path, self.headers.get("Authorization")))
                request = ExportTraceServiceRequest.FromString(body)
                spans = []
                for of_resource in request.resource_spans:
                    resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
                    assert set(resource) == {"service.name", "service.version"}, resource
                    assert resource["service.name"] == "idgate", resource
                    spans += [span for of_scope in of_resource.scope_spans for span in of_scope.spans]
                collector.arrived.put(spans)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def trace(self, trace_id):
        """The spans of the next trace, which must have this id. They come together, before the next request is made."""
        spans = self.arrived.get(timeout=20)
        assert {span.trace_id.hex() for span in spans} == {trace_id or spans[0].trace_id.hex()}, spans
        return spans


class Sandbox:
    """`idgate sandbox` on free ports, with its access log."""

    def __init__(self, folder, endpoint, **variables):
        self.log = os.path.join(folder, f"{len(os.listdir(folder))}.log")
        headers = os.path.join(folder, "headers")
        with open(headers, "w", encoding="utf-8") as file:
            file.write(f"Authorization: {HEADER}\n")
        configuration = os.path.join(folder, "idgate.toml")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(f'[log]\nfile = "{self.log}"\n[tracing]\nheaders = {{ file = "{headers}" }}\n')
            file.write(f'endpoint = "{endpoint}"\n')
            file.writelines(f"{key} = {value}\n" for key, value in variables.items())
        free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [BINARY, "--config", configuration, "sandbox", *free], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={},
        )
        self.addresses = {}
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

    def call(self, where, path, body=None, headers=None, method=None):
        """Status and text of an answer, and the seconds it took."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})} if data else headers or {}
        request = urllib.request.Request(self.addresses[where] + path, data=data, headers=headers, method=method)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, text, time.monotonic() - began

    def ask(self, trace=None, name=NAME, number=NUMBER, **more):
        headers = {"traceparent": trace} if trace else {}
        headers |= more.pop("headers", {})
        body = {"name": name, "id_number": number, "reference": "canary-reference", **more}
        return self.call("ask", "/v1/verify", body, headers)

    def series(self, name):
        text = self.call("look", "/metrics")[1]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def lines(self):
        """The access log, once it has been written: it is, a few times a second."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        with open(self.log, encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def of(trace, span="00f067aa0ba902b7", sampled=1):
    return f"00-{trace}-{span}-{sampled:02d}"


def attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def check_tree(spans, names, parent):
    """A request's span with these children, within it, and attributes of the list only."""
    assert sorted(span.name for span in spans) == sorted(names), [span.name for span in spans]
    [root] = [span for span in spans if span.name == "request"]
    assert root.parent_span_id.hex() == parent, root
    assert len({span.span_id for span in spans}) == len(spans)
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano, span
        unknown = set(attributes(span)) - LIST[span.name]
        assert not unknown and not span.events and not span.links and not span.trace_state, (span.name, unknown)
        if span is not root:
            assert span.parent_span_id == root.span_id, span
            # Milliseconds, for the two clocks are read one after the other.
            slack = 5_000_000
            assert span.start_time_unix_nano + slack >= root.start_time_unix_nano, span
            assert span.end_time_unix_nano <= root.end_time_unix_nano + slack, span
    return attributes(root), {span.name: attributes(span) for span in spans}


def structure(folder):
    collector = Collector()
    first, again, failed = "4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736", "6bf92f3577b34da6a3ce929d0e0e4736"
    with Sandbox(folder, collector.url, ratio=0) as sandbox:
        status, text, _ = sandbox.ask(of(first), headers={"X-Request-Id": "canary-request", "tracestate": "canary=1",
                                                         "baggage": "canary=1"})
        answer = json.loads(text)
        assert status == 200, text
        root, children = check_tree(collector.trace(first), ["request", "recall", "attempt", "ledger"], "00f067aa0ba902b7")
        assert root["idgate.verification_id"] == answer["verification_id"] and root["idgate.verdict"] == "match", root
        assert root["http.response.status_code"] == 200 and root["http.route"] == "/v1/verify", root
        assert children["recall"] == {"idgate.recall": "miss"}, children
        assert children["attempt"]["idgate.outcome"] == "verdict" and children["attempt"]["idgate.billed"] == "yes", children
        assert children["ledger"] == {"idgate.written": "on_disk"}, children

        assert sandbox.ask(of(again))[0] == 200
        root, children = check_tree(collector.trace(again), ["request", "recall", "ledger"], "00f067aa0ba902b7")
        assert children["recall"] == {"idgate.recall": "hit"} and root["idgate.source"] == "cache", (root, children)

        provider = re.search(r"/sandbox/(\w+)/fault", sandbox.call("look", "/v1/status")[1] + "/sandbox/aliyun/fault")[1]
        fault = {"kind": "status", "status": 500}
        assert sandbox.call("look", f"/sandbox/{provider}/fault", fault, method="PUT")[0] < 300
        sandbox.ask(of(failed), headers={"Cache-Control": "no-cache"})
        spans = collector.trace(failed)
        attempts = [attributes(span) for span in spans if span.name == "attempt"]
        assert attempts and attempts[0]["idgate.provider"] == provider, attempts
        assert attempts[0]["idgate.outcome"] == "provider_error" and attempts[0]["idgate.billed"] == "unknown", attempts
        sandbox.call("look", f"/sandbox/{provider}/fault", method="DELETE")

        # The caller says no; says nothing, with a ratio of 0; or says what is no traceparent. None is traced.
        for trace in [of("7bf92f3577b34da6a3ce929d0e0e4736", sampled=0), None, "canary", of("0" * 32),
                      of("8bf92f3577b34da6a3ce929d0e0e4736", span="0" * 16)]:
            assert sandbox.ask(trace)[0] == 200
        last = "9bf92f3577b34da6a3ce929d0e0e4736"
        assert sandbox.ask(of(last))[0] == 200
        check_tree(collector.trace(last), ["request", "recall", "ledger"], "00f067aa0ba902b7")
        # The number of the person, in its old form, as a span id.
        assert sandbox.ask(of(first, span="1110105491231002"))[0] == 200
        found = collector.trace(None)
        assert found[0].trace_id.hex() != first, found
        check_tree(found, ["request", "recall", "ledger"], "")
        assert set(collector.headers) == {("/v1/traces", HEADER)}, collector.headers
        lines = sandbox.lines()
        assert {first, again, failed, last} <= {line.get("trace_id") for line in lines}, lines
    sent = b"".join(collector.raw)
    for canary in CANARIES:
        assert canary.encode() not in sent, f"{canary} was sent to the collector"
    print("parents, children, sampling by the caller: ok;", len(sent), "bytes without a canary")


def ratio(folder):
    """All requests, without a traceparent; the log line has the trace's id."""
    collector = Collector()
    with Sandbox(folder, collector.url, ratio=1) as sandbox:
        for _ in range(20):
            assert sandbox.ask()[0] == 200
        traces = set()
        while len(traces) < 20:
            for span in collector.arrived.get(timeout=20):
                if span.name == "request":
                    assert not span.parent_span_id, span
                    traces.add(span.trace_id.hex())
        logged = {line.get("trace_id") for line in sandbox.lines() if line["route"] == "/v1/verify"}
        assert logged == traces, (logged, traces)
    collector = Collector()
    with Sandbox(folder, collector.url, ratio=0.5) as sandbox:
        for _ in range(200):
            assert sandbox.ask()[0] == 200
        known = [line for line in sandbox.lines() if "trace_id" in line]
        # Of 200, by chance: outside of this once in a billion.
        assert 55 < len(known) < 145, len(known)
    print("sampling by ratio: ok;", len(known), "of 200")


def no_collector(folder):
    """A collector that hangs, and one that is not there, cost an answer nothing and the end a second or so."""
    hanging = socket.create_server(("127.0.0.1", 0))
    free = socket.create_server(("127.0.0.1", 0))
    ports = {"hangs": hanging.getsockname()[1], "is not there": free.getsockname()[1]}
    free.close()
    for what, port in ports.items():
        with Sandbox(folder, f"http://127.0.0.1:{port}/v1/traces", ratio=1, queue=8, timeout='"30s"') as sandbox:
            slowest = max(sandbox.ask()[2] for _ in range(100))
            assert slowest < MOST_SECONDS, f"an answer took {slowest} s while the collector {what}"
            if what == "hangs":
                lost = sandbox.series("idgate_spans_dropped_total")
                assert lost > 0, "the queue has no end"
            assert sandbox.series("idgate_spans_exported_total") == 0
            began = time.monotonic()
            sandbox.process.send_signal(signal.SIGTERM)
            code = sandbox.process.wait(timeout=30)
            took = time.monotonic() - began
            assert code == 0 and took < 10, f"the end took {took} s with {code} while the collector {what}"
        print(f"a collector that {what}: ok; the slowest answer {slowest * 1000:.0f} ms, the end {took:.1f} s")


def main():
    signal.alarm(LIMIT_SECONDS)
    for work in (structure, ratio, no_collector):
        with tempfile.TemporaryDirectory() as folder:
            work(folder)


if __name__ == "__main__":
    main()
