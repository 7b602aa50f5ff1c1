"""The trial itself: what passes the gateways, what it reaches, and whether that is well."""

import collections
import random
import re
import sys
import time

import corpus
import upstreams
from gateways import GATEWAYS, ROOM, Gateway, Portcullis, Process, free_port, mint, warnings
from layouts import LAYOUTS, SWITCHES, configuration
from sending import Senders, echoed, handler, shown
from upstreams import HERE, ODD, PLAIN, PYTHON

# The answers of a gateway that has none.
LOST = {500, 502, 503, 504}
PROTOCOLS = {"h1": 16, "h2": 32}
BOTH = tuple(SWITCHES)
# Layouts of rules with switches.
LONG = [
    *((layout, ()) for layout in LAYOUTS), ("open", ("case",)), ("open", ("extension",)),
    *((layout, BOTH) for layout in ("closed", "open", "templates", "exact", "roles", "forms")),
]
QUICK = [("closed", ()), ("open", ()), ("exact", ()), ("forms", ()), ("open", BOTH)]
# Compared by the text of a path alone, as a guard would that does not read it.
BY_TEXT = re.compile(rb"/admin(/|$)|/api/agents(/|$)|/users/[^/]+/keys$")
OPEN = "[check]\n%s\n[[rules]]\nname = \"open\"\npath_prefix = \"/\"\naccess = \"public\"\n" \
    "[[rules]]\nname = \"guarded\"\npath_prefix = \"/guarded\"\nroles = [\"ADMIN\"]\n"


def say(*words):
    print(*words, flush=True)


class Trial:
    """All of it; `result` has the figures."""

    def __init__(self, quick):
        self.quick = quick
        self.kinds = upstreams.SHORT if quick else upstreams.LONG
        self.paths = corpus.sample(600) if quick else corpus.everything()
        self.senders = Senders()
        # By upstream and target, the handler.
        self.reached = {kind: {} for kind in self.kinds}
        self.problems = []
        self.result = {"paths": len(self.paths), "layouts": {}, "upstreams": {}}

    def run(self):
        self.running = upstreams.start(self.kinds)
        self.check_plain()
        say(f"{len(self.paths)} paths, {len(self.kinds)} upstreams, {len(GATEWAYS)} gateways, HTTP/1.1 and HTTP/2")
        self.echo = Process("echo", [PYTHON, "-B", HERE / "echo.py", port := free_port()], port).wait()
        passed = {}
        for layout, switches in QUICK if self.quick else LONG:
            passed[layout, switches] = self.through(layout, switches)
        self.ask(set().union(*(found for found, _ in passed.values())))
        for (layout, switches), (found, counts) in passed.items():
            self.judge(layout, switches, found, counts)
        if not self.quick:
            self.unguarded()
        self.end_to_end()
        self.public_apis()
        self.check_warnings()
        self.senders.stop()
        for problem in self.problems[:40]:
            say("PROBLEM:", problem)
        if len(self.problems) > 40:
            say(f"… and {len(self.problems) - 40} more")
        self.result["problems"] = self.problems
        return not self.problems

    def problem(self, text):
        self.problems.append(text)

    def check_plain(self):
        """Every upstream has all the handlers: one that answers nothing confuses nobody."""
        for kind in self.kinds:
            paths = [upstreams.HIDDEN.get(kind, {}).get(path, path) for path in PLAIN]
            answers, = self.senders.send([("h1", self.running[kind].port, [path.encode() for path in paths], 1)])
            for path, expected, answer in zip(paths, PLAIN.values(), answers, strict=True):
                if handler(answer) != expected:
                    sys.exit(f"{kind} has {answer} at {path} and not {expected}")
            self.result["upstreams"][kind] = {"version": upstreams.version(kind)}

    def through(self, layout, switches):
        """What the stand-in receives without the credential: by the target that arrived,
        the ways (gateway, protocol, place in the corpus) by which it did."""
        began = time.monotonic()
        _, _, role = LAYOUTS[layout]
        headers = [(b"authorization", b"Bearer " + mint(role).encode())] if role else []
        portcullis = Portcullis(configuration(layout, switches))
        gateways = [Gateway(kind, portcullis, self.echo.port) for kind in GATEWAYS]
        ways = [(gateway, protocol) for gateway in gateways for protocol in PROTOCOLS]
        answers = self.senders.send([self.way(gateway, protocol, self.paths) for gateway, protocol in ways], headers)
        self.again(ways, answers, headers)
        found, statuses = collections.defaultdict(list), collections.Counter()
        for (gateway, protocol), came in zip(ways, answers, strict=True):
            for number, answer in enumerate(came):
                target = echoed(answer, number)
                statuses["passed" if target is not None else answer[0]] += 1
                if target is not None:
                    found[target].append((gateway.kind, protocol, number))
            if not any(echoed(answer, number) is not None for number, answer in enumerate(came)):
                self.problem(f"nothing passed {gateway.kind} over {protocol} with the layout {layout}")
        for one in [*gateways, portcullis]:
            one.stop()
        sent = len(self.paths) * len(ways)
        say(f"{name_of(layout, switches)}: {statuses['passed']} of {sent} passed, as {len(found)} targets, "
            f"in {time.monotonic() - began:.0f} s")
        return found, statuses

    def again(self, ways, answers, headers):
        """Asks once more for what a gateway says that it has no answer for: on a machine
        that is busy, some are lost that would have been let pass."""
        lost = [[number for number, answer in enumerate(came) if answer[0] in LOST] for came in answers]
        asked = [self.way(*way, [self.paths[number] for number in numbers]) for way, numbers in zip(ways, lost)]
        for came, numbers, told in zip(answers, lost, self.senders.send(asked, headers), strict=True):
            for at, (number, answer) in enumerate(zip(numbers, told, strict=True)):
                target = echoed(answer, at)
                # Which of all it is, and not which of these.
                came[number] = answer if target is None else (200, b"%d %s" % (number, target.hex().encode()))

    @staticmethod
    def way(gateway, protocol, targets, deep=True):
        port = gateway.port if protocol == "h1" else gateway.h2
        return protocol, port, targets, PROTOCOLS[protocol] if deep else 1

    def ask(self, targets):
        """Asks every upstream for what it has not been asked for, as a gateway hands it on."""
        began = time.monotonic()
        asked = 0
        for kind in self.kinds:
            new = sorted(target for target in targets if target not in self.reached[kind])
            answers, = self.senders.send([("h1", self.running[kind].port, new, 1)])
            self.reached[kind].update(zip(new, map(handler, answers), strict=True))
            asked += len(new)
        say(f"asked the upstreams for {asked} targets, in {time.monotonic() - began:.0f} s")

    def judge(self, layout, switches, found, statuses):
        """A guarded handler that was reached is a confusion."""
        guarded = LAYOUTS[layout][1]
        say(f"\n{name_of(layout, switches)}")
        told = {}
        for kind in self.kinds:
            of_kind = self.reached[kind]
            hits = {target: ways for target, ways in found.items() if of_kind[target] in guarded}
            requests = sum(map(len, hits.values()))
            lacks = ODD.get(kind, set()) - set(switches)
            told[kind] = {"requests": requests, "targets": len(hits)}
            if hits:
                examples = shown(sorted(hits, key=lambda target: (len(target), target)))
                say(f"  {kind}: {requests} requests reach a guarded handler, such as {examples}")
            if layout == "one-form":
                continue
            if hits and not lacks:
                self.problem(f"{kind}, {name_of(layout, switches)}: {len(hits)} targets reach a guarded handler")
            if not hits and lacks and (layout, switches) == ("open", ()):
                self.problem(f"{kind} should need {lacks}, and nothing was found without: the trial is blind")
        if not any(one["requests"] for one in told.values()):
            say("  no guarded handler was reached")
        counts = {str(status): count for status, count in statuses.items()}
        self.result["layouts"][name_of(layout, switches)] = {"targets": len(found), "answers": counts, "reached": told}

    def unguarded(self):
        """How much of the corpus reaches a guarded handler where nobody guards, and how much
        of that a guard would let pass that compares the text of the path."""
        fits = [path for path in self.paths if path.startswith(b"/")]
        self.ask(fits)
        guarded = LAYOUTS["open"][1]
        say("\nwithout a gateway, of the same paths")
        for kind in self.kinds:
            reached = [path for path in fits if self.reached[kind][path] in guarded]
            missed = [path for path in reached if not BY_TEXT.match(path.split(b"?")[0])]
            say(f"  {kind}: {len(reached)} reach a guarded handler, {len(missed)} of them past a comparison of texts")
            self.result["upstreams"][kind] |= {"unguarded": len(reached), "past_text": len(missed)}

    def end_to_end(self):
        """The same in one piece, for a sample: what the parts said is what comes."""
        kinds = ["axum", "express"] if self.quick else self.kinds
        count = 60 if self.quick else 300
        token = [(b"authorization", b"Bearer " + mint("ADMIN").encode())]
        portcullis = Portcullis(configuration("open"))
        compared = 0
        for name in GATEWAYS:
            before = Gateway(name, portcullis, self.echo.port)
            chosen = random.Random(name).sample(self.paths, count)
            parts = self.senders.send([self.way(before, protocol, chosen) for protocol in PROTOCOLS])
            before.stop()
            for kind in kinds:
                self.ask_quietly(kind, parts)
                gateway = Gateway(name, portcullis, self.running[kind].port)
                whole = self.senders.send([self.way(gateway, protocol, chosen, False) for protocol in PROTOCOLS])
                for part, came in zip(parts, whole, strict=True):
                    for number, path in enumerate(chosen):
                        target = echoed(part[number], number)
                        expected = None if target is None else self.reached[kind][target]
                        compared += 1
                        if handler(came[number]) != expected:
                            self.problem(f"{name} and {kind}: {path} reached {handler(came[number])}, and not {expected}")
                self.check_admin(gateway, kind, token)
                gateway.stop()
        portcullis.stop()
        say(f"\n{compared} requests in one piece, through a gateway to a real upstream, came out as their parts")
        self.result["in_one_piece"] = compared

    def ask_quietly(self, kind, parts):
        new = {echoed(answer, number) for part in parts for number, answer in enumerate(part)}
        new = sorted(target for target in new if target is not None and target not in self.reached[kind])
        answers, = self.senders.send([("h1", self.running[kind].port, new, 1)])
        self.reached[kind].update(zip(new, map(handler, answers), strict=True))

    def check_admin(self, gateway, kind, token):
        """Who has the credential reaches every handler."""
        paths = {upstreams.HIDDEN.get(kind, {}).get(path, path): name for path, name in PLAIN.items()}
        answers, = self.senders.send([self.way(gateway, "h1", [path.encode() for path in paths], False)], token)
        for (path, expected), answer in zip(paths.items(), answers, strict=True):
            if handler(answer) != expected:
                self.problem(f"{gateway.kind} and {kind}: an ADMIN gets {answer} at {path}")

    def public_apis(self):
        """No path of a public API is refused for its form, with the switches or without."""
        lines = (HERE / "public_apis.txt").read_text().splitlines()
        paths = [line.encode() for line in lines if line.startswith("/")]
        if self.quick:
            paths = random.Random(7).sample(paths, 250)
        passed = changed = 0
        for switches in ((), BOTH):
            portcullis = Portcullis(OPEN % "\n".join(SWITCHES[switch] for switch in switches))
            for name in GATEWAYS:
                gateway = Gateway(name, portcullis, self.echo.port)
                came = self.senders.send([self.way(gateway, protocol, paths) for protocol in PROTOCOLS])
                for answers in came:
                    for number, path in enumerate(paths):
                        target = echoed(answers[number], number)
                        passed += target is not None
                        changed += target not in (None, path)
                        if target is None:
                            self.problem(f"{name} does not let pass {path}: {answers[number]}")
                gateway.stop()
            portcullis.stop()
        say(f"{len(paths)} paths of public APIs: {passed} of {len(paths) * len(GATEWAYS) * 4} requests passed"
            + (f", {changed} of them in another spelling" if changed else ", as they were written"))
        self.result["public_apis"] = {"paths": len(paths), "requests": passed, "changed": changed}

    def check_warnings(self):
        """A pattern in one form alone is warned of; what is advised is not."""
        for layout in LAYOUTS:
            told = warnings(configuration(layout))
            if (layout == "one-form") != any("is decided by" in line for line in told):
                self.problem(f"check-config says of the layout {layout}: {told}")


def name_of(layout, switches):
    return " + ".join([layout, *(SWITCHES[switch].split(" ")[0] for switch in switches)])
