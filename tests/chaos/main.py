#!/usr/bin/env python3
"""Hurts a whole deployment part by part, under load, and holds every answer to account.

    tests/chaos/run MINUTES [--seed N] [--every SECONDS] [--only FAULT[,FAULT…]] [--binary FILE]

What each answer has to be, and which faults there are, is in README.md beside this.
"""

import argparse
import pathlib
import random
import signal
import sys
import time

# What is imported from here leaves nothing behind.
sys.dont_write_bytecode = True
from faults import Faults  # noqa: E402
from ledger import Ledger  # noqa: E402
from load import Load  # noqa: E402
from parts import ROOT, Stack  # noqa: E402
from proxy import Relays  # noqa: E402
from settings import Settings, room  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description="Hurts a whole deployment part by part, under load.")
    parser.add_argument("minutes", type=float, help="how long faults go on")
    parser.add_argument("--seed", type=int, help="repeats the faults of a run")
    parser.add_argument("--every", type=float, default=30, help="seconds from a fault to the next")
    parser.add_argument("--only", default="", help="these faults alone, by their names")
    parser.add_argument("--binary", default=ROOT / "target/debug/portcullis", help="another build of portcullis")
    return parser.parse_args()


def supervise(stack, ledger):
    """Starts a replica that has ended by itself, as an orchestrator does."""
    for name, part in stack.replicas.items():
        if part.is_wanted and not part.lives():
            ledger.count("replicas that ended and were started again")
            stack.start_replica(name)


def hurt(options, stack, load, ledger):
    """Fault after fault; of each interval, the larger part is for what comes after it."""
    faults = Faults(stack, load, ledger, random.Random(options.seed))
    only = set(filter(None, options.only.split(",")))
    if unknown := only - faults.all.keys():
        sys.exit(f"no such fault: {', '.join(unknown)}; there are {', '.join(faults.all)}")
    end = time.monotonic() + options.minutes * 60
    for name, choice in faults.sequence():
        if only and name not in only:
            continue
        begun = time.monotonic()
        if begun + options.every > end:
            return
        print(f"{begun - ledger.begun:7.1f} s  {name}", flush=True)
        ledger.begin(name)
        ledger.count("faults")
        fix = faults.all[name](choice)
        hold(begun + options.every * 0.4, stack, ledger, name)
        fix()
        ledger.end()
        hold(begun + options.every, stack, ledger, None)


def hold(until, stack, ledger, name):
    while time.monotonic() < until:
        # One that was killed, or has no memory, stays away until it is fixed.
        if name not in ("replica_killed", "replica_without_memory"):
            supervise(stack, ledger)
        time.sleep(0.2)


def main():
    options = arguments()
    # Whoever stops it has all parts stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {options.seed}", flush=True)
    place = room(ROOT / "target/chaos/run")
    relays = Relays(options.seed)
    stack = Stack(place, relays, Settings(options.binary))
    ledger = Ledger()
    try:
        stack.start()
        load = Load(stack, ledger, options.seed)
        load.start()
        hurt(options, stack, load, ledger)
        load.stop()
        # The last fault may have ended just now.
        load.recovers()
    finally:
        stack.stop()
    ledger.report()
    failures = {what: number for what, number in ledger.failures().items() if number}
    if failures:
        pathlib.Path(place / "wrong.txt").write_text("\n".join(ledger.seen) + "\n", encoding="utf-8")
        sys.exit(f"seed {options.seed}: {failures}; the logs are in {place.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
