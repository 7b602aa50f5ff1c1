"""What Envoy makes of a check: requests a second at the limit, and what a
filter adds to the latency of a request."""

import http.client
import re
import secrets
import subprocess
import sys

import envoy_config as config
import envoy_memory
import question
from processes import BUILT, LOADING, ROOT, Floor, Portcullis, Process, free_port, load, machine, median, mint, report

VERSION = "1.40.0"
CONNECTIONS = 32
RATES = [1000, 5000]
# Throughput of the recommended to that of the filter that asks the floor.
BASE = "floor-tcp"
# At least so many times the throughput of another.
BOUNDS = {("unix-few", BASE): 1.25, ("module", "tcp-few"): 2.3, ("module", "jwt"): 1.5}
# Of the engine's own throughput, when every token is another.
EVERY_TOKEN_ANOTHER = 0.9
# Those whose memory is told.
IN_MEMORY = ["none", "module", "jwt", "tcp-few"]


class Variant:
    def __init__(self, name, label, filters, server=None, decides=True):
        self.name, self.label, self.filters, self.server, self.decides = name, label, filters, server, decides
        self.port = free_port()
        self.rate, self.envoy_cpu, self.server_cpu = [], [], []
        self.late = {rate: {"p50": [], "p99": []} for rate in RATES}

    def status(self, port, bearer):
        """At a port of its; none when nobody listens."""
        try:
            return self.ask(bearer, port=port).status
        except OSError:
            return None

    def ask(self, bearer, path="/api/agents/seen", port=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
        if bearer:
            headers["authorization"] = f"Bearer {bearer}"
        connection.request("GET", path, headers={**question.BROWSER, "host": question.HOST, **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def verify(self, token):
        """That it lets in whom it should, and nobody else; that what is forged
        goes no further."""
        statuses = [self.ask(bearer).status for bearer in (token, None, question.with_bad_signature(token))]
        if statuses != ([200, 401, 401] if self.decides else [200, 200, 200]):
            sys.exit(f"{self.name}: with a good token, none and a bad one: {statuses}")
        if self.name != "module" and not isinstance(self.server, Portcullis):
            return
        forged = {name: "forged" for name in config.SEEN}
        answer = self.ask(token, **forged)
        seen = {name: answer.getheader(f"seen-{at}") for at, name in enumerate(config.SEEN)}
        # Envoy writes `-` for what is not there.
        seen = {name: value for name, value in seen.items() if value not in (None, "", "-")}
        if answer.status != 200 or seen != {"x-user-id": "7", "x-user-role": "REGULAR"}:
            sys.exit(f"{self.name} lets through what is forged: {answer.status} {seen}")

    def limit(self, seconds, envoy, headers):
        """Requests a second, and what they cost of CPU, here and there."""
        envoy_before, server_before = envoy.cpu(), self.server.cpu() if self.server else 0
        command = ["taskset", "-c", LOADING, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        command += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        said = subprocess.check_output([*command, f"http://127.0.0.1:{self.port}{question.PATH}"], text=True)
        if "Non-2xx" in said or "Socket errors" in said:
            sys.exit(f"{self.name}: not every request was let in:\n{said}")
        requests = int(re.search(r"(\d+) requests in", said)[1])
        self.rate.append(float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]))
        self.envoy_cpu.append((envoy.cpu() - envoy_before) / requests * 1e6)
        self.server_cpu.append(((self.server.cpu() - server_before) if self.server else 0) / requests * 1e6)

    def another(self, seconds, request, key_file):
        """Throughput with every token another, of that with one, by one generator."""
        options = {"http1": True, "connections": CONNECTIONS, "streams": 1, "seconds": seconds}
        said = [load(f"127.0.0.1:{self.port}", request, **options, **more) for more in ({}, {"renew": key_file})]
        same, other = (each["answers"] / each["seconds"] for each in said)
        return other / same

    def latency(self, seconds, request):
        for rate, times in self.late.items():
            said = load(f"127.0.0.1:{self.port}", request, http1=True, rate=rate, seconds=seconds)
            for name in times:
                times[name].append(said[name])


def variants(room, key):
    floor = Floor("floor", room)
    tcp = Portcullis("tcp", room, key)
    unix = Portcullis("unix", room, key, check=f"unix:{room}/check.sock")
    clusters = [config.cluster(server.name, server.target) for server in (floor, tcp, unix)]
    few = config.needed()
    return clusters, [
        Variant("none", "no filter", [], decides=False),
        Variant("module", "the engine in Envoy", config.module(room / "module.toml")),
        Variant("module-floor", "the same of Envoy, asked blindly", config.module_floor(), decides=False),
        Variant("jwt", "jwt_authn and rbac", config.jwt_and_rbac(key)),
        Variant("floor-tcp", "ext_authz: (a), TCP, all headers", config.ext_authz("floor"), floor, decides=False),
        Variant("tcp", "portcullis, TCP, all headers", config.ext_authz("tcp"), tcp),
        Variant("tcp-few", "portcullis, TCP, what it needs", config.ext_authz("tcp", few), tcp),
        Variant("unix", "portcullis, Unix, all headers", config.ext_authz("unix"), unix),
        Variant("unix-few", "portcullis, Unix, what it needs", config.ext_authz("unix", few), unix),
    ]


def start(room, key, clusters, listeners, answers, workers=1):
    binary = subprocess.check_output([ROOT / "envoy/install", VERSION], text=True).strip()
    file = room / "envoy.json"
    file.write_text(config.json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
    options = ["--concurrency", str(workers), "--disable-hot-restart", "--log-level", "warning"]
    # Beside the module, where Envoy looks for it, too.
    floor = ["cc", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", BUILT / "libmodule_floor.so"]
    subprocess.check_call([*floor, ROOT / "tests/bench/module_floor.c"])
    told = {"AUTH_JWT_SECRET": key, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(BUILT)}
    envoy = Process("envoy", [binary, "-c", file, *options], room, **told)
    envoy.wait(answers)
    return envoy


def run(room, pairs, seconds):
    key = secrets.token_hex(32)
    clusters, everyone = variants(room, key)
    (room / "module.toml").write_text("telemetry.allowed_decisions = 0.0\n")
    listeners = [config.listener(each.port, each.filters) for each in everyone]
    first = everyone[0]
    envoy = start(room, key, clusters, listeners, lambda: first.status(first.port, None))
    token = mint(key)
    headers = {"Host": question.HOST, **question.BROWSER, "authorization": f"Bearer {token}"}
    request = room / "request"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request.write_text(f"GET {question.PATH} HTTP/1.1\r\n{lines}\r\n", newline="")
    for each in everyone:
        each.verify(token)
        each.limit(1, envoy, headers)
        # That was to warm up.
        for seen in (each.rate, each.envoy_cpu, each.server_cpu):
            seen.clear()
    for turn in range(pairs):
        for each in everyone:
            each.limit(seconds, envoy, headers)
        print(f"turn {turn + 1} of {pairs}: " + "  ".join(f"{e.name} {e.rate[-1]:.0f}/s" for e in everyone), flush=True)
    for _ in range(pairs):
        for each in everyone:
            each.latency(seconds, request)
    key_file = room / "key"
    key_file.write_text(key)
    module = next(each for each in everyone if each.name == "module")
    another = [module.another(seconds, request, key_file) for _ in range(pairs)]
    measured = [each for each in everyone if each.name in IN_MEMORY]
    memory = envoy_memory.measure(measured, clusters, room, key, token, start)
    return show(everyone, another, memory, pairs, seconds)


def show(everyone, another, memory, pairs, seconds):
    by_name = {each.name: each for each in everyone}
    none, base = by_name["none"], by_name[BASE]
    print(f"\n{'':44} {'per s':>6} {'to (a)':>6} │ {'Envoy':>6} {'server':>6} CPU µs", end="")
    print("".join(f" │ {'p50':>5} {'p99':>6} µs added at {rate}/s" for rate in RATES))
    table = {}
    for each in everyone:
        added = {
            rate: {name: median(x - y for x, y in zip(times[name], none.late[rate][name])) for name in times}
            for rate, times in each.late.items()
        }
        row = table[each.name] = {
            "label": each.label,
            "requests_per_second": median(each.rate),
            "to_floor": median(x / y for x, y in zip(each.rate, base.rate)),
            "envoy_cpu_microseconds": median(each.envoy_cpu),
            "server_cpu_microseconds": median(each.server_cpu),
            "added_microseconds": added,
            "turns": {"requests_per_second": each.rate, "microseconds": each.late},
        }
        print(
            f"{each.name:10} {each.label:33} {row['requests_per_second']:6.0f} {row['to_floor']:6.2f} │ "
            f"{row['envoy_cpu_microseconds']:6.1f} {row['server_cpu_microseconds']:6.1f}       "
            + "".join(f" │ {times['p50']:5.0f} {times['p99']:6.0f}                   " for times in added.values())
        )
    bounds = []
    print()
    ratios = [
        (f"throughput, {high} to {low}", [x / y for x, y in zip(by_name[high].rate, by_name[low].rate)], bound)
        for (high, low), bound in BOUNDS.items()
    ]
    ratios.append(("throughput of module, every token another to one", another, EVERY_TOKEN_ANOTHER))
    for what, values, bound in ratios:
        value = median(values)
        holds = round(value, 2) >= bound
        bounds.append({"what": what, "value": value, "at_least": bound, "holds": holds})
        print(f"{what}: {value:.2f}, at least {bound}: {'holds' if holds else 'DOES NOT HOLD'}")
    rows, base = memory
    envoy_memory.show(rows, base)
    report("envoy", {
        "machine": machine(), "envoy": VERSION, "pairs": pairs, "seconds": seconds, "variants": table,
        "memory": {"none": base, "beside": rows}, "bounds": bounds,
    })
    return all(bound["holds"] for bound in bounds)
