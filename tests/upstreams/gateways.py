"""portcullis, and the gateways before it, each by the configuration that is shipped."""

import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ROOM = ROOT / "target/upstreams"
BUILT = ROOT / "target/debug"
GATEWAYS = ["envoy", "envoy-lax", "nginx", "caddy"]
KEY = secrets.token_hex(32)
# The ports of the configurations, and what stands there.
USUAL = {"gateway": 8000, "check": 9191, "internal": 9192, "http": 8080, "upstream": 8081, "admin": 9901}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A process; it ends with whoever started it."""

    running = []

    def __init__(self, name, command, port, room=ROOM, **variables):
        self.name, self.port = name, port
        self.log = room / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], env={**os.environ, **variables}, cwd=room,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        Process.running.append(self)

    def wait(self, within=60):
        """Until it takes connections."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        sys.exit(f"{self.name} did not start; its log says:\n{self.log.read_text(errors='replace')}")

    def stop(self):
        if self in Process.running:
            Process.running.remove(self)
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @classmethod
    def stop_all(cls):
        for one in list(cls.running):
            one.stop()


class Portcullis(Process):
    """`portcullis serve` with these rules."""

    def __init__(self, configuration):
        self.ports = {name: free_port() for name in ("check", "internal", "http")}
        self.file = ROOM / "portcullis.toml"
        self.file.write_text(configuration)
        listens = {
            f"PORTCULLIS__{name.upper()}__LISTEN": f"127.0.0.1:{port}" for name, port in self.ports.items()
        }
        command = [BUILT / "portcullis", "serve", "--config", self.file]
        super().__init__(
            "portcullis", command, self.ports["check"], AUTH_JWT_SECRET=KEY, PORTCULLIS__LIFECYCLE__DRAIN="0s",
            PORTCULLIS__TELEMETRY__ALLOWED_DECISIONS="0.0", RUST_LOG="warn", **listens,
        )
        self.wait()


def warnings(configuration):
    """What `check-config` says of these rules, without a status of failure."""
    file = ROOM / "checked.toml"
    file.write_text(configuration)
    done = subprocess.run(
        [BUILT / "portcullis", "check-config", "--config", file], env={**os.environ, "AUTH_JWT_SECRET": KEY},
        capture_output=True, text=True, check=True,
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if "warning" in line]


def mint(role):
    command = [BUILT / "portcullis", "token", "mint", "--name", "ann", "--user-id", "7", "--role", role]
    return subprocess.check_output(command, env={**os.environ, "AUTH_JWT_SECRET": KEY}, text=True).strip()


def at_ports(text, ports, before):
    """A configuration with these ports in the place of the usual ones."""
    def ours(found):
        name = next((name for name, port in USUAL.items() if str(port) == found[2]), None)
        return f"{found[1]}{ports[name]}" if name in ports else found[0]
    return re.sub(rf"({before})(\d{{4}})\b", ours, text)


def changed(text, changes):
    for before, after in changes:
        if before not in text:
            sys.exit(f"the configuration has no {before!r} any more: change {__file__}")
        text = text.replace(before, after)
    return text


# A machine that is busy is no error: the time for an answer is not what is tried here.
PATIENT = [("timeout: 0.25s", "timeout: 20s"), ("max_interval: 0.12s", "max_interval: 10s")]
# Nothing is normalised or refused, so that all reaches portcullis.
LAX = [
    ("normalize_path: true", "normalize_path: false"), ("merge_slashes: true", "merge_slashes: false"),
    ("UNESCAPE_AND_REDIRECT", "KEEP_UNCHANGED"), ("REJECT_REQUEST", "ALLOW"),
]


class Gateway(Process):
    """One of the gateways, before the upstream on this port. `port` speaks HTTP/1.1 and
    `h2` HTTP/2, where that is another one."""

    def __init__(self, kind, portcullis, upstream):
        self.kind = kind
        ports = {**portcullis.ports, "upstream": upstream, "gateway": free_port(), "admin": free_port()}
        room = ROOM / kind
        room.mkdir(parents=True, exist_ok=True)
        self.h2 = ports["gateway"] if kind != "nginx" else free_port()
        command, variables = getattr(self, kind.replace("-", "_"))(room, ports)
        super().__init__(f"{kind}-gateway", command, ports["gateway"], room, **variables)
        self.wait()

    def envoy(self, room, ports, changes=()):
        text = changed((ROOT / "envoy/envoy.yaml").read_text(), [*PATIENT, *changes])
        file = room / "envoy.yaml"
        file.write_text(at_ports(text, ports, "port_value: "))
        binary = subprocess.check_output([ROOT / "envoy/install"], text=True).strip()
        return [binary, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"], {}

    def envoy_lax(self, room, ports):
        return self.envoy(room, ports, LAX)

    def nginx(self, room, ports):
        # It speaks HTTP/2 without TLS on a port of its own alone.
        listens = "listen 127.0.0.1:8000;"
        text = changed((ROOT / "nginx/nginx.conf").read_text(), [
            (listens, f"{listens}\n        listen 127.0.0.1:{self.h2} http2;"),
            ("proxy_connect_timeout 250ms", "proxy_connect_timeout 20s"), ("proxy_read_timeout 1s", "proxy_read_timeout 20s"),
            ("worker_processes auto;", "worker_processes 1;"),
            ("    access_log off;\n    server_tokens", "    access_log off;\n    keepalive_requests 1000000;\n    server_tokens"),
            ("access_log /dev/stdout portcullis;", "access_log off;"),
        ])
        file = room / "nginx.conf"
        file.write_text(at_ports(text, ports, r"127\.0\.0\.1:"))
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", room, "-c", file, "-g", "daemon off;"], {}

    def caddy(self, room, ports):
        listens = "http://:8000 {"
        text = changed((ROOT / "examples/Caddyfile").read_text(), [
            ("\tadmin off\n", "\tadmin off\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n"), (listens, listens),
        ])
        file = room / "Caddyfile"
        file.write_text(at_ports(text, ports, r"127\.0\.0\.1:|http://:"))
        home = {name: str(room) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        return ["caddy", "run", "--adapter", "caddyfile", "--config", file], home
