"""Sends many requests on many connections, and reads who answered."""

import concurrent.futures
import itertools
import re

import http1
import http2

ECHOED = re.compile(rb"(\d+|-) ([0-9a-f]*)")
HANDLER = re.compile(rb"handler=([a-z]+)")
AT_ONCE = 200
CONNECTIONS = 160


def _job(job):
    protocol, port, targets, host, headers, depth = job
    return (http1 if protocol == "h1" else http2).send(port, targets, host, headers, depth)


class Senders:
    """Threads that send, each on a connection of its own: what takes time is on the way."""

    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(CONNECTIONS)

    def stop(self):
        self.pool.shutdown(cancel_futures=True)

    def send(self, ways, headers=(), host=b"app.example.com"):
        """For each way, a (protocol, port, targets, depth), the answers in the order of
        its targets. What HTTP/1.1 cannot say is not sent over it."""
        jobs, of = [], []
        for way, (protocol, port, targets, depth) in enumerate(ways):
            numbered = list(enumerate(targets))
            # Envoy takes a second to end a connection for such a path over HTTP/2.
            ending = [one for one in numbered if protocol == "h2" and not http2.is_harmless(one[1])]
            others = [one for one in numbered if protocol != "h2" or http2.is_harmless(one[1])]
            for some, most in ((ending, 8), (others, AT_ONCE)):
                for at in range(0, len(some), most):
                    jobs.append((protocol, port, some[at:at + most], host, headers, depth))
                    of.append(way)
        # Those that take longest first.
        order = sorted(range(len(jobs)), key=lambda job: len(jobs[job][2]))
        jobs, of = [jobs[job] for job in order], [of[job] for job in order]
        answers = [{} for _ in ways]
        for way, came in zip(of, self.pool.map(_job, jobs), strict=True):
            answers[way].update(came)
        return [[some[number] for number in range(len(way[2]))] for some, way in zip(answers, ways, strict=True)]


def echoed(answer, number):
    """The target that the stand-in received; none where it received nothing."""
    status, body = answer
    found = ECHOED.fullmatch(body) if status == 200 else None
    if found and int(found[1]) != number:
        raise SystemExit(f"the answer to request {found[1].decode()} came for request {number}")
    return bytes.fromhex(found[2].decode()) if found else None


def handler(answer):
    """The handler that answered; none where there is none for that."""
    found = HANDLER.search(answer[1])
    name = found[1].decode() if found else "none"
    return None if name == "none" else name


def shown(paths, most=3):
    return ", ".join(repr(path)[1:] for path in itertools.islice(paths, most))
