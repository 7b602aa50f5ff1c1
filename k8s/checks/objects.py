"""What the checks have in common: the rendered objects, and how faults are told."""

import pathlib
import sys

import yaml

K8S = pathlib.Path(__file__).resolve().parent.parent
ROOM = K8S.parent / "target/k8s"


class Faults:
    """Collects what is wrong; at the end there is none, or the program fails."""

    def __init__(self, check):
        self.check = check
        self.count = 0

    def add(self, where, cause):
        self.count += 1
        print(f"{self.check}: {where}: {cause}", file=sys.stderr)

    def close(self, summary):
        if self.count:
            sys.exit(1)
        print(f"{self.check}: {summary}")


def rendered():
    """The objects of each kustomization, by its name."""
    files = sorted((ROOM / "rendered").glob("*.yaml"))
    return {file.stem: [each for each in yaml.safe_load_all(file.read_text()) if each] for file in files}


def name(each):
    """As a person would look for it: `kind namespace/name`."""
    metadata = each["metadata"]
    return f"{each['kind']} {metadata.get('namespace', '-')}/{metadata['name']}"


def pod_of(each):
    """The pod template of a workload, else None."""
    if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return each["spec"]["template"]
    return None


def matches(selector, labels):
    """Whether a label selector (`matchLabels` alone) covers these labels."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
