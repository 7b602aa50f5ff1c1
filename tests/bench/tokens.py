"""What a check costs by whose token it is and how that is signed."""

import json
import subprocess

import question
from processes import BUILT, MEASURED, machine, median, report

ALGORITHMS = ("rs256", "es256", "eddsa")
LABELS = {
    "hs256": "own token, HS256, remembered",
    "hs256-as-long": "the same, as long as one of RS256",
    "rs256": "RS256, remembered",
    "es256": "ES256, remembered",
    "eddsa": "EdDSA, remembered",
    "ten": "ES256, of the last of ten issuers",
    "minted": "HS256, a token minted for the upstream",
    "handed-on": "HS256, in the authorization header",
    **{f"{name}-{kind}": f"{name.upper()}, {label}" for name in ALGORITHMS for kind, label in {
        "alone": "aws-lc alone, parsed key",
        "fresh": "verified, never met before",
        "unknown": "denied: unknown kid",
        "forged": "denied: bad signature",
    }.items()},
}
# What of what, and the most that it may be: as a ratio.
RATIOS = {
    **{(name, "hs256"): 1.05 for name in ALGORITHMS},
    ("ten", "es256"): 1.05,
    ("minted", "hs256"): 1.10,
    **{(f"{name}-unknown", f"{name}-forged"): 1.00 for name in ALGORITHMS},
}
# Nanoseconds that a token which is not known takes beside its signature.
BESIDE = 3000


EXAMPLE = BUILT / "tokens"


def make(room):
    """Keys, tokens, configurations, and a question with each token."""
    subprocess.check_call([EXAMPLE, "make", room])
    for file in room.glob("*.tokens"):
        asked = (question.framed(question.question(token)) for token in file.read_text().split())
        file.with_suffix(".questions").write_bytes(b"".join(asked))


def run(room, pairs, seconds):
    make(room)
    turns = 20 * pairs * seconds
    command = ["taskset", "-c", MEASURED, EXAMPLE, "time", str(turns), room]
    took = json.loads(subprocess.check_output(command, text=True))
    print(f"\n{'':44} {'ns':>8} {'to HS256':>9}")
    for name, label in LABELS.items():
        print(f"{label:44} {median(took[name]):8.0f} {ratio(took, name, 'hs256'):9.2f}")
    bounds = []
    print()
    for (what, to), bound in RATIOS.items():
        bounds.append(hold(f"{what} to {to}", ratio(took, what, to), bound, ".3f"))
    for name in ALGORITHMS:
        beside = median(fresh - alone for fresh, alone in zip(took[f"{name}-fresh"], took[f"{name}-alone"]))
        bounds.append(hold(f"{name}: ns beside the signature", beside, BESIDE, ".0f"))
    table = {name: median(took[name]) for name in LABELS}
    # On all cores; its bounds are its own.
    flood = subprocess.run([EXAMPLE, "flood", str(seconds)], text=True, stdout=subprocess.PIPE)
    print(f"\na flood of unknown kids: {flood.stdout}", end="")
    told = json.loads(flood.stdout or "null")
    report("tokens", {"machine": machine(), "turns": turns, "nanoseconds": table, "bounds": bounds, "flood": told})
    return flood.returncode == 0 and all(bound["holds"] for bound in bounds)


def ratio(took, what, to):
    """The median of the ratios, turn by turn."""
    return median(x / y for x, y in zip(took[what], took[to]))


def hold(what, value, bound, form):
    holds = value <= bound
    print(f"{what:38} {value:8{form}}, at most {bound:{form}}: {'holds' if holds else 'DOES NOT HOLD'}")
    return {"what": what, "value": value, "at_most": bound, "holds": holds}
