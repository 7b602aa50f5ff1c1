"""The paths that are sent: spellings of guarded paths that some server, somewhere,
reads as the plain ones. All of it is made, and is the same at every run."""

import random

GUARDED = ["/admin", "/admin/settings", "/admin/users/7", "/api/agents", "/api/agents/7", "/users/7/keys"]
OPEN = ["/", "/public", "/public/a", "/static/app.js", "/users/7", "/api/healthcheck"]

# RFC 3986: gen-delims, sub-delims, what is reserved by nobody and yet meant by some,
# and what may not stand raw in a path at all.
DELIMITERS = ":/?#[]@" + "!$&'()*+,;=" + "-._~%" + "\\|^`{}<>\" "
CONTROLS = [*range(0x20), 0x7F]
HIGH = [0x80, 0x85, 0xA0, 0xAD, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xFE, 0xFF]

DOTS = [
    "..", ".", "%2e%2e", "%2E%2E", ".%2e", "%2e.", "%2e", "%252e%252e", "%252e", "..;", "..;x=1", ".;", "..%00",
    "..%20", "..%09", "...", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "%u002e%u002e", "..%3b", "..%3bx", "%ef%bc%8e%ef%bc%8e",
    "%e2%80%a5", "..%23", "..%3f", "x/..", "x/%2e%2e", "x/../..", "..%0d", "..%ff",
]
SLASHES = ["/", "//", "///", "/./", "%2f", "%2F", "%252f", "\\", "%5c", "%255c", ";/", "/;/", "%c0%af", "%e0%80%af", "%ef%bc%8f", "%u002f", "%00/", "%20/", "/%20", "%3b/"]
PARAMETERS = [";", ";/x", ";x/y", ";x=1/y/z", "%3b/x", "%3bx/y", ";a/b;c/d", ";x", ";x=1", ";jsessionid=7", ";x=/", ";x=%2f", ";a=1;b=2", "%3b", "%3Bx=1", "%253b", ";.json", ";%00", ";/..", ",x=1", ":x", "!x", "~x", "$x"]
EXTENSIONS = [".json", ".html", ".htm", ".xml", ".txt", ".php", ".jsp", ".do", ".action", ".css", ".js", ".png", ".gz", ".bak", ".tar.gz", ".en", ".JSON", ".html.en", ".x", ".", "..", "...", "~", ".~1~", "%2ejson", "%2Ehtml", ".json/", ".json//", ".json;x", ".json%00", ".%00html", ".html%20", "%00.html", "%0a", "%0a.html", "%20.html", "::$DATA", ".html/x", ".json/..", ".%6ason", ".h%74ml", ".html%2f", ".html."]
ENDS = ["/", "//", "///", "/.", "/./", "/..", "/../", "/;", "/;/", "/%20", "%20", "+", "%09", "%0a", "%0d", "%0d%0a", "%00", "/%00", "%2f", "%2f%2f", "%2e", "/%2e", "/%2e/", "%5c", "\\", "?", "??", "?x", "?/", "?/..", "%3f", "%3fx", "#", "#x", "%23", "%23x", "&", "&x=1", "%26", "=", "%c2%a0", "%e2%80%8b", "%ef%bb%bf", "%ad", "%c2%ad", "/index.html", "/index", "/index.php", "/x/..", "/x/%2e%2e", "/x/../", "*", "%2a", "'", "%27", "\"", "%22", "|", "%7c", "^", "`", "{}", "<>", "[]", "@", "%40"]
STARTS = ["//", "///", "/./", "/../", "/.//", "/%2e/", "/%2e%2e/", "/;/", "/;x/", "/%2f", "/%5c", "/\\", "\\", "/%20", "/%00", "/%09", "/%0a", "/%c2%a0", "/%ef%bb%bf", "/x/../", "/x/%2e%2e/", "/%ff", "/.;/", "/..;/", "/%252e%252e/", "/%252f", "/~/", "/@/", "/:/", "/-/", "/+", "/%2b", "/?/", "/#/", "/%23/", "/%3f/", "/*/", "//app.example.com", "/http://app.example.com", "/%2e%2e%2f", "/.%2f", "/%u002f", "/%c0%af", "/index.php", "/x.json/..", "/;a=b", "/%3b/"]

# What the short run never leaves out: the plainest ways past an upstream's oddities.
PLAINEST = ["/ADMIN", "/Users/7/Keys", "/admin.html", "/admin.json", "/users/7/keys.html", "/users/7/keys;/x", "/admin;x"]


def spelled(byte):
    """One byte raw, encoded, encoded twice and three times."""
    return [bytes([byte]), b"%%%02X" % byte, b"%%%02x" % byte, b"%%25%02X" % byte, b"%%2525%02x" % byte]


def places(path):
    """Where something can be put into a path: around its slashes, and within its words."""
    marks = set()
    for at, character in enumerate(path):
        if character == "/":
            marks |= {at, at + 1}
    words, at = path.split("/")[1:], 1
    for word in words:
        if len(word) > 2:
            marks.add(at + len(word) // 2)
        at += len(word) + 1
    return sorted(marks | {len(path)})


def delimiters():
    for path in GUARDED:
        raw = path.encode()
        for character in DELIMITERS:
            for form in spelled(ord(character)):
                for at in places(path):
                    yield raw[:at] + form + raw[at:]
        for byte in [*CONTROLS, *HIGH]:
            # Raw, most of them end a connection; a few will do.
            forms = spelled(byte) if byte in (0x00, 0x09, 0x0B, 0x7F, 0x80, 0xFF) else spelled(byte)[1:4:2]
            for form in forms:
                for at in (places(path)[1], places(path)[2], len(path)):
                    yield raw[:at] + form + raw[at:]
        # In the place of each slash but the first.
        for slash in SLASHES:
            for at in range(1, len(path)):
                if path[at] == "/":
                    yield (path[:at] + slash + path[at + 1:]).encode()


def dot_segments():
    for start in ["", "/public", "/public/a", "/static", "/users/7", "/x/y"]:
        for dots in DOTS:
            for slash in SLASHES:
                for path in GUARDED:
                    yield f"{start}/{dots}{slash}{path[1:]}".encode()
    for start in ["/public", "/static", "/api/healthcheck"]:
        for dots in DOTS:
            for path in GUARDED:
                yield f"{start}/{dots}/{dots}/{path[1:]}".encode()
                yield f"{start}/..%2f..{path.replace('/', '%2f')}/{dots}".encode()


def parameters():
    for path in GUARDED:
        segments = path.split("/")[1:]
        for at in range(len(segments)):
            for parameter in PARAMETERS:
                changed = [*segments]
                changed[at] += parameter
                yield ("/" + "/".join(changed)).encode()
                changed[at] = parameter + segments[at]
                yield ("/" + "/".join(changed)).encode()


def cases():
    special = {"i": ["%c4%b1", "%c4%b0"], "k": ["%e2%84%aa"], "s": ["%c5%bf"], "n": ["%c5%84"], "a": ["%c3%a1"]}
    for path in [*GUARDED, "/ADMIN/x", "/api/AGENTS/x", "/Users/ann/Keys"]:
        yield from (path.upper().encode(), path.title().encode(), path.swapcase().encode())
        for at, character in enumerate(path):
            if not character.isalpha():
                continue
            before, after = path[:at], path[at + 1:]
            upper = character.upper()
            yield f"{before}{upper}{after}".encode()
            yield f"{before}%{ord(upper):02x}{after}".encode()
            yield f"{before.upper()}{character}{after.upper()}".encode()
            for other in special.get(character, []):
                yield f"{before}{other}{after}".encode()
                yield f"{before.upper()}{other}{after.upper()}".encode()


def encodings():
    for path in GUARDED:
        for at, character in enumerate(path):
            code = ord(character)
            wide = chr(0xFEE0 + code).encode() if code > 0x20 else b""
            forms = [b"%%%02x" % code, b"%%%02X" % code, b"%%25%02x" % code, b"%%2525%02x" % code]
            # Longer than they need be: two, three and four bytes for one.
            forms += [b"%%c%x%%%02x" % (code >> 6, 0x80 | code & 0x3F)]
            forms += [b"%%e0%%%02x%%%02x" % (0x80 | code >> 6, 0x80 | code & 0x3F)]
            forms += [b"%%f0%%80%%%02x%%%02x" % (0x80 | code >> 6, 0x80 | code & 0x3F)]
            forms += [b"%%u%04x" % code, b"&#x%x;" % code, b"\\u%04x" % code, b"\\x%02x" % code]
            forms += [b"".join(b"%%%02x" % byte for byte in wide), wide, b"%%%02x%%" % code, b"%" + character.encode()]
            for form in forms:
                yield path[:at].encode() + form + path[at + 1:].encode()
        for every in ("%{:02x}", "%{:02X}", "%25{:02x}"):
            yield ("/" + "".join(every.format(ord(c)) for c in path[1:])).encode()
            yield ("/" + "".join(c if c == "/" else every.format(ord(c)) for c in path[1:])).encode()


def ends():
    for path in [*GUARDED, *OPEN[1:]]:
        for end in [*ENDS, *EXTENSIONS]:
            yield (path + end).encode()
            yield (path + end + "/").encode()
    for path in GUARDED:
        for start in STARTS:
            yield (start + path.lstrip("/")).encode()
            yield (start + path).encode()
        segments = path.split("/")[1:]
        for at in range(len(segments) - 1):
            for extension in EXTENSIONS:
                changed = [*segments]
                changed[at] += extension
                yield ("/" + "/".join(changed)).encode()
        for extension in EXTENSIONS:
            yield f"{path}/x{extension}".encode()
            yield f"{path.upper()}{extension}".encode()


def neighbours():
    """What only looks like it, and other forms of a request's target."""
    for path in GUARDED:
        for form in ["http://app.example.com{}", "https://app.example.com{}", "http://other.example.com{}", "http://app.example.com:80{}", "HTTP://APP.EXAMPLE.COM{}", "http://ann@app.example.com{}", "http:{}", "//app.example.com{}", "app.example.com{}"]:
            yield form.format(path).encode()
            yield form.format("/public/.." + path).encode()
        yield from (path[1:].encode(), ("?" + path).encode(), ("#" + path).encode(), ("*" + path).encode())
        for query in ["?/..{}", "?x=/..{}", "/?{}", "?#/..{}", "#/..{}", "/x?{}", "?;/..{}", "?%23{}", "?access=1&{}", "?a=b/../..{}"]:
            yield ("/public" + query.format(path)).encode()
        for near in ["x", "-x", "_x", ".x", "s", "istrator", "%20x"]:
            yield from ((path + near).encode(), ("/x" + path[1:]).encode(), (path[:-1]).encode())
    yield from (b"*", b"/", b"/public", b"/robots.txt", b"/favicon.ico", b"/.well-known/security.txt")


PIECES = [
    b"/", b"/", b"/", b"/", b"admin", b"admin", b"users", b"7", b"keys", b"api", b"agents", b"settings", b"public", b"static",
    b"..", b".", b"%2e", b"%2E%2e", b"%2f", b"%252f", b"%252e", b"%5c", b"\\", b";", b";a=b", b"?", b"#", b"%3f", b"%23",
    b"%3b", b"%00", b"%", b"%2", b"%zz", b"%61dmin", b"adm%69n", b"%c3%a9", b"%c0%af", b" ", b"*", b".json", b".html",
    b"ADMIN", b"Admin", b"%20", b"~", b"@", b"%ff", b"\xc3\xa9", b"&", b"=", b"+", b"//",
]


def mixtures(count):
    chosen = random.Random(3986)
    for _ in range(count):
        yield b"/" + b"".join(chosen.choices(PIECES, k=chosen.randint(1, 8)))


def everything():
    """Each once, in the order in which it was made."""
    kinds = [
        (path.encode() for path in [*GUARDED, *OPEN, *PLAINEST]), delimiters(), dot_segments(), parameters(), cases(), encodings(),
        ends(), neighbours(), mixtures(4000),
    ]
    # An end of a line would be another line of HTTP/1.1.
    fits = (path for kind in kinds for path in kind if path and not {10, 13} & set(path))
    return list(dict.fromkeys(fits))


def sample(count):
    """So many of them, the plain ones first."""
    paths = everything()
    plain = len(GUARDED) + len(OPEN) + len(PLAINEST)
    return paths[:plain] + random.Random(count).sample(paths[plain:], count - plain)


if __name__ == "__main__":
    print(len(everything()))
