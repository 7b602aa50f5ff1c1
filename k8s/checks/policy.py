#!/usr/bin/env python3
"""Holds the rendered objects to what no schema knows: that they fit together,
and that nothing runs with more than it needs."""

import re

from objects import Faults, containers_of, matches, name, pod_of, proxies, rendered

# What looks like a secret where none may be: a password in an address, a private
# key, a password's hash, a token.
SECRET = re.compile(r"\w+://[^\s/:@]*:[^\s@{}…]+@|-----BEGIN [A-Z ]*PRIVATE KEY|\$argon2|\beyJ[\w-]{10,}\.")
# A variable that holds a secret, by its name.
SECRET_VARIABLE = re.compile(r"(^|_)(KEY|SECRET|PASSWORD|TOKEN)$")
# A secret's value written into a configuration: `secret`, but not `secret_file`.
SECRET_KEY = re.compile(r"^\s*(client_)?secret\s*=|[{,]\s*(client_)?secret\s*=", re.MULTILINE)

# What a decision can need of a request's headers.
DECIDING = [
    *("authorization", "x-api-key", "cookie", "connection", "upgrade", "sec-websocket-version"),
    *("origin", "sec-fetch-site", "sec-fetch-mode", "access-control-request-method"),
    *("content-type", "x-request-id", "traceparent"),
]
# Where people sign in: one path of each endpoint of portcullis's own.
SIGN_IN = [
    *("/sso/login", "/sso/callback", "/sso/key/generate", "/session", "/session/logout"),
    *("/v2/login", "/v3/login", "/v3/login/exchange", "/ui", "/ui/login/", "/ui/assets/x.js"),
    *("/.well-known/portcullis", "/.well-known/jwks.json"),
    *("/.well-known/litellm-ui-config", "/litellm/.well-known/litellm-ui-config"),
]


def container_faults(pod):
    """What a container may do that it does not need."""
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    if spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    for container in containers_of(spec):
        for what in lacking(container, pod):
            yield f"container {container['name']}: it has to have {what}"


def lacking(container, pod):
    """What a container of this pod has to have and has not."""
    spec = pod["spec"]
    begins_first = container in spec.get("initContainers", [])
    own = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    asked = {
        "runAsNonRoot": own.get("runAsNonRoot") is True,
        "runAsUser above 0": own.get("runAsUser", 0) > 0,
        "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
        "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
        "capabilities.drop: [ALL]": own.get("capabilities", {}) == {"drop": ["ALL"]},
        "seccompProfile RuntimeDefault": own.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "no privileged": not own.get("privileged"),
        "an image with a tag": ":" in container["image"] and not container["image"].endswith(":latest"),
    }
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory"):
            asked[f"resources.{kind}.{what}"] = what in container.get("resources", {}).get(kind, {})
    for mount in container.get("volumeMounts", []):
        asked[f"no subPath at {mount['mountPath']}"] = not mount.get("subPath")
        claimed = {claim["metadata"]["name"] for claim in pod.get("claims", [])}
        volumes = {volume["name"] for volume in spec.get("volumes", [])} | claimed
        asked[f"a volume {mount['name']}"] = mount["name"] in volumes
    ports = {port["name"] for port in container.get("ports", [])}
    numbers = {port["containerPort"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        for way in ("httpGet", "tcpSocket", "grpc"):
            port = container.get(probe, {}).get(way, {}).get("port")
            asked[f"a port {port} for the {probe}"] = port is None or port in ports | numbers
    # What runs beside a container may fail without it.
    asked["no readinessProbe" if begins_first else "a readinessProbe"] = begins_first != ("readinessProbe" in container)
    return [what for what, fine in asked.items() if not fine]


def secret_faults(each):
    """Values that are to be in a Secret, which none of the files is."""
    if each["kind"] == "Secret":
        yield "is a Secret: it is to be made by hand, so that no value is in the repository"
    for path, text in texts(each):
        if SECRET.search(text):
            yield f"{path}: looks like a secret's value"
        if each["kind"] == "ConfigMap" and path.endswith(".toml") and SECRET_KEY.search(text):
            yield f"{path}: a secret's value; name its file (secret_file)"
    pod = pod_of(each)
    for container in containers_of(pod["spec"]) if pod else []:
        for variable in container.get("env", []):
            if SECRET_VARIABLE.search(variable["name"]) and "secretKeyRef" not in variable.get("valueFrom", {}):
                yield f"{variable['name']}: takes its value from no Secret (valueFrom.secretKeyRef)"


def texts(value, path=""):
    """Every text in it, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, path)
    elif isinstance(value, str):
        yield path, value


class World:
    """What there is to refer to: in the cluster, all the kustomizations' objects
    that this one is to be applied with."""

    def __init__(self, objects):
        self.by_key = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for o in objects}
        self.pods = [
            (o["metadata"].get("namespace"), {**pod_of(o), "claims": o["spec"].get("volumeClaimTemplates", [])})
            for o in [*objects, *proxies(objects)]
            if pod_of(o)
        ]

    def selected(self, namespace, selector):
        labelled = [(where, pod) for where, pod in self.pods if where == namespace]
        return [pod for _, pod in labelled if matches(selector, pod["metadata"]["labels"])]

    def service_port(self, namespace, service, port):
        """The fault of a reference to a Service's port, or None."""
        found = self.by_key.get(("Service", namespace, service))
        if not found:
            return f"there is no Service {namespace}/{service}"
        if port not in [each["port"] for each in found["spec"]["ports"]]:
            return f"the Service {namespace}/{service} has no port {port}"
        return None

    def speaks_tls(self, namespace, service):
        """Whether a BackendTLSPolicy is on the Service's port `grpc`."""
        return any(
            (target["name"], target.get("sectionName")) == (service, "grpc")
            for (kind, where, _), policy in self.by_key.items()
            if (kind, where) == ("BackendTLSPolicy", namespace)
            for target in policy["spec"]["targetRefs"]
        )

    def sends_bytes(self, namespace, policy):
        """Whether an EnvoyPatchPolicy has this SecurityPolicy's bodies sent as bytes."""
        wanted = f"[?(@.name=='envoy.filters.http.ext_authz/securitypolicy/{namespace}/{policy}')]"
        return any(
            wanted in each["operation"]["jsonPath"]
            and (each["operation"]["path"], each["operation"]["value"]) == ("/pack_as_bytes", True)
            for (kind, _, _), patches in self.by_key.items()
            if kind == "EnvoyPatchPolicy"
            for each in patches["spec"]["jsonPatches"]
        )

    def granted(self, kind, source, namespace, service):
        """Whether a ReferenceGrant lets this kind refer there."""
        for (what, where, _), grant in self.by_key.items():
            if what == "ReferenceGrant" and where == namespace:
                spec = grant["spec"]
                if any((f["kind"], f["namespace"]) == (kind, source) for f in spec["from"]) and any(
                    t["kind"] == "Service" and t.get("name", service) == service for t in spec["to"]
                ):
                    return True
        return source == namespace


def ports_of(pods):
    """Of all containers: numbers and names."""
    ports = [port for pod in pods for each in containers_of(pod["spec"]) for port in each.get("ports", [])]
    return {port["containerPort"] for port in ports} | {port.get("name") for port in ports}


def listener_ports(pods):
    """Where these pods, if they are the gateway's, listen for clients."""
    ports = [port for pod in pods for each in containers_of(pod["spec"]) for port in each.get("ports", [])]
    return {port["containerPort"] for port in ports if port.get("isListener")}


def faults_of(each, world):
    kind, namespace, spec = each["kind"], each["metadata"].get("namespace"), each.get("spec", {})
    yield from secret_faults(each)
    pod = pod_of(each)
    if pod:
        if not matches(spec["selector"], pod["metadata"]["labels"]):
            yield "its selector does not match its own pods"
        yield from container_faults({**pod, "claims": spec.get("volumeClaimTemplates", [])})
        account = pod["spec"].get("serviceAccountName")
        if account and ("ServiceAccount", namespace, account) not in world.by_key:
            yield f"there is no ServiceAccount {account}"
        yield from volume_faults(pod, namespace, world)
    elif kind == "ServiceAccount" and each.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    elif kind == "Service":
        pods = world.selected(namespace, {"matchLabels": spec["selector"]})
        if not pods:
            yield "its selector matches no pod"
        for port in spec["ports"]:
            if pods and port.get("targetPort", port["port"]) not in ports_of(pods):
                yield f"no container has the port {port.get('targetPort', port['port'])}"
            wanted = "https" if world.speaks_tls(namespace, each["metadata"]["name"]) else "kubernetes.io/h2c"
            if port["name"] == "grpc" and port.get("appProtocol") != wanted:
                yield f"its port grpc is not {wanted}"
    elif kind == "NetworkPolicy":
        yield from network_faults(namespace, spec, world)
    elif kind == "PodDisruptionBudget":
        if not world.selected(namespace, spec["selector"]):
            yield "its selector matches no pod"
    elif kind == "HorizontalPodAutoscaler":
        target = spec["scaleTargetRef"]
        found = world.by_key.get((target["kind"], namespace, target["name"]))
        if not found:
            yield f"there is no {target['kind']} {target['name']}"
        elif "replicas" in found["spec"]:
            yield f"the {target['kind']} {target['name']} has `replicas` itself: each apply would undo the scaling"
    elif kind in ("HTTPRoute", "SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy"):
        yield from gateway_faults(each, world)


def volume_faults(pod, namespace, world):
    for volume in pod["spec"].get("volumes", []):
        config = volume.get("configMap", {}).get("name")
        if config and ("ConfigMap", namespace, config) not in world.by_key:
            yield f"there is no ConfigMap {namespace}/{config}"


def proxy_faults(each, world):
    """What an EnvoyProxy adds to Envoy's pod; the rest is Envoy Gateway's own."""
    pod, namespace = pod_of(each), each["metadata"]["namespace"]
    yield from secret_faults(each)
    yield from volume_faults(pod, namespace, world)
    for container in pod["spec"]["initContainers"]:
        for what in lacking(container, pod):
            yield f"container {container['name']}: it has to have {what}"
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for mount in pod["spec"]["containers"][0]["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"container envoy: there is no volume {mount['name']}"
        elif "secret" in volumes[mount["name"]]:
            yield f"container envoy: the Secret at {mount['mountPath']} is none of Envoy's business"
        if mount.get("readOnly") is not True:
            yield f"container envoy: {mount['mountPath']} is not readOnly"


def network_faults(namespace, spec, world):
    pods = world.selected(namespace, spec["podSelector"])
    if not pods:
        yield "its podSelector matches no pod"
        return
    for rule in spec.get("ingress", []):
        for port in rule.get("ports", []):
            if port["port"] not in ports_of(pods):
                yield f"lets in to the port {port['port']}, which no container has"
        # The gateway's listeners are for everybody.
        led_to = {port["port"] for port in rule.get("ports", [{"port": "all"}])}
        if not rule.get("from") and not led_to <= listener_ports(pods):
            yield "lets everybody in"
        for peer in rule.get("from", []):
            selector = peer.get("podSelector")
            if "namespaceSelector" not in peer and selector and not world.selected(namespace, selector):
                yield f"lets in pods that there are not: {selector}"


def gateway_faults(each, world):
    kind, namespace, spec = each["kind"], each["metadata"].get("namespace"), each["spec"]
    references = [
        reference
        for rule in spec.get("rules", [])
        for reference in rule.get("backendRefs", [])
    ]
    if kind == "HTTPRoute":
        if any((reference["name"], reference["port"]) == ("portcullis", 8080) for reference in references):
            yield from sign_in_faults(each)
        for parent in spec["parentRefs"]:
            if ("Gateway", parent.get("namespace", namespace), parent["name"]) not in world.by_key:
                yield f"there is no Gateway {parent.get('namespace', namespace)}/{parent['name']}"
    for target in spec.get("targetRefs", []):
        if (target["kind"], namespace, target["name"]) not in world.by_key:
            yield f"there is no {target['kind']} {namespace}/{target['name']}"
    if kind == "SecurityPolicy" and "extAuth" in spec:
        check = spec["extAuth"]
        if check.get("failOpen") is not False:
            yield "extAuth.failOpen is not false"
        if "timeout" not in check:
            yield "extAuth has no timeout"
        if "grpc" in check and "headersToExtAuth" in check:
            yield "extAuth.headersToExtAuth hides headers from the check"
        if "http" in check:
            yield from http_faults(check)
        if "bodyToExtAuth" in check and not world.sends_bytes(namespace, each["metadata"]["name"]):
            yield "extAuth.bodyToExtAuth: no EnvoyPatchPolicy has the body sent as bytes, so that it is none"
        references += check.get("grpc", check.get("http"))["backendRefs"]
    for reference in references:
        where = reference.get("namespace", namespace)
        fault = world.service_port(where, reference["name"], reference["port"])
        if fault:
            yield fault
        elif not world.granted(kind, namespace, where, reference["name"]):
            yield f"no ReferenceGrant lets it refer to the Service {where}/{reference['name']}"


def secrets_of(objects):
    """The Secrets without which portcullis does not start."""
    pods = [pod_of(o)["spec"] for o in objects if pod_of(o) and o["metadata"]["name"] == "portcullis"]
    volumes = [volume.get("secret", {}).get("secretName") for pod in pods for volume in pod["volumes"]]
    variables = [
        variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
        for pod in pods
        for container in pod["containers"]
        for variable in container.get("env", [])
    ]
    return {secret for secret in volumes + variables if secret}


def verify_only_faults(objects):
    """What is there beside one key and two ports to ask at."""
    beside = sorted(secrets_of(objects) - {"portcullis-keys"})
    if beside:
        yield f"needs the Secrets {', '.join(beside)}, too"
    services = [o for o in objects if o["kind"] == "Service"]
    led_to = sorted(port["port"] for service in services for port in service["spec"]["ports"])
    let_in = {
        port["port"]
        for o in objects
        if o["kind"] == "NetworkPolicy"
        for rule in o["spec"].get("ingress", [])
        for port in rule["ports"]
    }
    if led_to != [9191, 9192]:
        yield f"its Services lead to {led_to}, and not to 9191 and 9192 alone"
    if let_in != {9191, 9192}:
        yield f"its NetworkPolicies let in to {sorted(let_in)}, and not to 9191 and 9192 alone"


def http_faults(check):
    """What a check over HTTP lacks: Envoy sends and takes over no header that is
    not listed, but `Authorization`, which it sends."""
    identity = [f"x-user-{name}" for name in ("id", "name", "email", "role")]
    lists = {
        "headersToExtAuth": (check.get("headersToExtAuth", []), [*DECIDING, *identity]),
        "http.headersToBackend": (check["http"].get("headersToBackend", []), [*identity, "authorization", "cookie"]),
    }
    for what, (listed, needed) in lists.items():
        missing = sorted(set(needed) - set(listed))
        if missing:
            yield f"extAuth.{what} lacks {', '.join(missing)}"
        if len(set(listed)) < len(listed):
            yield f"extAuth.{what} names a header twice"
    if check["http"].get("path") != "/api/auth":
        yield "extAuth.http.path is not /api/auth"


def sign_in_faults(route):
    """The paths of portcullis's own that a route to it does not lead to."""
    matches = [each["path"] for rule in route["spec"]["rules"] for each in rule.get("matches", [])]
    for path in SIGN_IN:
        if not any(
            path == match["value"] or (match["type"] == "PathPrefix" and path.startswith(match["value"] + "/"))
            for match in matches
        ):
            yield f"{path} leads nowhere, and people sign in there"


def main():
    faults = Faults("policy")
    everything = rendered()
    # What each of these parts is applied together with.
    beside = {
        "redis": ["overlays-replicas"],
        "envoy-gateway": ["overlays-replicas"],
        "envoy-gateway-mcp": ["overlays-mcp", "envoy-gateway"],
        "envoy-gateway-one-route": ["overlays-verify-only", "envoy-gateway"],
        "envoy-gateway-one-route-http": ["overlays-verify-only", "envoy-gateway"],
        "chart-mcp": ["envoy-gateway", "envoy-gateway-mcp"],
    }
    # The chart makes no gateway.
    beside = {**{each: ["envoy-gateway"] for each in everything if each.startswith("chart-")}, **beside}
    for kustomization, objects in everything.items():
        world = World(objects + [o for other in beside.get(kustomization, []) for o in everything[other]])
        for each in objects:
            for cause in faults_of(each, world):
                faults.add(f"{kustomization}: {name(each)}", cause)
        for each in proxies(objects):
            for cause in proxy_faults(each, world):
                faults.add(f"{kustomization}: {name(each)}", cause)
        if kustomization in ("overlays-verify-only", "chart-verify-only"):
            for cause in verify_only_faults(objects):
                faults.add(kustomization, cause)
        # An overlay without a check would let everything pass.
        gateways = [o for o in objects if o["kind"] == "Gateway"]
        for gateway in gateways:
            guarded = any(
                target["kind"] == "Gateway" and target["name"] == gateway["metadata"]["name"]
                for o in objects
                if o["kind"] == "SecurityPolicy" and "extAuth" in o["spec"]
                for target in o["spec"]["targetRefs"]
            )
            if not guarded:
                faults.add(f"{kustomization}: {name(gateway)}", "no SecurityPolicy with extAuth is on it")
    faults.close(f"{len(everything)} kustomizations and examples of the chart fit together and ask for no more than they need")


if __name__ == "__main__":
    main()
