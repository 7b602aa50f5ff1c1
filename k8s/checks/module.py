#!/usr/bin/env python3
"""Holds the engine in Envoy to what no schema knows: that Envoy finds it, that it is
asked first and the check where it has not allowed, and that both know the same."""

import pathlib
import tomllib

from objects import Faults, proxies, rendered

NAME = "portcullis"
# As Envoy Gateway has its Envoys run, and portcullis's image its program.
USER = 65532
# Where the engine has not allowed, and nowhere else.
ASKED = {
    "filter": "envoy.filters.http.ext_authz",
    "path": [{"key": "decision"}],
    "value": {"string_match": {"exact": "allow"}},
    "invert": True,
}
FIRST = {"name": "envoy.filters.http.dynamic_modules", "before": "envoy.filters.http.ext_authz"}


def key(each):
    return each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]


class Gateway:
    """A Gateway with the engine in its Envoys, and all that belongs to it."""

    def __init__(self, policy, objects):
        self.objects = objects
        self.by_key = {key(each): each for each in objects}
        self.namespace = policy["metadata"]["namespace"]
        self.name = policy["spec"]["targetRefs"][0]["name"]
        self.module = policy["spec"]["dynamicModule"][0]
        self.spec = self.by_key["Gateway", self.namespace, self.name]["spec"]
        named = self.spec["infrastructure"]["parametersRef"]["name"]
        self.proxy = self.by_key["EnvoyProxy", self.namespace, named]["spec"]
        deployment = next(each for each in proxies(objects) if each["metadata"]["name"] == f"envoy-{self.name}")
        self.pod = deployment["spec"]["template"]["spec"]
        self.where = deployment["metadata"]["namespace"]

    def of_kind(self, kind):
        return [each for each in self.objects if each["kind"] == kind]

    def on(self, kind, target_kind, namespace, target):
        """The policies of this kind on this Gateway or route."""
        return [
            each
            for each in self.of_kind(kind)
            if each["metadata"]["namespace"] == namespace
            and any((ref["kind"], ref["name"]) == (target_kind, target) for ref in each["spec"]["targetRefs"])
        ]

    def routes(self):
        for route in self.of_kind("HTTPRoute"):
            for parent in route["spec"]["parentRefs"]:
                if (parent.get("namespace", route["metadata"]["namespace"]), parent["name"]) == (self.namespace, self.name):
                    yield route

    def container(self, image):
        """The init container of this image, and the image's tag."""
        for each in self.pod["initContainers"]:
            named, _, tag = each["image"].rpartition(":")
            if named == image:
                return each, tag
        return {"volumeMounts": [], "args": [], "securityContext": {}}, None

    def shared(self, directory, container):
        """Whether what this container writes there is what Envoy reads there."""
        envoy = [m for m in self.pod["containers"][0]["volumeMounts"] if m["mountPath"] == directory]
        own = [m for m in container["volumeMounts"] if m["mountPath"] == directory and not m.get("readOnly")]
        return bool(envoy and own) and envoy[0]["name"] == own[0]["name"]


def file_faults(gateway):
    """Whether Envoy finds the file, and the one of this version."""
    entries = [each for each in gateway.proxy.get("dynamicModules", []) if each["name"] == gateway.module["name"]]
    if not entries:
        yield f"the EnvoyProxy has no module {gateway.module['name']}"
        return
    if entries[0]["source"].get("type") != "Local":
        yield "dynamicModules: not Local; until it has come, the listener lets everything past it"
        return
    if entries[0].get("doNotClose") is not True:
        yield "dynamicModules: doNotClose is not true, and its thread may be at work when it is taken away"
    file = pathlib.PurePath(entries[0]["source"]["local"]["path"])
    placed, tag = gateway.container("portcullis-envoy")
    if file.name != f"libportcullis_envoy-{tag}.so":
        yield f"dynamicModules: {file.name} is not what the image portcullis-envoy:{tag} has"
    if placed["args"] != [str(file.parent)] or not gateway.shared(str(file.parent), placed):
        yield f"{file.parent} is not where the init container puts the module for Envoy"
    if "restartPolicy" in placed:
        yield "the init container that puts the module there does not end before Envoy begins"
    if FIRST not in gateway.proxy.get("filterOrder", []):
        yield f"filterOrder: the module is not before {FIRST['before']}"


def feed_faults(gateway):
    """Whether the module is told by the sidecar what the replicas know."""
    said = gateway.module.get("config", {})
    if said.get("fallback") != "ext_authz":
        yield "config.fallback is not ext_authz"
    sidecar, tag = gateway.container("portcullis")
    if tag != gateway.container("portcullis-envoy")[1]:
        yield f"the sidecar is of version {tag}, and the module of another"
    if sidecar.get("restartPolicy") != "Always" or "startupProbe" in sidecar:
        yield "the sidecar is none, or Envoy waits for it (startupProbe)"
    if sidecar["securityContext"].get("runAsUser") != USER:
        yield f"the sidecar is not user {USER}, as Envoy is: its socket is for its own user"
    own = gateway.by_key.get(("ConfigMap", gateway.where, NAME), {"data": {}})["data"]
    replicas = gateway.by_key.get(("ConfigMap", NAME, NAME), {"data": {}})["data"]
    if own.get("portcullis.toml") != replicas.get("portcullis.toml"):
        yield "the sidecar's portcullis.toml is not that of the replicas: they would decide differently"
    feed = tomllib.loads(own.get("feed.toml", "")).get("feed", {})
    if feed.get("listen") != f"unix:{said.get('feed')}":
        yield f"config.feed is not where feed.toml listens ({feed.get('listen')})"
    if USER not in feed.get("uids", []):
        yield f"feed.toml does not let Envoy in (uids = [{USER}])"
    directory = str(pathlib.PurePath(said.get("feed", "/")).parent)
    if not gateway.shared(directory, sidecar):
        yield f"{directory} is not shared by the sidecar and Envoy"


def fallback_faults(gateway):
    """Whether every check of the Gateway is asked where the engine has not allowed."""
    checks = gateway.on("SecurityPolicy", "Gateway", gateway.namespace, gateway.name)
    for route in gateway.routes():
        own = gateway.on("SecurityPolicy", "HTTPRoute", route["metadata"]["namespace"], route["metadata"]["name"])
        checks += own
        engine = gateway.on("EnvoyExtensionPolicy", "HTTPRoute", route["metadata"]["namespace"], route["metadata"]["name"])
        is_open = bool(own) and not any("extAuth" in each["spec"] for each in own)
        if is_open and not any("dynamicModule" not in each["spec"] for each in engine):
            yield f"the route {route['metadata']['name']} has no check, and the engine guards it all the same"
    patches = [
        (each["name"], each["operation"])
        for policy in gateway.of_kind("EnvoyPatchPolicy")
        if policy["metadata"]["namespace"] == gateway.namespace and policy["spec"]["targetRef"]["name"] == gateway.name
        for each in policy["spec"]["jsonPatches"]
    ]
    for check in (each for each in checks if "extAuth" in each["spec"]):
        metadata = check["metadata"]
        named = f"envoy.filters.http.ext_authz/securitypolicy/{metadata['namespace']}/{metadata['name']}"
        wanted = {
            "op": "add",
            "jsonPath": f"..http_filters[?(@.name=='{named}')].typed_config",
            "path": "/filter_enabled_metadata",
            "value": ASKED,
        }
        for listener in gateway.spec["listeners"]:
            if (f"{gateway.namespace}/{gateway.name}/{listener['name']}", wanted) not in patches:
                yield f"no EnvoyPatchPolicy has {metadata['name']} ask only where the engine has not allowed"


def reach_faults(gateway):
    """Whether clients still reach each listener."""
    listeners = {port["containerPort"] for port in gateway.pod["containers"][0]["ports"] if port.get("isListener")}
    let_in = {
        port["port"]
        for each in gateway.of_kind("NetworkPolicy")
        if each["metadata"]["namespace"] == gateway.where
        for rule in each["spec"].get("ingress", [])
        if "from" not in rule
        for port in rule["ports"]
    }
    if let_in != listeners:
        yield f"its NetworkPolicy lets everybody in to {sorted(let_in)}, and its listeners are at {sorted(listeners)}"


def main():
    faults = Faults("module")
    count = 0
    for kustomization, objects in rendered().items():
        for policy in objects:
            if policy["kind"] == "EnvoyExtensionPolicy" and "dynamicModule" in policy["spec"]:
                count += 1
                gateway = Gateway(policy, objects)
                for faults_of in (file_faults, feed_faults, fallback_faults, reach_faults):
                    for cause in faults_of(gateway):
                        faults.add(f"{kustomization}: {gateway.namespace}/{gateway.name}", cause)
    if not count:
        faults.add("overlays", "no Gateway has the engine in its Envoys")
    faults.close(f"{count} Gateway has the engine in its Envoys, which know what the replicas know")


if __name__ == "__main__":
    main()
