"""The processes of a compose file on loopback: a program in each image's place, a free
port for each port, and files where the containers would have them."""

import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from reading import ROOT, load, seconds, start_order

sys.path.insert(0, str(ROOT / "envoy"))
from processes import free_port  # noqa: E402

# What an image runs where the file does not say, and where its program is in it.
IMAGES = {
    "portcullis": {"entrypoint": ["/portcullis"], "command": ["serve"], "programs": {"/portcullis": ROOT / "target/debug/portcullis"}},
    "portcullis-agents": {"entrypoint": ["/agents"], "command": [], "programs": {"/agents": ROOT / "target/debug/agents"}},
    "redis": {"entrypoint": [], "command": ["redis-server"], "programs": {}},
    "nginx": {"entrypoint": ["/docker-entrypoint.sh"], "command": ["nginx"], "programs": {}},
    "envoyproxy/envoy": {"entrypoint": ["/docker-entrypoint.sh"], "command": ["envoy"], "programs": {}},
}


class Service:
    """One of them: its files, its command and what it gets of the environment."""

    def __init__(self, machine, name, said):
        self.name = name
        self.said = said
        self.machine = machine
        self.room = machine.room / name
        self.image = IMAGES[said["image"].rpartition(":")[0]]
        self.process = None
        self.places = {}
        self.place_files()

    def place_files(self):
        """Puts configurations, secrets and volumes where this service looks for them."""
        files = []
        for what, directory in (("configs", ""), ("secrets", "/run/secrets/")):
            for each in self.said.get(what, []):
                source = each["source"] if isinstance(each, dict) else each
                target = each["target"] if isinstance(each, dict) else f"{directory}{source}"
                file = self.machine.project[what][source]["file"]
                files.append((self.machine.file(what, file), target))
        for volume in self.said.get("volumes", []):
            self.made(volume.split(":")[1]).mkdir(parents=True)
        for each in self.said.get("tmpfs", []):
            self.made(each.split(":")[0]).mkdir(parents=True)
        placed = [(source, self.made(target)) for source, target in files]
        for source, place in placed:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.here(source.read_text()))

    def made(self, target):
        self.places[target] = self.room / target.lstrip("/")
        return self.places[target]

    def here(self, text):
        """A text of the container's as it is on this machine: paths, names and ports."""
        # All in one go: what is put in may begin like a place of a container's, too.
        places = "|".join(map(re.escape, sorted(self.places, key=len, reverse=True)))
        if places:
            text = re.sub(rf"(?<![\w./-])({places})(?![\w-])", lambda found: str(self.places[found.group()]), text)
        return self.machine.at_loopback(text)

    def arguments(self, words):
        """A command with this machine's programs."""
        words = [self.here(word) for word in words]
        programs = {**self.image["programs"], "envoy": self.machine.envoy}
        program = str(programs.get(words[0], words[0]))
        if not shutil.which(program):
            sys.exit(f"{self.name}: there is no {words[0]} on this machine")
        return [program, *words[1:]]

    def command(self):
        entrypoint = self.said.get("entrypoint", self.image["entrypoint"])
        # Another entry is without the image's own command.
        usual = [] if "entrypoint" in self.said else self.image["command"]
        return self.arguments([*entrypoint, *self.said.get("command", usual)])

    def environment(self):
        """What the file says, and nothing of this process's but where programs are."""
        said = {key: self.here(str(value)) for key, value in self.said.get("environment", {}).items()}
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.room), **said}

    def start(self):
        self.room.mkdir(parents=True, exist_ok=True)
        arguments = self.command()
        if self.said["image"].startswith("envoyproxy/"):
            # Envoys of one machine share memory by this number.
            arguments += ["--base-id", str(free_port())]
        with open(self.machine.room / f"{self.name}.log", "wb") as log:
            self.process = subprocess.Popen(
                arguments, env=self.environment(), cwd=self.room, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def is_healthy(self):
        """What its own check says, run as Compose runs it."""
        kind, *words = self.said["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            words = ["sh", "-c", *words]
        answer = subprocess.run(
            self.arguments(words), env=self.environment(), cwd=self.room, capture_output=True,
            timeout=seconds(self.said["healthcheck"]["timeout"]),
        )  # fmt: skip
        return answer.returncode == 0

    def wait(self):
        """Until its check says that it is well, within the time that the file gives it."""
        health = self.said["healthcheck"]
        deadline = time.monotonic() + seconds(health["start_period"]) + health["retries"] * seconds(health["interval"])
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if self.is_healthy():
                    return
            except subprocess.TimeoutExpired:
                pass
            time.sleep(0.1)
        sys.exit(f"{self.name} is not healthy; its log says:\n{self.log()}")

    def log(self):
        return (self.machine.room / f"{self.name}.log").read_text(errors="replace")

    def stop(self):
        """As Compose stops it; the status that it ended with."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds(self.said.get("stop_grace_period", "10s")))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed, since it did not end"


class Machine:
    """All services of a file."""

    def __init__(self, file, room, envoy, secrets):
        self.project = load(file)
        self.room = room
        self.envoy = envoy
        self.secrets = secrets
        services = self.project["services"]
        numbers = {int(port) for said in services.values() for port in said.get("expose", [])}
        numbers |= {int(str(port).rpartition(":")[2]) for said in services.values() for port in said.get("ports", [])}
        # Envoy's own, and those of services that say it in the environment alone.
        self.ports = {number: free_port() for number in sorted(numbers | {9901})}
        self.services = {name: Service(self, name, services[name]) for name in start_order(services)}

    def file(self, what, path):
        """A file of this repository, or a secret that was made for this run."""
        return self.secrets / pathlib.Path(path).name if what == "secrets" else ROOT / path

    def at_loopback(self, text):
        """Names of services, addresses and ports as they are on this machine."""
        names = "|".join(map(re.escape, self.project["services"]))
        text = re.sub(rf"(?<=[@/ :\"])({names})(?=:\d)", "127.0.0.1", text)
        text = re.sub(rf"\baddress: ({names})\b", "address: 127.0.0.1", text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        for network in self.project["networks"].values():
            for each in (network or {}).get("ipam", {}).get("config", []):
                text = text.replace(each["subnet"], "127.0.0.0/8")
        ports = "|".join(map(str, self.ports))
        return re.sub(rf"(?<=[:/ ])({ports})\b(?!\.)|^({ports})$", lambda found: str(self.ports[int(found.group())]), text)

    def start(self):
        for service in self.services.values():
            for other, how in service.said.get("depends_on", {}).items():
                if how["condition"] == "service_healthy":
                    self.services[other].wait()
            service.start()
        for service in self.services.values():
            if "healthcheck" in service.said:
                service.wait()

    def stop(self):
        """The status of each, the last one first."""
        started = [service for service in reversed(self.services.values()) if service.process]
        return {service.name: service.stop() for service in started}
