"""The processes of a measurement: where they run, what they used, how they end."""

import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "target/release"
# What is measured is on one core, what loads it on the other.
MEASURED, LOADING = "0", "1"


def bring(**needs):
    """Debian's packages, by the command that each brings."""
    missing = [package for command, package in needs.items() if not shutil.which(command.replace("_", "-"))]
    if missing:
        root = [] if os.getuid() == 0 else ["sudo"]
        subprocess.check_call([*root, "apt-get", "update", "-qq"])
        subprocess.check_call([*root, "apt-get", "install", "-y", "-qq", *missing], stdout=subprocess.DEVNULL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, headers=None):
    """The status and the body of an answer; none when nobody answers."""
    try:
        request = urllib.request.Request(url, headers=headers or {})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


class Process:
    """A process on a core; it ends with the measurement."""

    started = []

    def __init__(self, name, command, room, core=MEASURED, **variables):
        self.name, self.log = name, room / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", core, *map(str, command)],
                env={**os.environ, **variables}, cwd=room, stdin=subprocess.DEVNULL,
                # A log of what is measured would be the measure of a disk.
                stdout=subprocess.DEVNULL if variables.get("PORTCULLIS__CHECK__LISTEN") else log, stderr=log,
            )
        self.started.append(self)

    def wait(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.name} did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        return found

    def says(self, pattern):
        return self.wait(lambda: re.search(pattern, self.log.read_text()))[1]

    def cpu(self):
        """Seconds of CPU, of user and system, by the process's own clock: as
        /proc/PID/stat has them, but in nanoseconds, where that has ticks."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def memory(self):
        """MiB that are resident."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    @classmethod
    def stop_all(cls):
        for one in cls.started:
            one.process.terminate()
        for one in cls.started:
            try:
                one.process.wait(10)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        cls.started.clear()


class Portcullis(Process):
    """`portcullis serve`, ready, with the built-in rules unless it is told otherwise."""

    def __init__(self, name, room, key, check=None, config=None, logged="0.0", **variables):
        internal = f"127.0.0.1:{free_port()}"
        self.target = check or f"127.0.0.1:{free_port()}"
        options = ["--config", config] if config else []
        super().__init__(
            name, [BUILT / "portcullis", "serve", *options], room,
            AUTH_JWT_SECRET=key,
            PORTCULLIS__CHECK__LISTEN=self.target,
            PORTCULLIS__HTTP__LISTEN="127.0.0.1:0",
            PORTCULLIS__INTERNAL__LISTEN=internal,
            PORTCULLIS__TELEMETRY__ALLOWED_DECISIONS=logged,
            PORTCULLIS__LIFECYCLE__DRAIN="0s",
            **variables,
        )
        self.internal = f"http://{internal}"
        self.wait(lambda: ask(f"{self.internal}/readyz")[0] == 200)


class Floor(Process):
    """The generated server that answers OK."""

    def __init__(self, name, room, listen="127.0.0.1:0"):
        super().__init__(name, [BUILT / "examples/grpc_floor", listen], room)
        self.target = self.says(r"listening on (\S+)")


def mint(key):
    command = [BUILT / "portcullis", "token", "mint"]
    command += ["--name", "ann", "--user-id", "7", "--role", "REGULAR", "--email", "ann@example.com", "--ttl", "8h"]
    return subprocess.check_output(command, env={**os.environ, "AUTH_JWT_SECRET": key}, text=True).strip()


def load(target, question, **options):
    """What the generator of this repository says."""
    command = ["taskset", "-c", LOADING, BUILT / "examples/load", target, "--question", question]
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    said = json.loads(subprocess.check_output(command, text=True))
    if said["wrong"] or not said["answers"]:
        sys.exit(f"{said['wrong']} of {said['answers']} answers from {target} were wrong, such as {said['example']}")
    return said


def build():
    command = ["cargo", "build", "--locked", "--release", "--quiet", "--bins"]
    subprocess.check_call([*command, "--example", "grpc_floor", "--example", "load"], cwd=ROOT)
    subprocess.check_call([*command[:-1], "--package", "portcullis-bench"], cwd=ROOT)
    module = ["cargo", "build", "--locked", "--release", "--quiet", "--package", "portcullis-envoy"]
    subprocess.check_call(module, cwd=ROOT)


def median(numbers):
    return statistics.median(numbers)


def machine():
    """What a reader needs to know of where it ran."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    return {
        "cpu": re.search(r"model name\s*:\s*(.*)", cpuinfo)[1],
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "load_before": os.getloadavg()[0],
    }


def report(name, result):
    """Keeps the result as JSON."""
    file = ROOT / "target/bench" / f"{name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n(all of it: {file.relative_to(ROOT)})")
