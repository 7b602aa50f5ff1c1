"""Follows every link: of the pages as they are read in the repository, and of the book."""

import html
import re
import sys
from pathlib import Path
from urllib.parse import unquote

BOOK = Path(sys.argv[1]).resolve()
ROOT = Path(__file__).resolve().parent.parent
# What is not ours to check.
FOREIGN = {"target", ".git", "node_modules", "corpus"}
FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1\s*$", re.M | re.S)
faults = []


def pages():
    for page in sorted(ROOT.rglob("*.md")):
        if not FOREIGN.intersection(page.relative_to(ROOT).parts):
            yield page


def prose(page):
    """The text without its blocks, comments and code."""
    text = FENCE.sub("", page.read_text())
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    return re.sub(r"`[^`\n]*`(?!\])", lambda found: "`" * len(found[0]), text)


def anchors(page):
    """What headings are called in an address: lower case, blanks as hyphens."""
    seen, names = {}, set()
    for line in FENCE.sub("", page.read_text()).splitlines():
        found = re.match(r"#{1,6} (.+)$", line)
        if not found:
            continue
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found[1])
        name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    names.update(re.findall(r'\bid="([^"]+)"', page.read_text()))
    return names


def follow(page, target):
    if re.match(r"(https?|mailto):", target):
        return
    path, _, anchor = unquote(target).partition("#")
    meant = (page.parent / path).resolve() if path else page
    name = page.relative_to(ROOT)
    if not meant.exists():
        faults.append(f"{name}: nothing is at {target}")
    elif anchor and meant.suffix == ".md" and anchor not in anchors(meant):
        faults.append(f"{name}: no heading is {target}")


def repository():
    count = 0
    for page in pages():
        for target in re.findall(r"\]\(<?([^)\s>]+)>?\)", prose(page)):
            follow(page, target)
            count += 1
    return count


def book():
    ids, count = {}, 0
    for page in BOOK.rglob("*.html"):
        ids[page] = set(re.findall(r'\b(?:id|name)="([^"]+)"', page.read_text()))
    for page in sorted(ids):
        # These have the links of all pages, from where none of them is.
        if page.name in ("print.html", "toc.html", "404.html"):
            continue
        for target in re.findall(r'\b(?:href|src)="([^"]*)"', page.read_text()):
            target = unquote(html.unescape(target))
            if re.match(r"([a-z]+:|//)", target) or not target:
                continue
            path, _, anchor = target.partition("#")
            meant = (page.parent / path).resolve() if path else page
            if meant.is_dir():
                meant /= "index.html"
            name = page.relative_to(BOOK)
            count += 1
            if not meant.exists():
                faults.append(f"book: {name}: nothing is at {target}")
            elif anchor and meant in ids and anchor not in ids[meant]:
                faults.append(f"book: {name}: no place is {target}")
    return len(ids), count


def listed():
    """Every page is in the table of contents."""
    source = ROOT / "docs" / "src"
    summary = (source / "SUMMARY.md").read_text()
    for page in source.rglob("*.md"):
        name = page.relative_to(source).as_posix()
        if name != "SUMMARY.md" and f"]({name})" not in summary:
            faults.append(f"docs/src/SUMMARY.md does not list {name}")


listed()
links, (pages_built, links_built) = repository(), book()
for fault in faults:
    print(fault, file=sys.stderr)
if faults or links < 100 or pages_built < 20:
    sys.exit(f"{len(faults)} faults")
print(f"{links} links in the repository and {links_built} in the book's {pages_built} pages lead somewhere")
