"""What was answered, and what each answer had to be."""

import collections
import threading
import time

# So long after a fault its consequences may be felt: a failover, a start, the health
# checks of Envoy, a reload.
AFTERWARDS = 8.0


class Ledger:
    """Counts. What has to be nothing is told with what was seen."""

    # What must not be, whatever happens.
    NEVER = (
        "wrong allow",
        "code used twice",
        "sign-in used twice",
        "revocation that came back",
        "revocation that a whole list does not know",
        "identity of somebody else",
        "wrong refusal",
        "answer lost without a fault",
        "not recovered",
    )

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.seen = []
        self.faults = []
        self.slowest = {}
        self.begun = time.monotonic()

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] += number

    def wrong(self, what, detail):
        """Something that must not be."""
        at = time.monotonic() - self.begun
        active = [name for name, begun, ended in self.faults if ended is None or time.monotonic() - ended < AFTERWARDS]
        with self.lock:
            self.counts[what] += 1
            self.seen.append(f"{at:.1f} s: {what}: {detail} (faults: {', '.join(active) or 'none'})")
        print(f"!! {self.seen[-1]}", flush=True)

    def measure(self, what, seconds):
        with self.lock:
            self.slowest[what] = max(seconds, self.slowest.get(what, 0.0))

    def begin(self, name):
        self.faults.append([name, time.monotonic(), None])

    def end(self):
        self.faults[-1][2] = time.monotonic()

    def is_disturbed(self, since):
        """Whether a fault was there, or was felt, between then and now."""
        return any(ended is None or ended + AFTERWARDS > since for _, _, ended in self.faults)

    def unanswered(self, what, since, detail):
        """An answer that did not come, or was 503 or 502: only while something is hurt."""
        if self.is_disturbed(since):
            self.count(f"{what}: refused for a fault")
        else:
            self.wrong("answer lost without a fault", f"{what}: {detail}")

    def failures(self):
        return {what: self.counts[what] for what in self.NEVER}

    def report(self):
        for what, number in self.failures().items():
            print(f"{what:45} {number}")
        for what in sorted(self.counts):
            if what not in self.NEVER:
                print(f"{what:45} {self.counts[what]}")
        for what in sorted(self.slowest):
            print(f"{what:45} {self.slowest[what]:.2f} s at most")
