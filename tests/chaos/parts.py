"""The parts: Redis Cluster, two replicas of portcullis, Envoy, a provider, an upstream."""

import http.server
import json
import os
import pathlib
import re
import resource
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLOCK = ROOT / "target/chaos/clock.so"
STREAM = "portcullis:{revocations}:stream"
REPLICAS = ("one", "two")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, within=30):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not come within {within} s")


def fetch(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


class Part:
    """A process, which can be hurt and started again."""

    def __init__(self, name, command, room, **environment):
        self.name = name
        self.command = [str(one) for one in command]
        self.environment = {**os.environ, **{key: str(value) for key, value in environment.items()}}
        self.log = room / f"{name}.log"
        self.process = None
        self.is_wanted = False

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.log.parent,
            )
        self.is_wanted = True

    @property
    def pid(self):
        return self.process.pid

    def lives(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, what):
        if self.lives():
            self.process.send_signal(what)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.is_wanted = False
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait(10)

    def limit(self, what, soft):
        """Sets a soft limit; gives back the one before."""
        before = resource.prlimit(self.pid, what)
        resource.prlimit(self.pid, what, (soft, before[1]))
        return before[0]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def address_space(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmSize:\s+(\d+) kB", text)[1]) * 1024


class Redis:
    """A cluster of three masters with a replica each, every node behind a relay."""

    def __init__(self, room, relays):
        self.nodes, self.ports, self.relayed, self.clocks = [], [], [], []
        for number in range(6):
            port, bus = free_port(), free_port()
            name = f"redis{number}"
            relayed = relays.add(name, port)
            home = room / name
            home.mkdir()
            clock = home / "clock"
            clock.write_bytes(bytes(8))
            command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", home]
            command += ["--cluster-enabled", "yes", "--cluster-port", bus]
            command += ["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", relayed]
            command += ["--cluster-announce-bus-port", bus, "--cluster-node-timeout", "2000"]
            command += ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
            command += ["--min-replicas-to-write", "1", "--repl-timeout", "5"]
            self.nodes.append(Part(name, command, room, LD_PRELOAD=CLOCK, CLOCK_FILE=clock))
            self.ports.append(port)
            self.relayed.append(relayed)
            self.clocks.append(clock)

    def ask(self, number, *words):
        port = str(self.ports[number])
        command = ["redis-cli", "-h", "127.0.0.1", "-p", port, *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=3, check=False)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.strip()

    def start(self):
        for number, node in enumerate(self.nodes):
            node.start()
            wait_for(node.name, lambda number=number: self.ask(number, "PING") == "PONG")
        addresses = [f"127.0.0.1:{port}" for port in self.relayed]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        made = subprocess.run(create, capture_output=True, text=True, timeout=60, check=False)
        if made.returncode:
            raise RuntimeError(f"no cluster: {made.stdout}{made.stderr}")
        for number in range(6):
            wait_for("the cluster", lambda number=number: self.is_whole(number))

    def move_clock(self, number, seconds):
        """Moves the time of day of a node, by so much from the real one."""
        with self.clocks[number].open("r+b") as clock:
            clock.write(seconds.to_bytes(8, "little", signed=True))

    def is_whole(self, number):
        told = self.ask(number, "CLUSTER", "INFO")
        is_linked = "master_link_status:down" not in self.ask(number, "INFO", "replication")
        return "cluster_state:ok" in told and "cluster_known_nodes:6" in told and is_linked

    def masters(self):
        """The masters by number, the one of the revocations first."""
        for number, node in enumerate(self.nodes):
            if not node.lives():
                continue
            slot = self.ask(number, "CLUSTER", "KEYSLOT", STREAM)
            told = self.ask(number, "CLUSTER", "NODES").splitlines()
            found = []
            for line in told:
                fields = line.split()
                if "master" not in fields[2] or "fail" in fields[2] or len(fields) < 9:
                    continue
                port = int(re.search(r":(\d+)@", fields[1])[1])
                first, _, last = fields[8].partition("-")
                is_of_stream = int(first) <= int(slot) <= int(last or first)
                found.append((not is_of_stream, self.relayed.index(port)))
            if found:
                return [number for _, number in sorted(found)]
        return list(range(3))


class Upstream:
    """Tells who asks, as the gateway says."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                told = {name.lower(): value for name, value in self.headers.items()}
                body = json.dumps({"id": told.get("x-user-id"), "role": told.get("x-user-role")})
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Stack:
    """All of it, and what they are told."""

    def __init__(self, room, relays, settings):
        self.room, self.relays, self.settings = room, relays, settings
        self.redis = Redis(room, relays)
        self.upstream = Upstream()
        self.provider_port = free_port()
        secret = secrets.token_hex(16)
        provider = ROOT / "tests/node/provider.mjs"
        self.provider = Part(
            "provider",
            ["node", provider],
            room,
            PORT=self.provider_port,
            REDIRECT_URIS=f"{settings.PUBLIC}/sso/callback",
            CLIENT_SECRET=secret,
        )
        self.issuer = f"http://127.0.0.1:{self.provider_port}"
        settings.write(room, self.redis.relayed, self.issuer, secret)
        self.ports, self.replicas, self.checks = {}, {}, {}
        for name in REPLICAS:
            ports = {what: free_port() for what in ("check", "http", "internal")}
            self.ports[name] = ports
            self.checks[name] = relays.add(f"check-{name}", ports["check"])
            listen = {f"PORTCULLIS__{what.upper()}__LISTEN": f"127.0.0.1:{port}" for what, port in ports.items()}
            command = [settings.binary, "serve", "--config", room / "portcullis.toml"]
            self.replicas[name] = Part(name, command, room, RUST_LOG="info", **listen)
        self.gateway_port = free_port()
        self.envoy = Part("envoy", self._envoy(), room)

    def _envoy(self):
        text = (ROOT / "envoy/envoy.yaml").read_text(encoding="utf-8")
        endpoint = "              - endpoint:\n                  address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}\n"
        one, *more = (endpoint.format(port) for port in self.checks.values())
        usual = endpoint.format(9191)
        if usual not in text:
            raise RuntimeError("envoy.yaml has another endpoint for portcullis")
        text = text.replace(usual, one + "".join(more))
        for usual, port in [(8000, self.gateway_port), (8081, self.upstream.port), (9901, free_port()), (8080, self.ports["one"]["http"])]:
            text = text.replace(f"port_value: {usual} ", f"port_value: {port} ")
        file = self.room / "envoy.yaml"
        file.write_text(text, encoding="utf-8")
        binary = ROOT / "target/envoy/1.40.0/envoy"
        return [binary, "-c", file, "--base-id", str(os.getpid() % 60000), "--log-level", "error", "--concurrency", "1"]

    def start(self):
        self.redis.start()
        self.provider.start()
        for name in REPLICAS:
            self.start_replica(name)
        self.envoy.start()
        self.relays.name_source("envoy", self.envoy.pid)
        for name in REPLICAS:
            wait_for(f"replica {name}", lambda name=name: self.readiness(name) == "ok")
        wait_for("envoy", lambda: socket.create_connection(("127.0.0.1", self.gateway_port), 1))
        wait_for("the provider", lambda: fetch(f"{self.issuer}/.well-known/openid-configuration"))

    def start_replica(self, name):
        self.replicas[name].start()
        self.relays.name_source(name, self.replicas[name].pid)

    def readiness(self, name):
        return fetch(f"http://127.0.0.1:{self.ports[name]['internal']}/readyz", 2).strip()

    def parts(self):
        return [*self.redis.nodes, self.provider, *self.replicas.values(), self.envoy]

    def stop(self):
        for part in reversed(self.parts()):
            if part.process:
                part.thaw()
                part.kill()
