#!/usr/bin/env python3
"""Holds the Dockerfile to what can be seen without a container engine: cargo finds all
that it needs in the layer of dependencies, where there are manifests and no sources; and
every image has its labels, its version, and a user who is not root."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib

from objects import K8S, Faults

ROOT = K8S.parent
LABELS = {f"org.opencontainers.image.{name}" for name in ("title", "description", "version", "revision", "licenses")}


def stages(text):
    """Each stage's instructions: name, what it is from, and lines."""
    joined = re.sub(r"\\\n(\s*#.*\n)*\s*", " ", text)
    found = {}
    for line in joined.splitlines():
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            found[name] = {"base": base, "lines": []}
        elif line and not line.startswith("#"):
            found[name]["lines"].append(line)
    return found


def of(stage, instruction):
    return [line.split(None, 1)[1] for line in stage["lines"] if line.startswith(f"{instruction} ")]


def layer_faults(stage):
    """Whether cargo can work where only what is copied is."""
    with tempfile.TemporaryDirectory() as room:
        for copied in of(stage, "COPY"):
            *files, target = copied.split()
            place = pathlib.Path(room, target)
            place.mkdir(parents=True, exist_ok=True)
            for file in files:
                if not (ROOT / file).exists():
                    yield f"COPY {file}: there is none"
                    return
                shutil.copy(ROOT / file, place)
        command = ["k8s/empty-sources"]
        answer = subprocess.run(command, cwd=room, capture_output=True, text=True)
        if answer.returncode == 0:
            # Every manifest is read, and the lock is of what they say.
            command = ["cargo", "metadata", "--locked", "--format-version", "1"]
            answer = subprocess.run(command, cwd=room, capture_output=True, text=True)
        if answer.returncode != 0:
            yield f"{' '.join(command)}: {answer.stderr.strip()}"
        again = subprocess.run(["k8s/empty-sources"], cwd=room, capture_output=True)
        if again.returncode == 0:
            yield "k8s/empty-sources writes over sources"


def image_faults(stage, version):
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', " ".join(of(stage, "LABEL"))))
    missing = sorted(LABELS - labels.keys())
    if missing:
        yield f"lacks the labels {', '.join(missing)}"
    if labels.get("org.opencontainers.image.version") != "$VERSION" or f"VERSION={version}" not in of(stage, "ARG"):
        yield f"is not of the version {version}"
    if labels.get("org.opencontainers.image.revision") != "$PORTCULLIS_COMMIT" or "PORTCULLIS_COMMIT=" not in of(stage, "ARG"):
        yield "does not tell its commit"
    if of(stage, "USER") != ["65532:65532"]:
        yield "is not run by 65532:65532"
    if not of(stage, "ENTRYPOINT"):
        yield "has no ENTRYPOINT"


def main():
    faults = Faults("dockerfile")
    text = (K8S / "Dockerfile").read_text()
    found = stages(text)
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    for cause in layer_faults(found["manifests"]):
        faults.add("manifests", cause)
    for sources, below in (("build", "dependencies"), ("source", "dependencies-of-module")):
        if found[below]["base"] != "manifests" or of(found[below], "COPY"):
            faults.add(below, "has more than the manifests, so that it is made anew with every change")
        if "COPY . ." not in found[sources]["lines"] or found[sources]["base"] != below:
            faults.add(sources, f"is not the sources over {below}")
    images = {name: stage for name, stage in found.items() if stage["base"] == "scratch"}
    for name, stage in images.items():
        for cause in image_faults(stage, version):
            faults.add(name, cause)
    for name, stage in found.items():
        for script in re.findall(r"\bk8s/[\w-]+(?= )", " ".join(of(stage, "RUN"))):
            if not os.access(ROOT / script, os.X_OK):
                faults.add(name, f"{script} cannot be run")
        for source in re.findall(r"--from=([\w-]+)", " ".join(of(stage, "COPY"))):
            if source not in found:
                faults.add(name, f"COPY --from={source}: there is no such stage")
    if "portcullis" != list(found)[-1]:
        faults.add("portcullis", "is not the last stage, which is what is built unless another is asked for")
    faults.close(f"dependencies are built before the sources come; {len(images)} images have their labels and no root")


if __name__ == "__main__":
    main()
