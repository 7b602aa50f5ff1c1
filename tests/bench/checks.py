"""What a check costs beside a server that does nothing, over gRPC alone."""

import re
import secrets
import subprocess
import sys

import question
from processes import LOADING, Floor, Portcullis, Process, free_port, load, machine, median, mint, report

METHOD = "/envoy.service.auth.v3.Authorization/Check"
CONNECTIONS, STREAMS = 4, 16
RULES, REVOKED, DISTINCT = 10_000, 1_000_000, 1_000_000
# The most that a ratio of medians may be; memory in MiB.
BOUNDS = {
    "CPU a check, (b) to (a)": 1.00,
    "CPU a check, (c) to (b)": 1.05,
    "CPU a check, (d) to (b)": 1.05,
    "CPU a check, (e) to (b)": 1.25,
    "CPU a check, (h) to (g)": 1.05,
    "CPU a check, (n) to (m)": 1.05,
    "p99 at half load, (b) to (a)": 1.10,
    "MiB after 1,000,000 distinct tokens": 40,
}


def many_rules(room):
    """A file of 10,000 rules, the built-in ones among them."""
    kinds = ['path_prefix = "/service-{0}/v1"', 'path = "/service-{0}/v1/status"', 'path_template = "/service-{0}/{{id}}/runs"']
    rules = [
        f'[[rules]]\nname = "r{at}"\n{kinds[at % 3].format(at)}\naccess = "authenticated"\n' for at in range(RULES - 2)
    ]
    rules.append('[[rules]]\nname = "agents"\npath_prefix = "/api/agents"\nroles = ["REGULAR", "ADMIN"]\n')
    rules.append('[[rules]]\nname = "health"\npath = "/api/healthcheck"\naccess = "public"\n')
    file = room / "rules.toml"
    file.write_text("\n".join(rules))
    return file


def tools(room, source):
    """Rules for an MCP server: by its path alone, or by its tools, told by this."""
    rules = '[[rules]]\nname = "mcp"\npath_prefix = "/mcp"\nroles = ["REGULAR"]\n'
    if source:
        asked = 'mcp = { methods = ["tools/call"], tools = ["delete_*", "send_mail"] }\n'
        rules = f'mcp.source = "{source}"\n{rules}{rules.replace("mcp", "mcp-tools", 1)}{asked}'
    file = room / f"mcp-{source}.toml"
    file.write_text(rules)
    return file


def many_revoked(room):
    """The address of a Redis with 1,000,000 revoked tokens, as portcullis keeps them."""
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    redis = Process("redis", command, room, LOADING)
    redis.says("(Ready to accept connections)")

    def commands():
        end = str(2**33)
        for at in range(REVOKED):
            parts = ["XADD", "portcullis:{revocations}:stream", "*", "t", f"{at:064x}", "u", end]
            yield f"*{len(parts)}\r\n" + "".join(f"${len(part)}\r\n{part}\r\n" for part in parts)

    with subprocess.Popen(
        ["redis-cli", "-p", str(port), "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as pipe:
        pipe.stdin.writelines(commands())
        said, _ = pipe.communicate()
    if "errors: 0" not in said:
        sys.exit(f"Redis did not take the revocations: {said}")
    return f"redis://127.0.0.1:{port}"


class Variant:
    """A server, what it is asked, and what it has to answer."""

    def __init__(self, name, label, server, asked, expect="allow", renew=None):
        self.name, self.label, self.server, self.question = name, label, server, asked
        self.options = {"expect": expect, **({"renew": renew} if renew else {})}
        self.cpu, self.rate = [], []
        self.late = {"p50": [], "p99": [], "p999": []}

    def verify(self):
        """That it answers what it should: every answer is decoded."""
        load(self.server.target, self.question, questions=1000, **self.options)

    def limit(self, seconds, with_own):
        """CPU a check and checks a second, when it is given all that it can bear."""
        before = self.server.cpu()
        if with_own:
            said = load(self.server.target, self.question, seconds=seconds, connections=CONNECTIONS, streams=STREAMS, **self.options)
            answers, rate = said["answers"], said["answers"] / said["seconds"]
        else:
            answers, rate = h2load(self.server.target, self.question, seconds)
        self.cpu.append((self.server.cpu() - before) / answers * 1e6)
        self.rate.append(rate)

    def half(self, seconds):
        """How long an answer takes at half of that."""
        rate = round(median(self.rate) / 2)
        said = load(self.server.target, self.question, seconds=seconds, connections=CONNECTIONS, rate=rate, **self.options)
        for name, times in self.late.items():
            times.append(said[name])


def h2load(target, asked, seconds):
    """Answers, and answers a second; every one of them a gRPC answer of 200.
    What they say was verified before, by the other generator."""
    framed = asked.with_suffix(".framed")
    framed.write_bytes(question.framed(asked.read_bytes()))
    command = ["taskset", "-c", LOADING, "h2load", f"-c{CONNECTIONS}", f"-m{STREAMS}", f"-D{seconds}", "-d", str(framed)]
    command += ["-w28", "-W28", "-H", "te: trailers", "-H", "content-type: application/grpc"]
    command += ["-H", "grpc-timeout: 10S", "-H", "x-envoy-internal: true", "-H", "x-forwarded-for: 10.0.0.5"]
    said = subprocess.check_output([*command, f"http://{target}{METHOD}"], text=True)
    done = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    if not done or done[1] != done[2] or {done[3], done[4], done[5]} != {"0"}:
        sys.exit(f"not every check was answered:\n{said}")
    return int(done[2]), float(re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", said)[1])


def variants(room, key):
    token = mint(key)
    asked = {}
    for name, bearer in {"good": token, "none": None, "forged": question.with_bad_signature(token)}.items():
        asked[name] = room / f"{name}.question"
        asked[name].write_bytes(question.question(bearer))
    for name, told in {"call": None, "told": question.TOLD}.items():
        asked[name] = room / f"{name}.question"
        asked[name].write_bytes(question.question(token, question.CALL, told))
    key_file = room / "key"
    key_file.write_text(key)
    redis = {"PORTCULLIS__STORE__KIND": "redis", "PORTCULLIS__STORE__URL": many_revoked(room)}
    floor = Floor("floor", room)
    built_in = Portcullis("built-in", room, key)
    distinct = Portcullis("distinct", room, key)
    good = asked["good"]
    by_path = Portcullis("by-path", room, key, config=tools(room, None))
    by_h2load = [
        Variant("a", "generated server that answers OK", floor, good),
        Variant("b", "built-in rules, a good token", built_in, good),
        Variant("c", "10,000 rules", Portcullis("rules", room, key, config=many_rules(room)), good),
        Variant("d", "1,000,000 revoked tokens", Portcullis("revoked", room, key, **redis), good),
        Variant("g", "an MCP server, by its path", by_path, asked["call"]),
        Variant("h", "by Mcp-Method and Mcp-Name", Portcullis("headers", room, key, config=tools(room, "headers")), asked["call"]),
        Variant("m", "(g) with Envoy's metadata", by_path, asked["told"]),
        Variant("n", "by Envoy's metadata", Portcullis("told", room, key, config=tools(room, "envoy")), asked["told"]),
        Variant("f1", "denied: no token", built_in, asked["none"], "deny"),
        Variant("f2", "denied: bad signature", built_in, asked["forged"], "deny"),
        Variant("bl", "(b) with every allowance logged", Portcullis("logged", room, key, logged="1.0"), good),
    ]
    by_own = [
        Variant("a'", "(a), by the other generator", floor, good),
        Variant("b'", "(b), by the other generator", built_in, good),
        Variant("e", "every token another", distinct, good, renew=key_file),
    ]
    return by_h2load, by_own, distinct


def run(room, pairs, seconds):
    by_h2load, by_own, distinct = variants(room, secrets.token_hex(32))
    everyone = by_h2load + by_own
    rest = {each.name: each.server.memory() for each in everyone}
    for each in everyone:
        each.verify()
    for turn in range(pairs + 1):
        for each in everyone:
            each.limit(seconds if turn else 1, each in by_own)
            if not turn:
                # The first turn warms up.
                each.cpu.clear()
                each.rate.clear()
        print(f"turn {turn} of {pairs}: " + "  ".join(f"{e.name} {e.cpu[-1]:.2f} µs" for e in everyone if e.cpu), flush=True)
    for _ in range(pairs):
        for each in everyone:
            each.half(seconds)
    for_memory = Variant("", "", distinct, by_own[-1].question, **by_own[-1].options)
    load(distinct.target, for_memory.question, questions=DISTINCT, seconds=600, streams=STREAMS, **for_memory.options)
    table = show(everyone, rest)
    bounds = hold(everyone, distinct.memory())
    report("checks", {"machine": machine(), "pairs": pairs, "seconds": seconds, "variants": table, "bounds": bounds})
    return all(bound["holds"] for bound in bounds)


def ratio(high, low, of=lambda each: each.cpu):
    """The median of the ratios, turn by turn."""
    return median(x / y for x, y in zip(of(high), of(low)))


def show(everyone, rest):
    by_name = {each.name: each for each in everyone}
    print(f"\n{'':36} {'CPU µs':>7} {'to (a)':>7} {'to (b)':>7} {'per s':>7} │ {'p50 µs':>7} {'p99':>7} {'p99.9':>7} at half load │ MiB")
    table = {}
    for each in everyone:
        floor, built_in = (by_name["a'"], by_name["b'"]) if each.name in ("a'", "b'", "e") else (by_name["a"], by_name["b"])
        row = table[each.name] = {
            "label": each.label,
            "cpu_microseconds": median(each.cpu),
            "cpu_to_a": ratio(each, floor),
            "cpu_to_b": ratio(each, built_in),
            "checks_per_second": median(each.rate),
            **{name: median(times) for name, times in each.late.items()},
            "memory_at_rest": rest[each.name],
            "memory": each.server.memory(),
            "turns": {"cpu_microseconds": each.cpu, "checks_per_second": each.rate, **each.late},
        }
        print(
            f"{each.name:3} {each.label:32} {row['cpu_microseconds']:7.2f} {row['cpu_to_a']:7.2f} {row['cpu_to_b']:7.2f} "
            f"{row['checks_per_second']:7.0f} │ {row['p50']:7.0f} {row['p99']:7.0f} {row['p999']:7.0f}              │ "
            f"{row['memory_at_rest']:.0f} to {row['memory']:.0f}"
        )
    print("\nallowed_decisions = 0.0 but where it says otherwise; denials are always logged, to /dev/null.")
    return table


def hold(everyone, memory):
    by_name = {each.name: each for each in everyone}
    a, b, c, d, e, g, h, m, n = (by_name[name] for name in "abcdeghmn")
    late = lambda each: each.late["p99"]
    seen = [ratio(b, a), ratio(c, b), ratio(d, b), ratio(e, by_name["b'"]), ratio(h, g), ratio(n, m), ratio(b, a, late), memory]
    bounds = []
    print()
    for (what, bound), value in zip(BOUNDS.items(), seen):
        holds = round(value, 2) <= bound
        bounds.append({"what": what, "value": value, "at_most": bound, "holds": holds})
        print(f"{what:38} {value:6.2f}, at most {bound:.2f}: {'holds' if holds else 'DOES NOT HOLD'}")
    return bounds
