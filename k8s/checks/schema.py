#!/usr/bin/env python3
"""Holds each rendered object to its schema; a field that is not there is a fault.

    k8s/checks/schema.py KUBERNETES_VERSION
"""

import sys

import jsonschema
import kubernetes_validate
import yaml

from objects import ROOM, Faults, name, rendered


def closed(schema):
    """A CRD's schema as JSON Schema that knows no field beside those named."""
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema["type"] = ["integer", "string"]
    if schema.pop("nullable", False) and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if "properties" in schema:
        schema["properties"] = {key: closed(value) for key, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = closed(schema["additionalProperties"])
    if "items" in schema:
        schema["items"] = closed(schema["items"])
    # allOf, anyOf, oneOf and not refine the same fields, and are no list of them.
    return schema


def custom_schemas():
    """By apiVersion and kind."""
    schemas = {}
    for file in sorted((ROOM / "crds").glob("**/*.yaml")):
        for crd in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            if not crd or crd["kind"] != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                if not version["served"]:
                    continue
                schema = dict(version["schema"]["openAPIV3Schema"])
                # These are the API server's own, and hold more than the CRD says.
                anything = {"apiVersion": {}, "kind": {}, "metadata": {"type": "object", "required": ["name"]}}
                schema["properties"] = {**schema["properties"], **anything}
                key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                schemas[key] = closed(schema)
    return schemas


def faults_of(each, schemas, version):
    """Path and cause of every fault."""
    schema = schemas.get((each["apiVersion"], each["kind"]))
    if schema:
        errors = jsonschema.Draft202012Validator(schema).iter_errors(each)
        return [(".".join(map(str, error.absolute_path)), error.message) for error in errors]
    try:
        kubernetes_validate.validate(each, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [(".".join(map(str, error.absolute_path)), error.message)]
    except kubernetes_validate.SchemaNotFoundError:
        return [("apiVersion", f"nobody knows {each['apiVersion']} {each['kind']}")]
    return []


def main():
    version = sys.argv[1]
    faults = Faults("schema")
    schemas = custom_schemas()
    if not schemas:
        sys.exit(f"schema: {ROOM / 'crds'}: there are no CRDs")
    count = custom = 0
    for kustomization, objects in rendered().items():
        for each in objects:
            count += 1
            custom += (each["apiVersion"], each["kind"]) in schemas
            for path, cause in faults_of(each, schemas, version):
                faults.add(f"{kustomization}: {name(each)}", f"{path or '(whole)'}: {cause[:300]}")
    faults.close(f"{count} objects as Kubernetes {version} has them, {custom} of them as their CRDs do")


if __name__ == "__main__":
    main()
