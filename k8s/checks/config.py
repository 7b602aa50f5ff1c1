#!/usr/bin/env python3
"""Asks portcullis about each configuration, in the surroundings that its pod gives
it: the same variables, and a file where each secret would be.

    k8s/checks/config.py BINARY
"""

import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import tomllib

from objects import Faults, containers_of, pod_of, proxies, rendered

# A value for each variable that a pod takes from a Secret.
FROM_SECRETS = {"PORTCULLIS__STORE__URL": "redis://:a-password@redis:6379"}


def readers(objects):
    """The containers that run portcullis: each with its namespace and its pod."""
    for each in [*objects, *proxies(objects)]:
        for container in containers_of(pod_of(each)["spec"]) if pod_of(each) else []:
            if container.get("image", "").startswith("portcullis:"):
                yield each["metadata"]["namespace"], pod_of(each)["spec"], container


def files_of(container):
    """What it reads, a later file over an earlier one."""
    named = [each.removeprefix("--config=") for each in container["args"] if each.startswith("--config=")]
    variables = {each["name"]: each.get("value") for each in container.get("env", [])}
    return [pathlib.PurePath(each) for each in named or [variables["PORTCULLIS_CONFIG"]]]


def mounted(file, namespace, pod, container, objects):
    """The file's text, of the ConfigMap that is mounted where it is looked for, or None."""
    for mount in container["volumeMounts"]:
        if mount["mountPath"] == str(file.parent):
            volume = next(volume for volume in pod["volumes"] if volume["name"] == mount["name"])
            wanted = namespace, volume.get("configMap", {}).get("name")
            for each in objects:
                if each["kind"] == "ConfigMap" and (each["metadata"]["namespace"], each["metadata"]["name"]) == wanted:
                    return each["data"].get(file.name)
    return None


def over(table, other):
    """A table with another over it, as portcullis merges its layers."""
    if not (isinstance(table, dict) and isinstance(other, dict)):
        return other
    return {**table, **{key: over(table.get(key), value) for key, value in other.items()}}


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


def faults_of(binary, reader, objects, leads_to_internal):
    namespace, pod, container = reader
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    environment = {}
    for variable in container.get("env", []):
        environment[variable["name"]] = variable.get("value") or FROM_SECRETS.get(variable["name"])
        if environment[variable["name"]] is None:
            yield f"{variable['name']}: nobody here knows a value for it"
            return
    environment.pop("PORTCULLIS_CONFIG", None)
    files = {file: mounted(file, namespace, pod, container, objects) for file in files_of(container)}
    for file, text in files.items():
        if text is None:
            yield f"{file} is not mounted"
    if None in files.values():
        return
    said = {}
    for text in files.values():
        said = over(said, tomllib.loads(text))

    drain, stop = (seconds(said["lifecycle"][key]) for key in ("drain", "stop_within"))
    if drain + stop >= pod["terminationGracePeriodSeconds"]:
        yield f"drain and stop_within are {drain + stop}s, and it is killed after {pod['terminationGracePeriodSeconds']}s"
    ports = {port["containerPort"] for port in container["ports"]}
    listens = [table["listen"] for table in said.values() if isinstance(table, dict) and "listen" in table]
    listening = {int(each.removeprefix("0.0.0.0:")) for each in listens if each.startswith("0.0.0.0:")}
    if ports != listening:
        yield f"listens on {sorted(listening)}, and the container's ports are {sorted(ports)}"
    for socket in (pathlib.PurePath(each.removeprefix("unix:")) for each in listens if each.startswith("unix:")):
        if mounts.get(str(socket.parent), {"readOnly": True}).get("readOnly"):
            yield f"{socket} is where nothing is mounted that can be written to"

    # Every pod is in the network of the gateway's pods, and would choose the
    # address that its sign-in attempts are counted by.
    http = said.get("http", {})
    if "public_url" in http and 8080 in listening and ("trusted_proxies" in http or http.get("trusted_hops") != 1):
        yield "http: the gateway is to be counted by trusted_hops, not found by its network"
    if leads_to_internal and not said.get("internal", {}).get("peers"):
        yield "a Service leads to the internal port, and internal.peers does not say who may ask"

    with tempfile.TemporaryDirectory() as room:
        secret_files = re.findall(r'_file = "([^"]+)"', "\n".join([*files.values(), *environment.values()]))
        secret_files += [value for key, value in environment.items() if key.endswith("_FILE")]
        for path in secret_files:
            if str(pathlib.PurePath(path).parent) not in mounts:
                yield f"{path} is not mounted"
            here = pathlib.Path(room + path)
            here.parent.mkdir(parents=True, exist_ok=True)
            fill(here)

        def moved(text):
            for path in secret_files:
                text = text.replace(f'"{path}"', f'"{room}{path}"')
            return room + text if text in secret_files else text

        command = [binary, "check-config"]
        for file, text in files.items():
            here = pathlib.Path(room, file.name)
            here.write_text(moved(text))
            command += ["--config", here]
        answer = subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], **{key: moved(value) for key, value in environment.items()}},
            capture_output=True,
            text=True,
        )
        told = answer.stdout + answer.stderr
        # A warning here is one that every user would see at every start.
        if answer.returncode != 0 or told.strip() != "ok":
            yield told.replace(room, "").strip()


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    faults = Faults("config")
    count = 0
    for kustomization, objects in rendered().items():
        ports = [port for o in objects if o["kind"] == "Service" for port in o["spec"]["ports"]]
        leads_to_internal = any(port["name"] == "internal" for port in ports)
        for reader in readers(objects):
            count += 1
            for cause in faults_of(binary, reader, objects, leads_to_internal):
                where = ", ".join(file.name for file in files_of(reader[2]))
                faults.add(f"{kustomization}: {reader[0]}: {where}", cause)
    faults.close(f"portcullis takes {count} configurations as they are")


if __name__ == "__main__":
    main()
