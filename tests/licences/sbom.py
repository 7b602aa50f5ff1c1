"""Prints what a package's program is made of, as CycloneDX 1.6 has it: every crate whose
code is in it, with its checksum, its licence and what it needs; and, of an image's
directory, the packages of Debian whose files are in it, and the C library within a program
that wants none beside it. The same sources make the same text.

    sbom.py PACKAGE [IMAGE]
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

from notice import ROOT, cargo, own, shipped


def purl(name, version):
    # `+` begins what is not of the version, and has a meaning in an address.
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def component(crate, checksums):
    name, version = crate["name"], crate["version"]
    checksum = checksums.get((name, version))
    licence = {"licenses": [{"expression": " OR ".join(map(str.strip, crate["license"].split("/")))}]}
    source = {"externalReferences": [{"type": "vcs", "url": crate["repository"]}]} if crate["repository"] else {}
    return {
        "type": "library",
        "bom-ref": purl(name, version),
        "name": name,
        "version": version,
        "purl": purl(name, version),
        **licence,
        **({"hashes": [{"alg": "SHA-256", "content": checksum}]} if checksum else {}),
        **source,
    }


def of_debian(image):
    """The packages of Debian whose files an image has."""
    files = [f"/{path.relative_to(image)}" for path in image.rglob("*") if path.is_file()]
    names = set()
    for file in files:
        if ".so" in file and "/libportcullis" not in file:
            # Without the directory, which may be a link to where dpkg put it.
            answer = subprocess.run(["dpkg-query", "--search", f"*/{os.path.basename(file)}"], capture_output=True, text=True)
            found = [line.split(":")[0] for line in answer.stdout.splitlines() if line.endswith(file.split("/")[-1])]
            if not found:
                sys.exit(f"{file}: of no package")
            # What cross compilers bring has the same name.
            names.add(min(found, key=len))
        elif file.endswith("ca-certificates.crt"):
            names.add("ca-certificates")
    for name in sorted(names):
        version = subprocess.check_output(["dpkg-query", "--show", "--showformat", "${Version}\n", name], text=True).split()[0]
        reference = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}"
        yield {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}


def of_rust(image):
    """The C library that the compiler brings, in a static program."""
    if any(".so" in path.name for path in image.rglob("*")):
        return
    sysroot = pathlib.Path(subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip())
    library = sysroot / f"lib/rustlib/{os.uname().machine}-unknown-linux-musl/lib/self-contained/libc.a"
    version = re.search(rb"\0(1\.\d+\.\d+)\0", library.read_bytes())[1].decode()
    reference = f"pkg:generic/musl@{version}"
    licence = {"licenses": [{"expression": "MIT"}]}
    yield {"type": "library", "bom-ref": reference, "name": "musl", "version": version, "purl": reference, **licence}


def sbom(package, image=None):
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    crates = {each["id"]: each for each in metadata["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(each["name"], each["version"]): each.get("checksum") for each in lock}
    wanted = shipped([package]) | {own(package)}
    inside = {identity for identity, each in crates.items() if (each["name"], each["version"]) in wanted}
    references = {identity: purl(crates[identity]["name"], crates[identity]["version"]) for identity in inside}
    components = [component(crates[identity], checksums) for identity in inside]
    needs = [
        {
            "ref": references[node["id"]],
            "dependsOn": sorted(
                {
                    references[each["pkg"]]
                    for each in node["deps"]
                    if each["pkg"] in inside and any(kind["kind"] is None for kind in each["dep_kinds"])
                }
            ),
        }
        for node in metadata["resolve"]["nodes"]
        if node["id"] in inside
    ]
    root = next(each for each in components if each["name"] == package)
    components.remove(root)
    components += [*of_debian(image), *of_rust(image)] if image else []
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**root, "type": "application"}},
        "components": sorted(components, key=lambda each: each["bom-ref"]),
        "dependencies": sorted(needs, key=lambda each: each["ref"]),
    }
    # A name for this very text.
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))}"
    return made


def main():
    package, *image = sys.argv[1:]
    print(json.dumps(sbom(package, *map(pathlib.Path, image)), separators=(",", ":")))


if __name__ == "__main__":
    main()
