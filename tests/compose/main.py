"""Checks the compose files, runs what they say, and asks through the gateway.

    main.py SCHEMA ENVOY
    main.py --write
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from machine import Machine
from reading import FILES, ROOT, faults, schema_of

sys.path.insert(0, str(ROOT / "envoy"))
from processes import curl  # noqa: E402

ROOM = ROOT / "target/compose/run"
# The gateways' configurations with the services' names in the place of loopback, which
# those in envoy/ and nginx/ are for.
WITH_NAMES = {"compose/envoy.yaml": "envoy/envoy.yaml", "compose/nginx.conf": "nginx/nginx.conf"}
AT = {9191: "portcullis", 8080: "portcullis", 9192: "portcullis", 8081: "agents", 8000: "0.0.0.0"}


def with_names(file):
    """A gateway's configuration for compose.yaml, made of the one that it is for alone."""
    source = WITH_NAMES[file]
    text = (ROOT / source).read_text()
    for port, name in AT.items():
        text = re.sub(rf"127\.0\.0\.1(:|, port_value: ){port}\b", rf"{name}\g<1>{port}", text)
    # The root of the container cannot be written to.
    text = text.replace("pid nginx.pid;", "pid /tmp/nginx.pid;")
    return f"# {source} for compose.yaml, with the names of its services: made by\n# tests/compose/run --write.\n\n{text}"


def question(machine, path, token=None, *more):
    return curl(f"http://127.0.0.1:{machine.ports[8000]}{path}", token, *more)


def questions(machine, password):
    """What comes out otherwise than it should, asked through the gateway."""
    deadline = time.monotonic() + 30
    # The gateway may be up before it has seen that the others are.
    while question(machine, "/api/healthcheck")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)

    def told(what, answer, wanted):
        status, body = answer
        if status != wanted:
            yield f"{what}: {status}, and not {wanted}: {body[:200]}"

    yield from told("a public path", question(machine, "/api/healthcheck"), 200)
    yield from told("without a token", question(machine, "/api/agents"), 401)
    yield from told("the page to sign in at", question(machine, "/ui/login/"), 200)
    as_json = ("--header", "content-type: application/json")
    wrong = ("--data", json.dumps({"username": "ann", "password": f"{password}x"}))
    yield from told("a wrong password", question(machine, "/session", None, *as_json, *wrong), 401)
    right = ("--data", json.dumps({"username": "ann", "password": password}))
    signed_in = question(machine, "/session", None, *as_json, *right)
    yield from told("ann's password", signed_in, 200)
    if signed_in[0] != 200:
        return
    token = json.loads(signed_in[1])["token"]
    answer = question(machine, "/api/agents", token, "--header", "x-user-role: ADMIN")
    if answer[0] != 200:
        yield from told("with a token", answer, 200)
    elif json.loads(answer[1])["received"]["identity"]["x-user-role"] != ["REGULAR"]:
        yield f"the forged role is not gone: {answer[1][:300]}"
    # What is revoked is in Redis.
    yield from told("signing out", question(machine, "/session/logout", token, "--request", "POST"), 200)
    deadline = time.monotonic() + 5
    while question(machine, "/api/agents", token)[0] == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    yield from told("a token that was signed out", question(machine, "/api/agents", token), 401)
    appended = [path.read_bytes() for path in (machine.room / "redis/data").rglob("*.aof")]
    if not any(b"portcullis:" in text for text in appended):
        yield "Redis has written nothing of it down"


def run(file, envoy):
    """Runs what a file says; what is wrong with it."""
    room = ROOM / pathlib.Path(file).stem
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    secrets = room / "secrets"
    made = subprocess.run(
        [ROOT / "compose/secrets", ROOT / "target/debug/portcullis"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "SECRETS": str(secrets)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    password = made.stdout.split()[-1]
    again = subprocess.run([ROOT / "compose/secrets"], env={"PATH": "/usr/bin:/bin", "SECRETS": str(secrets)}, capture_output=True)
    if again.returncode == 0:
        yield "compose/secrets writes over what is there"
    machine = Machine(file, room, envoy, secrets)
    try:
        machine.start()
        yield from questions(machine, password)
    finally:
        statuses = machine.stop()
    for name in ("portcullis", "redis"):
        if statuses[name] != 0:
            yield f"{name} ended with {statuses[name]}: {machine.services[name].log()[-500:]}"


def main():
    if sys.argv[1:] == ["--write"]:
        for file in WITH_NAMES:
            (ROOT / file).write_text(with_names(file))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    schema, envoy = schema_of(sys.argv[1]), sys.argv[2]
    found = 0
    for file in WITH_NAMES:
        if (ROOT / file).read_text() != with_names(file):
            found += 1
            print(f"{file}: is not {WITH_NAMES[file]} any more: tests/compose/run --write", file=sys.stderr)
    for file in FILES:
        started = time.monotonic()
        causes = list(faults(file, schema))
        # What is not as it should is not run.
        causes = causes or list(run(file, envoy))
        for cause in causes:
            print(f"{file}: {cause}", file=sys.stderr)
        found += len(causes)
        if not causes:
            print(f"{file}: as the specification has it; signed in, asked and signed out in {time.monotonic() - started:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
