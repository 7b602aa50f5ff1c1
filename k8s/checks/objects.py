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


def proxies(objects):
    """The Deployments that Envoy Gateway makes of Gateways whose EnvoyProxy says more of
    its pods: what it adds by itself is left out, but for what the checks look at
    (`internal/infrastructure/kubernetes/proxy` of Envoy Gateway)."""
    by_key = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for o in objects}
    for gateway in (o for o in objects if o["kind"] == "Gateway"):
        metadata, spec = gateway["metadata"], gateway["spec"]
        named = spec.get("infrastructure", {}).get("parametersRef", {}).get("name")
        proxy = by_key.get(("EnvoyProxy", metadata.get("namespace"), named), {"spec": {}})
        said = proxy["spec"].get("provider", {}).get("kubernetes", {}).get("envoyDeployment")
        if not said:
            continue
        labels = {
            "app.kubernetes.io/name": "envoy",
            "app.kubernetes.io/component": "proxy",
            "app.kubernetes.io/managed-by": "envoy-gateway",
            "gateway.envoyproxy.io/owning-gateway-namespace": metadata["namespace"],
            "gateway.envoyproxy.io/owning-gateway-name": metadata["name"],
        }
        ports = [{"name": "metrics", "containerPort": 19001}]
        for each in spec["listeners"]:
            ports.append({"name": each["name"], "containerPort": port_in_pod(each["port"]), "isListener": True})
        envoy = {"name": "envoy", "ports": ports, "volumeMounts": said.get("container", {}).get("volumeMounts", [])}
        pod = {
            **said.get("pod", {}),
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 360,
            "initContainers": said.get("initContainers", []),
            "containers": [envoy],
        }
        yield {
            "kind": "Deployment",
            "metadata": {"namespace": "envoy-gateway-system", "name": f"envoy-{metadata['name']}"},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
        }


def port_in_pod(port):
    """Where Envoy Gateway has Envoy listen for a listener's port."""
    return port + 10000 if port < 1024 else port


def containers_of(pod):
    """All containers of a pod's spec, those first that begin first."""
    return pod.get("initContainers", []) + pod["containers"]


def matches(selector, labels):
    """Whether a label selector (`matchLabels` alone) covers these labels."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
