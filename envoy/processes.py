"""What envoy/run starts, waits for, asks and stops."""

import os
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOM = ROOT / "target/envoy/run"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def build(packages, *targets):
    """Builds these, as for a test; who looks on sees cargo's own progress."""
    first = "" if (ROOT / "target/debug").exists() else ": the first time, 3 minutes or less on two cores"
    print(f"building {' and '.join(packages)} …{first}", flush=True)
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    chosen = [word for package in packages for word in ("--package", package)]
    subprocess.check_call(["cargo", "build", *quiet, "--locked", *chosen, *targets], cwd=ROOT)


class Processes:
    """Processes on these ports; they end with this."""

    def __init__(self, ports, sso):
        self.ports = ports
        self.sso = sso
        self.processes = {}
        self.environment = dict(
            os.environ,
            AUTH_JWT_SECRET=secrets.token_hex(32),
            # There is nobody to wait for when this one stops.
            PORTCULLIS__LIFECYCLE__DRAIN="0s",
        )

    def provide(self, sites):
        """Single sign-on for these sites, at a provider on loopback."""
        secret = secrets.token_hex(32)
        self.environment.update(
            PORT=str(self.ports["provider"]),
            REDIRECT_URIS=",".join(f"{site}/sso/callback" for site in sites),
            POST_LOGOUT_REDIRECT_URIS=",".join(f"{site}/ui/login/" for site in sites),
            CLIENT_SECRET=secret,
            PORTCULLIS__SSO__ISSUER=f"http://127.0.0.1:{self.ports['provider']}",
            PORTCULLIS__SSO__CLIENT_ID="portcullis",
            PORTCULLIS__SSO__CLIENT_SECRET=secret,
            PORTCULLIS__SSO__ROLE_CLAIM="groups",
            PORTCULLIS__SSO__ROLE_MAP='{ staff = "REGULAR", admins = "ADMIN" }',
        )

    def start_provider(self):
        if self.sso:
            self.spawn("provider", ["node", ROOT / "tests/node/provider.mjs"])
            self.wait("provider")

    def spawn(self, name, command, **variables):
        log = open(ROOM / f"{name}.log", "wb")
        self.processes[name] = subprocess.Popen(
            [str(part) for part in command],
            env={**self.environment, **variables},
            cwd=ROOM,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is this script's to handle.
            start_new_session=True,
        )

    def wait(self, name, process=None, within=30):
        process = process or name
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.processes[process].poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        log = (ROOM / f"{process}.log").read_text()
        sys.exit(f"{name} did not start; its log says:\n{log}")

    def at_ports(self, text, usual, before=r"127\.0\.0\.1:", after=r"\b"):
        """A configuration with these ports in the place of the usual ones."""
        for name, port in usual.items():
            text = re.sub(f"({before}){port}({after})", rf"\g<1>{self.ports[name]}\g<2>", text)
        return text

    def start_gateway(self, gateway, envoy, usual):
        """nginx by nginx.conf, or Envoy by this file."""
        nginx = gateway == "nginx"
        config = (ROOT / ("nginx/nginx.conf" if nginx else envoy)).read_text()
        file = ROOM / ("nginx.conf" if nginx else "envoy.yaml")
        if nginx:
            file.write_text(self.at_ports(config, usual))
            self.spawn("gateway", ["nginx", "-p", ROOM, "-c", file, "-g", "daemon off;"])
        else:
            config = config.replace("/run/portcullis/feed.sock", str(ROOM / "feed.sock"))
            file.write_text(self.at_ports(config, usual, "port_value: ", " "))
            arguments = ["-c", file, "--base-id", str(os.getpid() % 60000)]
            self.spawn("gateway", [gateway, *arguments, "--log-level", "warning"])
        self.wait("gateway")

    def end(self, name):
        """Ends one of them."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(10)

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def curl(url, token=None, *more):
    """Status and body, as curl gets them."""
    command = ["curl", "--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"]
    if token:
        command += ["--header", f"authorization: Bearer {token}"]
    body, _, status = subprocess.check_output([*command, *more, url], text=True).rpartition("\n")
    return int(status), body


def show(title, status, body):
    print(f"\n{title}\n  HTTP {status}\n  {body}")
