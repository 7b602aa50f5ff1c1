#!/usr/bin/env python3
"""Asks portcullis about each configuration, in the surroundings that its
Deployment gives it: the same variables, and a file where each secret would be.

    k8s/checks/config.py BINARY
"""

import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile

from objects import Faults, name, pod_of, rendered

# A value for each variable that a Deployment takes from a Secret.
FROM_SECRETS = {"PORTCULLIS__STORE__URL": "redis://:a-password@redis:6379"}


def portcullis(objects):
    """Its Deployment, and the ConfigMap that is mounted where it looks."""
    found = [o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "portcullis"]
    if not found:
        return None, None
    pod = pod_of(found[0])["spec"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "config")
    wanted = volume["configMap"]["name"]
    config = next(o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == wanted)
    return found[0], config


def seconds(text):
    return int(text.removesuffix("s"))


def fill(file):
    """What could stand in this file: a certificate and its key, accounts, or a key."""
    if file.suffix in (".crt", ".key"):
        if not file.exists():
            # One certificate that is its own authority.
            key, certificate, authority = (file.with_name(each) for each in ("tls.key", "tls.crt", "ca.crt"))
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            command += ["-subj", "/CN=portcullis", "-days", "30", "-keyout", key, "-out", certificate]
            subprocess.run(command, check=True, capture_output=True)
            authority.write_bytes(certificate.read_bytes())
    else:
        file.write_text("" if file.suffix == ".toml" else secrets.token_hex(32))


def faults_of(binary, deployment, config, leads_to_internal):
    pod = pod_of(deployment)["spec"]
    container = pod["containers"][0]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    environment = {}
    for variable in container["env"]:
        environment[variable["name"]] = variable.get("value") or FROM_SECRETS.get(variable["name"])
        if environment[variable["name"]] is None:
            yield f"{variable['name']}: nobody here knows a value for it"
            return
    file = pathlib.PurePath(environment.pop("PORTCULLIS_CONFIG"))
    if str(file.parent) not in mounts or file.name not in config["data"]:
        yield f"PORTCULLIS_CONFIG: {file} is not mounted"
        return
    text = config["data"][file.name]

    drain, stop = (seconds(re.search(rf'^{key} = "(\d+s)"', text, re.MULTILINE)[1]) for key in ("drain", "stop_within"))
    if drain + stop >= pod["terminationGracePeriodSeconds"]:
        yield f"drain and stop_within are {drain + stop}s, and it is killed after {pod['terminationGracePeriodSeconds']}s"
    ports = {port["containerPort"] for port in container["ports"]}
    listening = {int(port) for port in re.findall(r'^listen = "0\.0\.0\.0:(\d+)"', text, re.MULTILINE)}
    if ports != listening:
        yield f"listens on {sorted(listening)}, and the container's ports are {sorted(ports)}"

    # Every pod is in the network of the gateway's pods, and would choose the
    # address that its sign-in attempts are counted by.
    if "public_url" in text and 8080 in listening and (
        re.search(r"^trusted_proxies", text, re.MULTILINE) or "\ntrusted_hops = 1\n" not in text
    ):
        yield "http: the gateway is to be counted by trusted_hops, not found by its network"
    if leads_to_internal and not re.search(r'^peers = \["', text, re.MULTILINE):
        yield "a Service leads to the internal port, and internal.peers does not say who may ask"

    with tempfile.TemporaryDirectory() as room:
        for path in re.findall(r'_file = "([^"]+)"', "\n".join([text, *environment.values()])):
            if str(pathlib.PurePath(path).parent) not in mounts:
                yield f"{path} is not mounted"
            here = pathlib.Path(room + path)
            here.parent.mkdir(parents=True, exist_ok=True)
            fill(here)
            text = text.replace(f'"{path}"', f'"{here}"')
            environment = {key: value.replace(f'"{path}"', f'"{here}"') for key, value in environment.items()}
        here = pathlib.Path(room, file.name)
        here.write_text(text)
        answer = subprocess.run(
            [binary, "check-config", "--config", here],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
        )
        said = answer.stdout + answer.stderr
        # A warning here is one that every user would see at every start.
        if answer.returncode != 0 or said.strip() != "ok":
            yield said.replace(room, "").strip()


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    faults = Faults("config")
    count = 0
    for kustomization, objects in rendered().items():
        deployment, config = portcullis(objects)
        ports = [port for o in objects if o["kind"] == "Service" for port in o["spec"]["ports"]]
        if deployment:
            count += 1
            leads_to_internal = any(port["name"] == "internal" for port in ports)
            for cause in faults_of(binary, deployment, config, leads_to_internal):
                faults.add(f"{kustomization}: {name(config)}", cause)
    faults.close(f"portcullis takes {count} configurations as they are")


if __name__ == "__main__":
    main()
