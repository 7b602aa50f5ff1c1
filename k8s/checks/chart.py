#!/usr/bin/env python3
"""Renders the chart by its examples, for the other checks to hold what comes out, and
holds it to the kustomizations: where both say the same thing, the objects are the same.

    k8s/checks/chart.py HELM --render    into target/k8s/rendered, as chart-….yaml
    k8s/checks/chart.py HELM             all that is this check's own
    k8s/checks/chart.py --write          copies what is of other files into chart/files
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib

import yaml

from objects import K8S, ROOM, Faults, containers_of, name, rendered
from policy import lacking

CHART = K8S / "chart"
# What the chart has of others, since a chart has to hold all that is in it.
COPIES = {
    "alerts.yaml": "monitoring/alerts.yaml",
    "dashboard.json": "monitoring/dashboard.json",
    "redis.conf": "redis/redis.conf",
}
# The examples that are rendered, those that go over others with what is below them, and
# the kustomizations that say the same.
RENDERED = {
    "values": ([], ["overlays-replicas", "redis"]),
    "replicas": (["replicas"], ["overlays-replicas", "redis", "envoy-gateway"]),
    "single": (["single"], ["overlays-single"]),
    "verify-only": (["verify-only"], ["overlays-verify-only", "envoy-gateway-one-route-http"]),
    "one-route": (["one-route"], ["envoy-gateway-one-route"]),
    "others-tokens": (["others-tokens"], []),
    "mcp": (["mcp"], ["overlays-mcp", "envoy-gateway-mcp"]),
    "mutual-tls": (["replicas", "mutual-tls"], ["overlays-mutual-tls"]),
    "monitoring": (["replicas", "monitoring"], ["overlays-replicas", "redis", "envoy-gateway", "monitoring"]),
    "managed-redis": (["replicas", "managed-redis"], []),
    "control-plane": (["control-plane"], ["overlays-multi-region-control-plane"]),
    "region-eu": (["replicas", "region-eu"], ["overlays-multi-region-eu"]),
}
# Another release in another namespace than portcullis in portcullis.
RELEASES = {"managed-redis": ("gate", "access")}
# What of an example is told of no kustomization.
BESIDE = {
    # The policy and its grant are what is compared: overlays/verify-only is asked over
    # HTTP as well.
    "one-route": lambda each: each["kind"] not in ("SecurityPolicy", "ReferenceGrant"),
}
# What Helm alone sets.
RELEASE = {
    "helm.sh/chart": "portcullis-",
    "app.kubernetes.io/managed-by": "Helm",
    "app.kubernetes.io/instance": "portcullis",
    "app.kubernetes.io/version": "",
}
# Values that are refused, and what is said of them.
REFUSED = [
    (["replicas.mim=2"], "additional properties 'mim' not allowed"),
    (["replicas.min=two"], "at '/replicas/min': got string, want integer"),
    (["redis.kind=shared"], "at '/redis/kind': value must be one of 'none', 'own', 'managed'"),
    (["signingKeys.keys=[]"], "who signs people in signs their tokens: set signingKeys.keys"),
    (["signingKeys.keys=[]", "verifyOnly=true", "redis.kind=none", "gateway.signIn.enabled=false"], "there is no key to verify tokens by: set signingKeys.keys, or issuers"),
    (["publicUrl=app.example.com"], "at '/publicUrl': 'app.example.com' does not match pattern"),
    (["gateway.check=all"], "at '/gateway/check': value must be one of 'none', 'gateway', 'route'"),
    (["gateway.timeout=fast"], "at '/gateway/timeout': 'fast' does not match pattern"),
    (["redis.managed.port=70000"], "at '/redis/managed/port': maximum: got 70,000, want 65,535"),
    (["resources.limits.cpu=null"], "at '/resources/limits': missing property 'cpu'"),
    (["signingKeys.keys[0].secret=abc"], "additional properties 'secret' not allowed"),
    (["networkPolicy.gateway=null"], "at '/networkPolicy': missing property 'gateway'"),
    (["replicas.min=7"], "replicas.min is 7 and replicas.max is 6: give a max that is not below min"),
    (["redis.kind=none"], "share codes and revocations: set redis.kind to own or managed"),
    (["redis.kind=managed"], "no NetworkPolicy leads there: set redis.managed.cidrs"),
    (["verifyOnly=true"], "verifyOnly shares nothing between replicas: set redis.kind to none"),
    (["verifyOnly=true", "redis.kind=none"], "verifyOnly signs nobody in: set gateway.signIn.enabled to false"),
    (["overHttp.enabled=true"], "overHttp leads to the internal port, where the metrics are, too: set internalPeers"),
    (["gateway.transport=http"], "no Service leads to the internal port: set overHttp.enabled to true"),
    (["gateway.check=route"], "no route is named: set gateway.route.name and gateway.route.namespace"),
    (["rules=[]"], "there are no rules, and what no rule names is refused: set rules"),
    (["config.check.listen=0.0.0.0:1"], "config.check.listen: the chart writes this itself"),
    (["config.sso.client_secret=abc"], "config.sso.client_secret is a secret's value: name a file in its place"),
    (["config.store.url=redis://:abc@redis:6379"], "config.store.url has a password in an address"),
]


def values(examples):
    return [each for example in examples for each in ("--values", str(CHART / f"examples/{example}.yaml"))]


def helm(program, *arguments):
    """Its answer, without anything of the user's own."""
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


def template(program, examples, *more, chart=CHART, command="template"):
    release, namespace = RELEASES.get(examples[-1] if examples else None, ("portcullis", "portcullis"))
    return helm(program, command, release, chart, "--namespace", namespace, *values(examples), *more)


def without_release(value):
    """The same without what Helm alone sets."""
    if isinstance(value, dict):
        kept = {
            key: without_release(inner)
            for key, inner in value.items()
            if not (key in RELEASE and str(inner).startswith(RELEASE[key]))
        }
        return {key: inner for key, inner in kept.items() if key != "labels" or inner}
    if isinstance(value, list):
        return [without_release(inner) for inner in value]
    return value


def comparable(each):
    """An object as it is compared: files by what they say, lists of names without order."""
    each = without_release(each)
    if each["kind"] == "ConfigMap":
        parsed = {".toml": tomllib.loads, ".json": yaml.safe_load}
        each["data"] = {
            key: parsed.get(pathlib.PurePath(key).suffix, str.strip)(text) for key, text in each["data"].items()
        }
    return unordered(each)


def unordered(value, key=None):
    if isinstance(value, dict):
        # A name that changes with what it names.
        return {
            inner_key: "redis" if inner_key == "name" and re.fullmatch(r"redis-[0-9a-z]{10}", str(inner)) else unordered(inner, inner_key)
            for inner_key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        listed = [unordered(inner) for inner in value]
        return sorted(listed, key=lambda each: json.dumps(each, sort_keys=True)) if key in ("env", "volumes", "volumeMounts", "ports") else listed
    return value


def by_name(objects):
    compared = [comparable(each) for each in objects]
    return {name(each): each for each in compared}


def is_anothers(each):
    """Whether it is not for this chart to make: a namespace, a gateway, or a service that
    is guarded."""
    gateways = ("GatewayClass", "Gateway", "EnvoyProxy", "ClientTrafficPolicy")
    return (
        each["kind"] in ("Namespace", *gateways)
        or (each["metadata"].get("namespace") == "agents" and each["kind"] != "SecurityPolicy")
        # The pages of a control plane are on a route with a redirect of its own.
        or (each["kind"] in ("HTTPRoute", "SecurityPolicy") and each["metadata"]["name"] == "control-plane")
        # What runs beside an Envoy is for envoy-gateway/module.
        or (each["kind"] == "PodMonitor" and each["metadata"]["name"] == "portcullis-gateway")
    )


def differences(one, other, path=""):
    """Where two of them differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other)):
            yield from differences(*pair, f"{path}[{number}]")
    elif one != other:
        yield f"{path}: the chart has {one!r}, the kustomization {other!r}"


def equality_faults(example, objects, kustomized):
    """Where the chart and the kustomizations do not say the same."""
    beside = BESIDE.get(example, lambda _: False)
    ours = by_name(each for each in objects if not beside(each))
    theirs = by_name(each for each in kustomized if not is_anothers(each) and not beside(each))
    if example in ("control-plane", "region-eu"):
        # The chart's check at the gateway is held to by the other examples.
        of_gateway = ("SecurityPolicy", "ReferenceGrant", "HTTPRoute")
        ours, theirs = ({k: v for k, v in each.items() if v["kind"] not in of_gateway} for each in (ours, theirs))
    for key in sorted({*ours, *theirs}):
        if key not in ours:
            yield f"{key} is not in the chart"
        elif key not in theirs:
            yield f"{key} is in the chart alone"
        else:
            for difference in differences(ours[key], theirs[key]):
                yield f"{key}: {difference}"


def test_faults(program, examples):
    """Whether what `helm test` runs is confined as the replicas are, and is no replica."""
    answer = template(program, examples)
    objects = [each for each in yaml.safe_load_all(answer.stdout) if each]
    pods = [each for each in objects if each["kind"] == "Pod"]
    if len(pods) != 1 or pods[0]["metadata"]["annotations"].get("helm.sh/hook") != "test":
        yield f"{len(pods)} pods, and not one that `helm test` runs"
        return
    pod = pods[0]
    for container in containers_of(pod["spec"]):
        # It ends, so that nobody waits for it to be ready.
        for what in lacking(container, pod):
            if what != "a readinessProbe":
                yield f"the test's container: it has to have {what}"
    replica = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    if pod["spec"]["volumes"] != replica["volumes"] or pod["spec"]["containers"][0]["env"] != replica["containers"][0]["env"]:
        yield "the test does not read what the replicas read"
    for each in objects:
        if each["kind"] in ("Service", "PodMonitor", "NetworkPolicy"):
            selector = each["spec"].get("selector") or each["spec"].get("podSelector")
            wanted = selector.get("matchLabels", selector)
            if wanted.items() <= pod["metadata"]["labels"].items():
                yield f"{name(each)} takes the test's pod for a replica"


def notes_faults(program, examples, objects):
    """Whether what `helm install` says names each Secret that has to be made, and what to
    do then."""
    said = template(program, examples, "--dry-run=client", command="install").stdout.partition("\nNOTES:\n")[2]
    wanted = {secret for each in objects for secret in re.findall(r"'(?:secretName|secretKeyRef)': (?:{'name': )?'([^']+)'", str(each))}
    for secret in sorted(wanted):
        if f"create secret generic {secret} " not in said:
            yield f"NOTES: does not say how to make the Secret {secret}"
    deployment = next(each["metadata"] for each in objects if each["kind"] == "Deployment")
    for then in (f"-n {deployment['namespace']} rollout status deployment/{deployment['name']}", "helm -n "):
        if then not in said:
            yield f"NOTES: lacks {then}"
    for policy in (each["metadata"] for each in objects if each["kind"] == "SecurityPolicy" and "extAuth" in each["spec"]):
        if f"-n {policy['namespace']} get securitypolicy {policy['name']} " not in said:
            yield f"NOTES: does not say how to see that {policy['name']} is accepted"


def commands(text):
    """Each command of a text's blocks of sh, without the backslashes."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line


def readme_faults(program):
    """Whether every command of the README is one that Helm takes, and renders."""
    tried = 0
    for line in commands((CHART / "README.md").read_text()):
        words = shlex.split(line)
        if words[0] != "helm":
            if words[0] not in ("kubectl", "k8s/check"):
                yield f"{line}: nobody here can try it"
            continue
        options = [each for each in words if each.startswith("--")]
        if words[1] in ("install", "upgrade"):
            # What would be installed. Without what waits for a cluster.
            words = ["helm", "template", *(each for each in words[2:] if each not in ("--install", "--create-namespace", "--wait"))]
        elif words[1] == "test":
            known = helm(program, "test", "--help").stdout
            yield from (f"{line}: there is no {each}" for each in options if each not in known)
            continue
        tried += 1
        answer = subprocess.run([program, *words[1:]], capture_output=True, text=True, cwd=K8S.parent)
        if answer.returncode != 0:
            yield f"{line}: {answer.stderr.strip()}"
    if not tried:
        yield "there is no command to try"
    for each in CHART.glob("examples/*.yaml"):
        if f"examples/{each.name}" not in (CHART / "README.md").read_text():
            yield f"does not tell of examples/{each.name}"


def check(program):
    faults = Faults("chart")
    for file, source in COPIES.items():
        if (CHART / "files" / file).read_bytes() != (K8S / source).read_bytes():
            faults.add(f"chart/files/{file}", f"is not {source} any more: k8s/check --write")
    of_chart = tomllib.loads((K8S.parent / "Cargo.toml").read_text())["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    if (chart["version"], str(chart["appVersion"])) != (of_chart, of_chart):
        faults.add("chart/Chart.yaml", f"version and appVersion are not {of_chart}, as Cargo.toml has it")
    unused = {each.stem for each in CHART.glob("examples/*.yaml")} - {e for files, _ in RENDERED.values() for e in files}
    for example in sorted(unused):
        faults.add(f"chart/examples/{example}.yaml", "is rendered by nobody")

    everything = rendered()
    for example, (files, kustomizations) in RENDERED.items():
        answer = helm(program, "lint", "--strict", CHART, "--namespace", "portcullis", *values(files))
        if answer.returncode != 0:
            faults.add(f"{example}: helm lint", answer.stdout + answer.stderr)
        objects = everything[f"chart-{example}"]
        if kustomizations:
            kustomized = [each for kustomization in kustomizations for each in everything[kustomization]]
            for cause in equality_faults(example, objects, kustomized):
                faults.add(example, cause)
        for cause in (*test_faults(program, files), *notes_faults(program, files, objects)):
            faults.add(example, cause)

    for wrong, said in REFUSED:
        sets = [each for value in wrong for each in ("--set-json" if value.endswith("[]") else "--set", value)]
        answer = template(program, ["replicas"], *sets)
        if answer.returncode == 0:
            faults.add(", ".join(wrong), "is not refused")
        elif said not in answer.stderr:
            faults.add(", ".join(wrong), f"is refused without the words {said!r}: {answer.stderr}")

    # What is packed is what is here.
    with tempfile.TemporaryDirectory() as room:
        answer = helm(program, "package", CHART, "--destination", room)
        packed = list(pathlib.Path(room).glob("*.tgz"))
        if answer.returncode != 0 or not packed:
            faults.add("helm package", answer.stdout + answer.stderr)
        elif template(program, ["replicas"], chart=packed[0]).stdout != template(program, ["replicas"]).stdout:
            faults.add("helm package", "what is packed renders otherwise")
    for cause in readme_faults(program):
        faults.add("chart/README.md", cause)
    compared = sum(bool(kustomizations) for _, kustomizations in RENDERED.values())
    faults.close(
        f"{len(RENDERED)} sets of values are linted and rendered, {compared} of them as the kustomizations; "
        f"{len(REFUSED)} wrong values are refused with their causes"
    )


def main():
    if sys.argv[1:] == ["--write"]:
        for file, source in COPIES.items():
            (CHART / "files" / file).write_bytes((K8S / source).read_bytes())
        return
    program = str(pathlib.Path(sys.argv[1]).resolve())
    if sys.argv[2:] != ["--render"]:
        check(program)
        return
    for example, (files, _) in RENDERED.items():
        # What `helm test` runs is looked at by itself.
        answer = template(program, files, "--no-hooks")
        if answer.returncode != 0:
            sys.exit(f"chart: {example}: {answer.stderr}")
        (ROOM / f"rendered/chart-{example}.yaml").write_text(answer.stdout)


if __name__ == "__main__":
    main()
