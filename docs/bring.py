"""Brings the files of the repository to which pages of the book link into the book.

A page under docs/src links to `../../../envoy/envoy.yaml`, which works where the
repository is read. Here such a link comes to lead to a copy under `files/`; a
directory becomes a page that lists what is in it.
"""

import html
import os
import re
import shutil
import sys
from pathlib import Path

BOOK = Path(sys.argv[1]).resolve()
ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "src"
LINK = re.compile(r'(<(?:a|img)\b[^>]*?\b(?:href|src)=")([^"]+)(")')
FILES = BOOK / "files"


def bring(path):
    """Where the copy of this file or directory is, below the book."""
    name = path.relative_to(ROOT)
    if path.is_dir():
        there = FILES / name / "index.html"
        there.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for entry in sorted(path.iterdir()):
            if entry.is_file():
                rows.append((entry.name, os.path.relpath(bring(entry), there.parent)))
        rows = "".join(f'<li><a href="{html.escape(to)}">{html.escape(row)}</a></li>' for row, to in rows)
        there.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><meta name="color-scheme" content="light dark">'
            f"<title>{name}</title><h1>{name}</h1><ul>{rows}</ul></html>\n"
        )
        return there
    # What a browser would take for a program, or offer to keep, is shown as text.
    kept = {".png", ".svg", ".json", ".html"}
    there = FILES / (name if name.suffix in kept else f"{name}.txt")
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, there)
    return there


def place(page, target):
    """The file or directory of the repository, outside the book, that is meant."""
    path, _, _ = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return None
    meant = Path(os.path.normpath(SOURCE / page.relative_to(BOOK).parent / path))
    if meant.is_relative_to(SOURCE) or not meant.is_relative_to(ROOT):
        return None
    if not meant.exists() and meant.suffix == ".html":
        meant = meant.with_suffix(".md")
    return meant


def main():
    shutil.rmtree(FILES, ignore_errors=True)
    for page in sorted(BOOK.rglob("*.html")):
        text = page.read_text()

        def lead(found, page=page):
            meant = place(page, html.unescape(found[2]))
            if meant is None:
                return found[0]
            if not meant.exists():
                sys.exit(f"{page.relative_to(BOOK)}: nothing is at {found[2]}")
            return found[1] + os.path.relpath(bring(meant), page.parent) + found[3]

        changed = LINK.sub(lead, text)
        if changed != text:
            page.write_text(changed)


main()
