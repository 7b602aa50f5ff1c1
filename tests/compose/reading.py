"""What the compose files say: read as Compose reads them, and held to what they have to say."""

import json
import os
import pathlib
import re

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = ("compose.yaml", "compose.nginx.yaml")
# Images that have no program which could tell whether they are well.
WITHOUT_HEALTHCHECK = {"portcullis-agents"}
# A variable that holds a secret, by its name, and a value that looks like one.
SECRET_VARIABLE = re.compile(r"(^|_)(KEY|SECRET|PASSWORD|TOKEN)$")
SECRET = re.compile(r"\w+://[^\s/:@]*:[^\s@{}]+@|-----BEGIN [A-Z ]*PRIVATE KEY|\$argon2|[0-9a-f]{48}")


def interpolated(value):
    """With variables in their places: `${NAME:-otherwise}`, and `$$` for `$`."""
    if isinstance(value, dict):
        return {key: interpolated(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolated(inner) for inner in value]
    if not isinstance(value, str):
        return value

    def of(match):
        if match.group() == "$$":
            return "$"
        return os.environ.get(match["name"]) or match["otherwise"] or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(:-(?P<otherwise>[^}]*))?\}", of, value)


def load(file):
    """The project of a file, with what its services extend."""
    project = interpolated(yaml.safe_load((ROOT / file).read_text()))
    for name, service in project["services"].items():
        extended = service.pop("extends", None)
        if extended:
            base = load(extended["file"])["services"][extended["service"]]
            merged = {**base, **service}
            merged["environment"] = {**base.get("environment", {}), **service.get("environment", {})}
            project["services"][name] = merged
    return project


def schema_faults(file, schema):
    """Where the file as it is written is not as the specification has it."""
    written = yaml.safe_load((ROOT / file).read_text())
    for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(written):
        yield f"{'.'.join(map(str, error.absolute_path)) or '(whole)'}: {error.message[:300]}"


def service_faults(name, service, project):
    """What a service may that it does not need, and what it names that there is not."""
    image, _, tag = service["image"].rpartition(":")
    user = str(service.get("user", "0")).split(":")
    asked = {
        "an image with a tag": bool(image) and tag != "latest",
        "read_only: true": service.get("read_only") is True,
        "cap_drop: [ALL]": service.get("cap_drop") == ["ALL"],
        "no-new-privileges": service.get("security_opt") == ["no-new-privileges:true"],
        "a user and a group that are not root's": len(user) == 2 and all(int(each) > 0 for each in user),
        "mem_limit": "mem_limit" in service,
        "a network": bool(service.get("networks")),
        "a healthcheck": "healthcheck" in service or image in WITHOUT_HEALTHCHECK,
        "a restart policy": service.get("restart") == "unless-stopped",
    }
    yield from (f"it has to have {what}" for what, fine in asked.items() if not fine)
    may_not = ("privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "env_file", "container_name")
    yield from (f"{key} is set" for key in may_not if key in service)
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"ports: {port} is open to more than this machine"
    if service.get("ports") and name != "gateway":
        yield "ports: only the gateway is reached from outside"
    for what in ("configs", "secrets", "networks"):
        for each in service.get(what, []):
            source = each["source"] if isinstance(each, dict) else each
            if source not in project.get(what, {}):
                yield f"{what}: there is no {source}"
    for other, how in service.get("depends_on", {}).items():
        if other not in project["services"]:
            yield f"depends_on: there is no service {other}"
        elif how["condition"] == "service_healthy" and "healthcheck" not in project["services"][other]:
            yield f"depends_on: {other} has no healthcheck"
    for key, value in service.get("environment", {}).items():
        if SECRET_VARIABLE.search(key):
            yield f"environment: {key} is a secret: name its file"


def faults(file, schema):
    """All that is wrong with a file."""
    yield from schema_faults(file, schema)
    project = load(file)
    for name, service in project["services"].items():
        yield from (f"{name}: {cause}" for cause in service_faults(name, service, project))
    named = {
        what: {
            each["source"] if isinstance(each, dict) else each
            for service in project["services"].values()
            for each in service.get(what, [])
        }
        for what in ("configs", "secrets", "networks")
    }
    for what, names in named.items():
        for each in project[what].keys() - names:
            yield f"{what}: {each} is nobody's"
    for each in project["configs"].values():
        text = (ROOT / each["file"]).read_text()
        if SECRET.search(text):
            yield f"{each['file']}: looks like a secret's value"
    if SECRET.search((ROOT / file).read_text()):
        yield "looks like a secret's value"
    reached = {name for name, service in project["services"].items() if "outside" in service["networks"]}
    if reached != {"gateway"}:
        yield f"the network outside is {sorted(reached)}'s, and not the gateway's alone"
    if not all(network and network.get("internal") for name, network in project["networks"].items() if name != "outside"):
        yield "networks: what is not outside is to be internal"


def start_order(services):
    """Each service behind those that it depends on."""
    order = []

    def put(name, before=()):
        if name in before:
            raise ValueError(f"{name} depends on itself")
        for other in services[name].get("depends_on", {}):
            put(other, (*before, name))
        if name not in order:
            order.append(name)

    for name in services:
        put(name)
    return order


def seconds(text):
    """A span as Compose has it, of the forms that are used here."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def schema_of(path):
    return json.loads(pathlib.Path(path).read_text())
