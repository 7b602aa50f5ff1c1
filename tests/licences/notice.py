"""Makes NOTICE: what others wrote of the programs that are shipped, under which licences,
with the texts that these ask to be kept.

    notice.py --write
    notice.py --check
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NOTICE = ROOT / "NOTICE"
# What is shipped, and for which machines.
PACKAGES = ("portcullis", "portcullis-envoy")
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
# Where there is a choice: the first of these, which the project itself has, asks for no
# more than what LICENSE says already and for the NOTICE of who has one.
PREFERRED = ("Apache-2.0", "MIT", "ISC", "BSD-3-Clause", "BSL-1.0", "Zlib", "Unlicense")
# Files of a crate that have its licence in them.
FILES = re.compile(r"^(licen[cs]e|copying|copyright|unlicense)", re.IGNORECASE)
HEAD = """\
portcullis
Copyright the authors of portcullis, under the Apache License 2.0: see LICENSE.

Made by `tests/licences/run --write` of what Cargo.lock names; do not change it by hand.

In the programs that are shipped (portcullis, and its engine for Envoy) is the Rust
standard library (MIT OR Apache-2.0), and what is listed here. Where there was a choice,
the licence is the one that was taken. The texts that are to be kept are below. In the
image of portcullis there are also the C library musl (MIT) and the certificates of public
authorities (MPL-2.0); in the others is the C library of Debian (LGPL-2.1-or-later).
"""


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def shipped(packages=PACKAGES):
    """Name and version of every crate whose code is in these packages' programs."""
    found = set()
    for package in packages:
        for target in TARGETS:
            kinds = "normal,no-proc-macro"
            tree = cargo("tree", "--locked", "-p", package, "-e", kinds, "--target", target, "--prefix", "none", "--format", "{p}")
            found |= {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    return {(name, version.lstrip("v")) for name, version in found} - {own(package) for package in packages}


def own(package):
    """A package of this repository: its name and version."""
    manifest = ROOT / ("Cargo.toml" if package == "portcullis" else "envoy/module/Cargo.toml")
    return package, tomllib.loads(manifest.read_text())["package"]["version"]


def tokens(expression):
    return re.findall(r"\(|\)|AND|OR|[-.+\w]+(?: WITH [-.\w]+)?", expression.replace("/", " OR "))


def taken(expression):
    """The licences that are taken of an SPDX expression."""
    left = tokens(expression)

    def alternatives():
        choices = [all_of()]
        while left and left[0] == "OR":
            left.pop(0)
            choices.append(all_of())
        return min(choices, key=lambda choice: (max(map(rank, choice)), len(choice)))

    def all_of():
        together = one()
        while left and left[0] == "AND":
            left.pop(0)
            together = together | one()
        return together

    def one():
        first = left.pop(0)
        if first != "(":
            return frozenset({first})
        inner = alternatives()
        left.pop(0)
        return inner

    chosen = alternatives()
    if left:
        raise ValueError(f"{expression}: cannot be read from {left[0]}")
    return chosen


def rank(licence):
    return PREFERRED.index(licence) if licence in PREFERRED else len(PREFERRED)


def texts_of(directory, licences):
    """What is to be kept of a crate's own files."""
    for file in sorted(directory.iterdir()):
        if file.is_file() and file.name.lower().startswith("notice"):
            yield file.read_text()
        elif file.is_file() and FILES.match(file.name) and licences != {"Apache-2.0"}:
            text = file.read_text(errors="replace")
            is_apache = re.search(r"Apache License\s+Version 2\.0, January 2004", text)
            # A file that has Apache's text and others' is kept whole.
            others = re.search(r"Permission (is hereby granted|to use)|Redistribution and use", text)
            other = [each for each in ("MIT", "ZLIB", "BSL", "UNLICENSE", "ISC") if file.name.upper().endswith(f"-{each}")]
            # One of several files that is another's: not what was taken.
            not_taken = other and not any(licence.upper().startswith(other[0]) for licence in licences)
            if not not_taken and (others or not is_apache):
                yield text


def tidy(text):
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\f", "").strip("\n").split("\n")]
    return "\n".join(lines)


def notice():
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    crates = {(each["name"], each["version"]): each for each in metadata["packages"]}
    listed, texts, without = [], {}, []
    for name, version in sorted(shipped()):
        crate = crates[name, version]
        if not crate["license"]:
            sys.exit(f"{name} {version}: names no licence: look into {crate['manifest_path']}")
        licences = taken(crate["license"])
        listed.append(f"{name} {version}: {' AND '.join(sorted(licences))}")
        kept = {tidy(text) for text in texts_of(pathlib.Path(crate["manifest_path"]).parent, licences)}
        for text in sorted(kept):
            texts.setdefault(text, []).append(name)
        if not kept and licences != {"Apache-2.0"}:
            if licences != {"MIT"}:
                sys.exit(f"{name} {version}: has no text of {crate['license']}: look into {crate['manifest_path']}")
            without.append(f"{name}: {', '.join(crate['authors']) or crate['repository']}")
    without.append("musl: Copyright 2005-2020 Rich Felker, et al.")
    parts = [HEAD, "\n".join(listed)]
    if without:
        parts.append("\n".join(["These bring no text of their licence: the words of MIT are below. By whom they are:", "", *without]))
    for text, names in sorted(texts.items(), key=lambda each: (each[1], each[0])):
        parts.append(f"{'-' * 90}\n{', '.join(names)}\n\n{text}")
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def main():
    made = notice()
    if sys.argv[1:] == ["--write"]:
        NOTICE.write_text(made)
    elif not NOTICE.exists() or NOTICE.read_text() != made:
        sys.exit("NOTICE is not of what Cargo.lock names any more: tests/licences/run --write")
    else:
        crates = sum(1 for line in made.splitlines() if re.fullmatch(r"[\w-]+ \d\S*: .*", line))
        print(f"NOTICE: {crates} crates are in what is shipped, each with its licence")


if __name__ == "__main__":
    main()
