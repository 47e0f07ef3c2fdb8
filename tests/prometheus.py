#!/usr/bin/env python3
"""Asks Prometheus every expression of every dashboard, and makes every alert fire.

  tests/prometheus.py [BINARY]      default: target/debug/idgate

Debian's Prometheus scrapes gateways of this script with the committed configuration and rules. First a healthy gateway
and three healthy replicas under traffic: no alert may fire, and no panel of the replicas may be empty. Then one gateway for
each kind of trouble (tests/troubled.py), and beside them the replicas in one trouble after the other
(tests/troubled_replicas.py): every alert must fire, with the runbook that exists and annotations without a gap. Every
expression of every panel and variable is asked as Grafana asks it, over the whole run, and must return series. A panel is
covered by being there; an alert needs a line in ALERTS or REPLICAS, and fails without one.

Durations of the rules, and only those, are divided by SCALE, so that five minutes are five seconds. That is still the
same rule: a window, a `for` and an interval keep their ratios to each other, and everything else (series, labels, what
is divided by what, thresholds) is untouched. What the rules compare with the time of day in days (keys, packages,
certificates) is not scaled: those are made to end that soon. What takes days of traffic is written into Prometheus'
storage by `promtool tsdb create-blocks-from`.

Needs prometheus, promtool, openssl, libfaketime, redis-server and postgresql. All traffic is on loopback. Everything has a
deadline.
"""

import collections
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse

import troubled
import troubled_replicas
from troubled import free_port

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "target/debug/idgate")
CONFIG = PROJECT / "config"
SCALE = 60
CALM = 12
PATIENCE = 240
# As Grafana computes it: four times the scrape interval of a second, and room for a late scrape.
RATE_INTERVAL = "5s"

# Each alert, and the condition that is produced for it: a function of tests/troubled.py, which says how.
ALERTS = {
    "IdgateDown": "killed",
    "IdgateNoProviderAvailable": "isolated",
    "IdgateShedding": "isolated",
    "IdgateUnknownOutcomes": "cut_off",
    "IdgateAccountFault": "in_arrears",
    "IdgateCredentialExpiring": "credentials",
    "IdgateProviderUnavailable": "isolated",
    "IdgateBreakerOpen": "broken",
    "IdgateFallbackShare": "broken",
    "IdgateExhausted": "exhausted",
    "IdgateNamesUnresolved": "unresolved",
    "IdgateUnreadableAnswers": "in_arrears",
    "IdgateOneVerdictForEveryone": "one_verdict",
    "IdgateDuplicateBills": "spent",
    "IdgateBudgetNearlyUsedUp": "spent",
    "IdgateBudgetUsedUp": "spent",
    "IdgatePackageEnds": "spent",
    "IdgatePackageNearlyUsedUp": "spent",
    "IdgatePackageExpires": "spent",
    "IdgateEnumerationSuspected": "guessed",
    "IdgateEnumerationUnderWay": "guessed",
    "IdgateClientKeyExpiring": "guessed",
    "IdgateNoncesRefused": "replayed",
    "IdgateLedgerUnavailable": "disk_full",
    "IdgateLedgerSpooling": "locked",
    "IdgateLedgerSlow": "slow_disk",
    "IdgateLedgerRemovalHeld": "jumped",
    "IdgateReloadFailed": "misconfigured",
    "IdgateConfigUnchecked": "hanging_file",
    "IdgateClockStepped": "stepped",
    "IdgateLogLinesLost": "full_log",
    "IdgateLogLinesLeftOut": "guessed",
    "IdgateCertificateExpires": "distrusted",
    "IdgateHandshakesFail": "distrusted",
}
# Those of alerts-replicas.yml, with functions of tests/troubled_replicas.py.
REPLICAS = {
    "IdgateSharedAway": "redis_away",
    "IdgateSharedAwayForLong": "redis_away",
    "IdgateSharedSlow": "slow",
    "IdgateSharedForged": "forged",
    "IdgateReplicaSilent": "one_silent",
    "IdgateTooManyReplicas": "one_too_many",
    "IdgateReplicasDiffer": "one_too_many",
    "IdgateLedgerPostgresAway": "postgres_away",
    "IdgateLedgerBehind": "postgres_away",
    "IdgateSpoolFilling": "postgres_away",
    "IdgateSpoolAlmostFull": "postgres_away",
    "IdgateLedgerSentAgain": "restored",
    "IdgatePartitionMissing": "unmigrated",
}
ALL = ALERTS | REPLICAS
SLOW = ("distrusted", "replayed", "unresolved")
# Alerts that cannot be produced here, and why. Their series must exist all the same.
NOT_PRODUCED = {
    "IdgateLedgerLost": "needs 100,000 answers while no disk can be written: minutes with this binary; tests/it/app/disk.rs has the count",
}


# The rules.


def scaled(text):
    """Rules with all durations divided by SCALE: of windows and offsets, `for` and `interval`."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    def shorter(match):
        return f"{match[1]}{max(1000, int(match[2]) * seconds[match[3]] * 1000 // SCALE)}ms{match[4]}"

    text = re.sub(r"(\[|offset )(\d+)([smhd])(\]|\b)", shorter, text)
    text = re.sub(r"((?:for|interval): )(\d+)([smhd])(\b)", shorter, text)
    # The only duration of each file that is written in seconds: how long the configuration was not looked at, and how long
    # entries wait, which may be some seconds on a busy machine.
    written = r"(idgate_config_checked_timestamp_seconds|idgate_ledger_oldest_unmoved_seconds\)) > (\d{2,})\b"
    text, count = re.subn(written, lambda match: f"{match[1]} > {max(5, int(match[2]) // SCALE)}", text)
    assert count == 1, f"{count} rules compare with seconds"
    return text


def history(file):
    """Days of answers of a provider: six of ten a match, for the recorded series of IdgateOneVerdictForEveryone."""
    now = int(time.time())
    length = 3 * 86400 // SCALE
    with open(file, "w", encoding="ascii") as out:
        out.write("# TYPE idgate:verdicts:increase30m gauge\n")
        for verdict, count in (("match", 60), ("mismatch", 30), ("no_record", 10)):
            for at in range(now - length, now - 30, 10):
                out.write(f'idgate:verdicts:increase30m{{provider="{troubled.ONE_VERDICT}",verdict="{verdict}"}} {count} {at}\n')
        out.write("# EOF\n")


# Prometheus.


class Prometheus:
    def __init__(self, folder):
        self.folder, self.port, self.targets, self.lock = folder, free_port(), [], threading.Lock()
        text = (CONFIG / "prometheus/prometheus.yml").read_text()
        # There are no gateways that are found by a name.
        text, count = re.subn(r"    # Those of the profile.*\n    dns_sd_configs:\n.*\n    relabel_configs:\n.*\n", "", text)
        assert count == 1, "prometheus.yml has no gateways of the profile"
        (folder / "prometheus.yml").write_text(self.configuration(text))
        for name in ("alerts.yml", "alerts-replicas.yml"):
            (folder / name).write_text(scaled((CONFIG / "prometheus" / name).read_text()))
        self.add()
        history(folder / "history.txt")
        self.run("promtool", "check", "config", "prometheus.yml")
        self.run("promtool", "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data")
        with open(folder / "prometheus.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        troubled.until("Prometheus is ready", lambda: self.is_ready(), 30)

    @staticmethod
    def configuration(text):
        """The committed configuration, with short intervals and the targets of this script."""
        def replaced(pattern, by, text):
            text, count = re.subn(pattern, by, text)
            assert count == 1, f"prometheus.yml has {count} of {pattern}"
            return text

        text = replaced(r"scrape_interval: \w+", "scrape_interval: 1s\n  scrape_timeout: 1s", text)
        text = replaced(r"evaluation_interval: \w+", "evaluation_interval: 1s", text)
        return replaced(
            r"static_configs:\n\s+- targets: .*", "file_sd_configs:\n      - { files: [targets.json], refresh_interval: 1s }", text
        )

    def add(self, *admins):
        self.change(lambda targets: targets + [f"127.0.0.1:{admin}" for admin in admins])

    def remove(self, *admins):
        gone = {f"127.0.0.1:{admin}" for admin in admins}
        self.change(lambda targets: [target for target in targets if target not in gone])

    def change(self, change):
        with self.lock:
            self.targets = change(self.targets)
            new = self.folder / "targets.new"
            new.write_text(json.dumps([{"targets": self.targets}]))
            os.replace(new, self.folder / "targets.json")

    def has_scraped(self, admin):
        """Whether it has been scraped twice."""
        return bool(self.get("query", query=f'sum_over_time(up{{instance="127.0.0.1:{admin}"}}[1m]) >= 2')["result"])

    def run(self, *words):
        done = subprocess.run(words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode:
            sys.exit(f"{' '.join(words)}:\n{done.stdout}")

    def is_ready(self):
        if self.process.poll() is not None:
            sys.exit(f"prometheus ended with {self.process.returncode}:\n{(self.folder / 'prometheus.log').read_text()}")
        try:
            return troubled.fetch(f"http://127.0.0.1:{self.port}/-/ready") is not None
        except OSError:
            return False

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(troubled.fetch(url))["data"]
        except urllib.error.HTTPError as error:
            return {"error": json.loads(error.read())["error"], "result": []}

    def rules(self):
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def firing(self):
        """The alerts that fire now: (name, instance, labels and annotations)."""
        return [alert for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# The dashboards.


def filled_in(expression, variables):
    for name, value in variables.items():
        expression = expression.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return expression


def panels_of(panels):
    for panel in panels:
        if panel["type"] == "row":
            yield from panels_of(panel.get("panels", []))
        else:
            yield panel


def questions():
    """(dashboard, panel, legend, expression) of every expression."""
    for file in sorted((CONFIG / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text())
        variables = {"__rate_interval": RATE_INTERVAL, "__interval": "5s", "__range": "1h"}
        for one in dashboard["templating"]["list"]:
            if one["type"] == "query":
                variables[one["name"]] = one["allValue"]
                inner = re.fullmatch(r"label_values\((.*), (\w+)\)", one["definition"])
                yield file.name, f"variable {one['name']}", "", f"count by ({inner[2]}) ({inner[1]})"
            elif one["type"] == "custom":
                variables[one["name"]] = one["current"]["value"]
        for one in dashboard["annotations"]["list"]:
            yield file.name, f"annotation {one['name']}", "", one["expr"]
        for panel in panels_of(dashboard["panels"]):
            targets = panel.get("targets", [])
            assert targets or panel["type"] == "text", f"{file.name}: {panel['title']} asks nothing"
            for target in targets:
                expression = filled_in(target["expr"], variables)
                assert "$" not in expression, f"{file.name}: {panel['title']}: a variable that is not known: {expression}"
                yield file.name, panel["title"], target.get("legendFormat", ""), expression


def drawn(prometheus, expression, began):
    """What is drawn at any moment since then: the step is that of a scrape."""
    return prometheus.get("query_range", query=expression, start=began, end=time.time(), step=1)


def empty_panels(prometheus, dashboard, began):
    """The panels that draw nothing."""
    series = collections.Counter()
    for of, panel, _, expression in questions():
        if of == dashboard:
            series[panel] += len(drawn(prometheus, expression, began)["result"])
    return [panel for panel, count in series.items() if not count and not panel.startswith("annotation ")]


def ask(prometheus, began):
    """Asks every expression; prints the tables and returns what is wrong."""
    wrong, counts = [], collections.defaultdict(dict)
    print(f"\n{'dashboard, panel':<62} series")
    for dashboard, panel, legend, expression in questions():
        data = drawn(prometheus, expression, began)
        series = data["result"]
        counts[dashboard].setdefault(panel, []).append(len(series))
        print(f"{dashboard.removesuffix('.json')}: {panel}{f' [{legend}]' if legend else ''}"[:62].ljust(62), len(series))
        if not series:
            wrong.append(f"{dashboard}: {panel}: nothing from {expression} {data.get('error', '')}")
        missing = [name for name in re.findall(r"\{\{(\w+)\}\}", legend) if any(name not in one["metric"] for one in series)]
        if missing:
            wrong.append(f"{dashboard}: {panel}: the legend names {missing}, which not all series of {expression} have")
        numbers = [float(value) for one in series for _, value in one["values"]]
        if series and all(number != number for number in numbers):
            wrong.append(f"{dashboard}: {panel}: nothing but NaN from {expression}")
    print(f"\n{'dashboard':<62} panels, expressions, series of each")
    for dashboard, panels in counts.items():
        # Besides the variables and annotations.
        each = [panel for name, panel in panels.items() if not name.startswith(("variable ", "annotation "))]
        series = [count for panel in each for count in panel]
        print(f"{dashboard.removesuffix('.json'):<62} {len(each):3} {len(series):3} {min(series):3} to {max(series)}")
    return wrong


def check_alert(alert, runbooks):
    """What is wrong with the texts of an alert that fires."""
    name, notes = alert["labels"]["alertname"], alert["annotations"]
    wrong = [f"{name}: {key}: {text}" for key, text in notes.items() if "<" in text or "error expanding" in text or "%!" in text]
    wrong += [f"{name}: {key} has a gap: {text}" for key, text in notes.items() if text.startswith(" ") or "  " in text or "()" in text]
    if notes.get("runbook_url") not in runbooks:
        wrong.append(f"{name}: no such runbook: {notes.get('runbook_url')}")
    return wrong


def main():
    began_all = time.monotonic()
    headings = re.findall(r"^#+ `?(.*?)`?$", (PROJECT / "docs/operations.md").read_text(), re.MULTILINE)
    runbooks = {f"docs/operations.md#{heading.lower().replace(' ', '-')}" for heading in headings}
    wrong, fired, texts = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "prometheus").mkdir()
        prometheus = Prometheus(folder / "prometheus")
        world, replicas = troubled.World(BINARY, folder, prometheus), troubled_replicas.Replicas(BINARY, prometheus)
        try:
            began = time.time()
            alerts = {rule["name"] for rule in prometheus.rules() if rule["type"] == "alerting"}
            if unknown := alerts ^ (set(ALL) | set(NOT_PRODUCED)):
                sys.exit(f"alerts without a line here, or lines without an alert: {sorted(unknown)}")
            replicas.start()
            world.produce("calm")
            time.sleep(CALM)
            if early := {alert["labels"]["alertname"] for alert in prometheus.firing()}:
                wrong.append(f"with healthy gateways fire {sorted(early)}")
            if empty := empty_panels(prometheus, "idgate-replicas.json", began):
                wrong.append(f"with healthy replicas are empty {empty}")
            print(f"{CALM} s with a healthy gateway and three healthy replicas: {'no alert' if not early else sorted(early)}", flush=True)
            replicas.begin()
            # What takes longest first.
            world.begin(sorted(set(ALERTS.values()), key=lambda name: (name not in SLOW, name)))
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and set(ALL) - set(fired):
                time.sleep(1)
                for alert in prometheus.firing():
                    name, labels = alert["labels"]["alertname"], alert["labels"]
                    # A late scrape is no gateway that is down: it must be the instance in that trouble, where one is named.
                    # The provider of the replicas is in no trouble.
                    of = replicas if name in REPLICAS else world
                    if name not in ALL or not of.has_caused(ALL[name], labels) or labels.get("provider") == troubled_replicas.PROVIDER:
                        continue
                    if name not in fired:
                        fired[name] = time.time() - began
                    texts.setdefault(name, alert)
                for condition in set(ALL.values()):
                    last = max(fired.get(name, math.inf) for name, of in ALL.items() if of == condition)
                    # One trouble of the replicas waits for the end of the one before.
                    if condition in REPLICAS.values() and last < math.inf:
                        replicas.finish(condition)
                    elif time.time() - began - last > 10:
                        world.finish(condition)
            replicas.settle()
            wrong += world.wrong + replicas.wrong
            for alert in texts.values():
                wrong += check_alert(alert, runbooks)
            print(f"\n{'alert':<62} after s, series; its condition")
            for name, condition in ALL.items():
                series = prometheus.get("query_range", query=f'ALERTS{{alertname="{name}",alertstate="firing"}}', start=began, end=time.time(), step=1)["result"]
                after = f"{fired[name]:5.0f}" if name in fired else "NEVER"
                print(f"{name:<62} {after} {len(series):3}; {condition}")
                if name not in fired:
                    wrong.append(f"{name} did not fire")
            for rule in prometheus.rules():
                if rule["health"] != "ok":
                    wrong.append(f"{rule['name']}: {rule['health']} {rule.get('lastError')}")
                if rule["type"] == "recording":
                    series = prometheus.get("query", query=rule["name"])["result"]
                    print(f"{'record: ' + rule['name']:<62} {len(series)}")
                    if not series:
                        wrong.append(f"{rule['name']} has no series")
                elif rule["name"] in NOT_PRODUCED:
                    for name in set(re.findall(r"\bidgate_\w+", rule["query"])):
                        if not prometheus.get("query", query=name)["result"]:
                            wrong.append(f"{rule['name']}: no series {name}")
                    print(f"{rule['name']:<62} not produced: {NOT_PRODUCED[rule['name']]}")
            wrong += ask(prometheus, began)
        finally:
            world.end()
            replicas.end()
            prometheus.stop()
    print(f"\n{len(fired)} of {len(ALL)} alerts fired; {time.monotonic() - began_all:.0f} s", flush=True)
    if wrong:
        print("WRONG:", *wrong, sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    # Ends as after an error, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    sys.exit(main())
