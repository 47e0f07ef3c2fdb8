"""Results as Markdown, and the tables of docs/performance.md."""

import json
import re
import sys
from statistics import median

from .machine import ROOT, WORK
from .servers import REFERENCE

DOCUMENT = ROOT / "docs" / "performance.md"
GATEWAYS = ("idgate", "idgate-ledger")


def save(name, data):
    folder = WORK / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1))


def load(name):
    file = WORK / "results" / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def table(head, rows):
    return "".join(f"| {' | '.join(str(cell) for cell in row)} |\n" for row in [head, ["---"] * len(head), *rows])


def caption(*results):
    """When, of what and where these were measured."""
    results = [result for result in results if result]
    if not results:
        return "Not measured yet.\n"
    first, last = min(results, key=lambda one: one["date"]), max(results, key=lambda one: one["date"])
    commits = " and ".join(f"`{commit.partition(' ')[0]}`{commit.partition(' ')[1]}{commit.partition(' ')[2]}"
                           for commit in sorted({result["commit"] for result in results}))
    date = first["date"] if first["date"] == last["date"] else f"{first['date'].removesuffix(' UTC')} to {last['date']}"
    text = f"Measured {date}, commit {commits}, {first['machine']}, load {first['load']} at the start."
    if jitter := max(result.get("jitter", 0) for result in results):
        text += f" 99 of 100 repeats of the same millisecond of work took at most {jitter:.1f} times the median."
    if rounds := [one for result in results for every in result.get("rounds", {}).values() for one in every]:
        seconds = sorted({f"{result['seconds']:g}" for result in results if "rounds" in result})
        counts = sorted({len(every) for result in results for every in result.get("rounds", {}).values()})
        text += f" Medians of {' or '.join(map(str, counts))} rounds of {' or '.join(seconds)} s; "
        text += f"others took at most {max(one['others'] for one in rounds):.0%} of the machine in a round"
        text += f", {errors} requests failed." if (errors := sum(one["errors"] for one in rounds)) else ", no request failed."
    return text + "\n"


class Rounds:
    """The rounds of one workload."""

    def __init__(self, name):
        self.data = load(name)
        self.of = self.data["rounds"] if self.data else {}
        self.limit = self.of.get(REFERENCE[self.data["path"]], []) if self.data else []

    def median(self, target, key):
        return median(one[key] for one in self.of[target])

    def ratio(self, target, key="processor_us"):
        """Round by round to the limit of the same run."""
        return median(one[key] / limit[key] for one, limit in zip(self.of[target], self.limit))

    def more_ms(self, target):
        """How far p99 is above the limit's, round by round."""
        return median(one["p99_us"] - limit["p99_us"] for one, limit in zip(self.of[target], self.limit)) / 1000

    def cost(self, target):
        if target not in self.of:
            return "–"
        return f"{self.median(target, 'processor_us'):.1f} µs ({self.ratio(target):.2f} ×)"

    def waiting_kib(self, target):
        return (self.median(target, "mib") - self.data["idle"][target]) / 2000 * 1024


def bytes_each(result, target):
    """Memory of a remembered verdict."""
    one = result["memory"][target]
    return (one["full"] - one["fresh"]) / one["entries"] * 2**20


def text(name, entries=0):
    """All that was measured with one workload."""
    name = "memory-" + str(entries) if name == "memory" else name
    result = load(name)
    if "rounds" not in result:
        return f"\n{json.dumps({key: value for key, value in result.items() if key != 'counts'}, indent=1)}\n"
    rounds, head = Rounds(name), ["target", "requests/s", "processor time", "p50", "p99", "p99.9", "asked/request", "idle", "loaded", "errors"]
    rows = [[
        target, f"{rounds.median(target, 'rate'):,.0f}", rounds.cost(target),
        *(f"{rounds.median(target, key):,.0f} µs" for key in ("p50_us", "p99_us", "p999_us")), f"{rounds.median(target, 'asked'):.2f}",
        f"{result['idle'][target]:.1f} MiB", f"{rounds.median(target, 'mib'):.1f} MiB", sum(one["errors"] for one in rounds.of[target]),
    ] for target in rounds.of]
    return f"\n### {name}\n\n{caption(result)}\n{table(head, rows)}"


# --- docs/performance.md ---


def limits():
    hot, many, miss, rate, wait = workloads = [
        Rounds(name) for name in ("hit-hot", "hit-100k", "miss", "latency-miss-4000", "waiting-2000")
    ]
    memory, start = load("memory-1000000"), load("start")
    rows = []

    def row(what, aim, show, limit):
        cells = []
        for target in GATEWAYS:
            try:
                cells.append(show(target))
            except (KeyError, TypeError, IndexError):
                cells.append("–")
        try:
            cells.append(limit())
        except (KeyError, TypeError, IndexError):
            cells.append("–")
        rows.append([what, aim, *cells])

    def cost(rounds):
        return lambda target: f"**{rounds.ratio(target):.2f} ×** ({rounds.median(target, 'processor_us'):.1f} µs, {rounds.median(target, 'rate'):,.0f}/s)"

    def of_limit(rounds, name, show):
        return lambda: show(rounds, name)

    def plain(rounds, name):
        return f"{rounds.median(name, 'processor_us'):.1f} µs, {rounds.median(name, 'rate'):,.0f}/s"

    row("hit, one person: processor time", "1.35 ×, 1.8 ×", cost(hot), of_limit(hot, "limit-axum", plain))
    row("hit, 100,000 people", "1.45 ×, 2.0 ×", cost(many), of_limit(many, "limit-axum", plain))
    row("miss with V3 signing", "1.9 ×, 3.0 ×", cost(miss), of_limit(miss, "limit-proxy", plain))
    row("miss at a fixed 4,000/s", "–", cost(rate), of_limit(rate, "limit-proxy", plain))
    row("miss at a fixed 4,000/s: p99 above the limit's", "1 ms, 5 ms",
        lambda target: f"**{rate.more_ms(target):+.2f} ms** ({rate.median(target, 'p99_us') / 1000:.2f} ms)",
        lambda: f"{rate.median('limit-proxy', 'p99_us') / 1000:.2f} ms")
    row("2,000 waiting for a provider of 8 s: memory of each", "45 KiB", lambda target: f"**{wait.waiting_kib(target):.0f} KiB**",
        lambda: f"{wait.waiting_kib('limit-proxy'):.0f} KiB")
    row("a remembered verdict, at a million: memory", "300 bytes", lambda target: f"**{bytes_each(memory, target):.0f} bytes**", lambda: "–")
    row("resident when idle after the start", "15 MiB", lambda target: f"**{median(start['start'][target]['mib']):.1f} MiB**",
        lambda: f"{hot.data['idle']['limit-axum']:.1f} MiB")
    row("from the start to the first connection", "50 ms", lambda target: f"**{median(start['start'][target]['ready_ms']):.0f} ms**", lambda: "–")
    head = ["what", "aim: without, with a ledger", "idgate", "with a ledger", "its limit"]
    return caption(*(one.data for one in workloads), memory, start) + "\n" + table(head, rows)


def peers():
    hot, many, miss, rate, wait = (Rounds(name) for name in ("hit-hot", "hit-100k", "miss", "latency-miss-4000", "waiting-2000"))
    memory = load("memory-100000")
    names = dict.fromkeys(name for rounds in (hot, many, miss, rate) for name in rounds.of if "-beside" not in name)
    rows = []
    for name in names:
        p99 = f"{rate.median(name, 'p99_us') / 1000:.2f} ms" if name in rate.of else "–"
        each = f"{bytes_each(memory, name):,.0f} bytes" if memory and name in memory["memory"] else "–"
        waits = f"{wait.waiting_kib(name):.0f} KiB" if name in wait.of else "–"
        idle = next((rounds.data["idle"][name] for rounds in (hot, miss) if name in rounds.of), None)
        rows.append([name, hot.cost(name), many.cost(name), miss.cost(name), p99, each, waits, f"{idle:.0f} MiB" if idle else "–"])
    head = ["target", "hit, one person", "hit, 100,000 people", "miss", "p99 of a miss at 4,000/s", "remembered, at 100,000", "waiting", "idle"]
    return caption(*(one.data for one in (hot, many, miss, rate, wait)), memory) + "\n" + table(head, rows)


def instructions():
    result = load("instructions")
    rows = []
    for name, counts in (result["counts"] if result else {}).items():
        cells = []
        for kind in ("hit_1", "hit_32", "miss_1", "miss_32"):
            one = counts.get(kind)
            cells.append(f"{one['without_sha']:,} + {one['sha']:,}" if one else "–")
        rows.append([name, *cells])
    return caption(result) + "\n" + table(["target", "hit, 1 connection", "hit, 32", "miss, 1", "miss, 32"], rows)


def wiping():
    result = load("instructions")
    rows = []
    for name in GATEWAYS if result else ():
        for kind in ("hit_1", "miss_1"):
            one = result["counts"][name][kind]
            rows.append([f"{name}, {kind.removesuffix('_1')}", f"{one['layers'].get(FREED, 0):,}", f"{one['wiping']:,}"])
    return caption(result) + "\n" + table(["request, 1 connection", "what is freed", "stacks, by the clock (under valgrind)"], rows)


def layer_costs():
    result = load("instructions")
    if not result:
        return caption()
    columns = [result["counts"][name][kind]["layers"] for name in GATEWAYS for kind in ("hit_1", "miss_1")]
    names = sorted({layer for column in columns for layer in column}, key=lambda layer: -max(column.get(layer, 0) for column in columns))
    rows = [[name, *(f"{column[name]:,}" if column.get(name, 0) >= 100 else "–" for column in columns)] for name in names]
    rows.append(["**the whole request**", *(f"**{sum(column.values()):,}**" for column in columns)])
    return caption(result) + "\n" + table(["layer", "hit", "miss", "hit, ledger", "miss, ledger"], rows)


def protocols():
    result = load("protocols")
    costs = result["protocols"] if result else {}
    rows = [[name, f"{median(every):.1f} µs", f"{median(cost / rest for cost, rest in zip(every, costs['REST'])):.2f} ×"]
            for name, every in costs.items()]
    return caption(result) + "\n" + table(["protocol", "processor time of a hit", "against REST"], rows)


def written(name):
    """What sustained.py, stalled_log.py or builds.py wrote."""
    result = load(name)
    return caption(result) + (f"\n{result['table']}" if result else "")


SECTIONS = {
    "limits": limits, "peers": peers, "instructions": instructions, "wiping": wiping, "layers": layer_costs, "protocols": protocols,
    **{name: lambda name=name: written(name) for name in ("sustained", "sustained-ledger", "stalled-log", "builds-debug", "builds-release")},
}


def document():
    """Writes every table of docs/performance.md between its marks. What was not measured stays as it is."""
    before = DOCUMENT.read_text()

    def fill(found):
        new = SECTIONS[found[1]]()
        return found[0] if new.startswith("Not measured") else f"<!-- table: {found[1]} -->\n\n{new}\n<!-- end -->"

    DOCUMENT.write_text(re.sub(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", fill, before, flags=re.S))
    print(f"wrote {DOCUMENT}", file=sys.stderr)


# --- layers ---

FREED = "wiping what is freed"
# By the path of a source file, the first that fits; what fits none is part of what calls it.
LAYERS = {
    "listener": r"/src/server/listener/",
    "authentication, rates": r"/src/server/auth/",
    "enumeration guard": r"/src/verify/enumeration",
    "request: body, rules, answer, log line, count": r"/src/server/",
    "names, numbers, digests": r"/src/domain/",
    "cached look-up": r"/src/verify/(cached_lookup|verdict_cache|warm)|/src/storage/cache/|/src/resilience/flight|/moka-|/src/verify/question",
    "encode, sign, decode": r"/src/providers/|/src/verify/exchange",
    "ledger": r"/src/storage/ledger/|/src/verify/ledger|/sqlx|libsqlite3-sys|sqlite3\.c",
    "chain, endpoint: places, breaker, hold, rate, bill": r"/src/verify/(?!outbound)|/src/resilience/|/governor-",
    "way out: our client": r"/src/verify/outbound/|/reqwest-",
    "HTTP, both ways (hyper, axum)": r"/(hyper|hyper-util|httparse|http|http-body|http-body-util|axum|axum-core|tower|tower-http|matchit)-\d",
    "runtime (tokio)": r"/(tokio|tokio-util|mio)-\d",
    FREED: r"/zeroizing-alloc-",
}
SHA_256 = re.compile(r"sha256_block|sha2.*compress|compress256")


def layers(profile, clock):
    """Instructions by layer. A line of source belongs to the layer of its file, also where it was inlined elsewhere; the
    allocator, libc and general code belong to whoever called them."""
    layer_of, patterns = {}, [(layer, re.compile(pattern)) for layer, pattern in LAYERS.items()]
    clock, own, general, callers = re.compile(clock), {}, {}, {}
    for (function, file), cost in profile.own.items():
        if SHA_256.search(function):
            layer = "SHA-256 in software"
        elif clock.search(function):
            layer = "clock"
        elif "zeroizing_alloc::clear" in function:
            layer = FREED
        else:
            if file not in layer_of:
                layer_of[file] = next((layer for layer, pattern in patterns if pattern.search(f"/{file}")), None)
            layer = layer_of[file]
        if layer:
            costs = own.setdefault(function, {})
            costs[layer] = costs.get(layer, 0) + cost
        else:
            general[function] = general.get(function, 0) + cost
    for (caller, callee), cost in profile.edges.items():
        callers.setdefault(callee, {})[caller] = max(cost, 0)
    # The shares of the layers in a function; those of general code follow from its callers, in as many steps as needed.
    shares = {function: normal(costs) for function, costs in own.items()}
    for _ in range(12):
        for function in general.keys() | callers.keys():
            if function not in own:
                mixed = {}
                for caller, cost in callers.get(function, {}).items():
                    for layer, share in shares.get(caller, {}).items():
                        mixed[layer] = mixed.get(layer, 0) + share * cost
                shares[function] = normal(mixed)
    sums = {}
    for function, cost in general.items():
        for layer, share in (shares.get(function) or {"other": 1}).items():
            sums[layer] = sums.get(layer, 0) + share * cost
    for costs in own.values():
        for layer, cost in costs.items():
            sums[layer] = sums.get(layer, 0) + cost
    return {layer: round(cost) for layer, cost in sums.items() if layer != "clock"}


def normal(costs):
    positive = {layer: cost for layer, cost in costs.items() if cost > 0}
    total = sum(positive.values())
    return {layer: cost / total for layer, cost in positive.items()} if total else {}
