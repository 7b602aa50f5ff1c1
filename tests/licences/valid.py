"""Holds what sbom.py prints to the schema of CycloneDX, and to NOTICE.

    valid.py PACKAGE...
"""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from notice import own, shipped
from sbom import sbom


def main():
    for package in sys.argv[1:]:
        made = sbom(package)
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made))
        if error:
            sys.exit(f"sbom: {package}: {error}"[:2000])
        listed = {(each["name"], each["version"]) for each in made["components"]}
        if listed != shipped([package]):
            sys.exit(f"sbom: {package}: lists other crates than NOTICE: {listed ^ shipped([package])}")
        without = [each["name"] for each in made["components"] if "hashes" not in each and each["name"] != "portcullis"]
        if without:
            sys.exit(f"sbom: {package}: without a checksum: {', '.join(without)}")
        if sbom(package) != made or made["metadata"]["component"]["version"] != own(package)[1]:
            sys.exit(f"sbom: {package}: is not the same twice, or of another version")
        print(f"sbom: {package} is made of {len(listed)} crates, as CycloneDX 1.6 has it")


if __name__ == "__main__":
    main()
