"""Load of every kind, which knows what each answer has to be."""

import base64
import concurrent.futures
import json
import random
import threading
import time

from client import Browser, Site, ask
from parts import REPLICAS
from settings import CUT_OFF, PASSWORD, PEOPLE

# Of a replica or a gateway that cannot answer.
UNAVAILABLE = (None, 502, 503, 504)
# A list that is whole since that long after a revocation knows of it: longer than a
# question to the store may take.
KNOWN_WITHIN = 1.0
# How long a change of a file may take to be felt.
SETTLED = 15.0
MOST_GOOD, MOST_REVOKED, MOST_CODES = 150, 400, 100


class Revoked:
    """A token that was said to be void, and where it was seen to be."""

    def __init__(self, token):
        self.token = token
        self.done = time.monotonic()
        self.enforced = set()


def is_ahead(token):
    """Whether it was issued by a clock that is ahead: then it is not good yet."""
    claims = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return claims["iat"] > time.time() + 20


class Load:
    """The threads, and what they know together."""

    def __init__(self, stack, ledger, seed):
        self.stack, self.ledger = stack, ledger
        self.sites = {name: Site(stack.ports[name]) for name in REPLICAS}
        self.good, self.revoked, self.codes, self.held = [], [], [], {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.flipped = time.monotonic()
        self.pool = concurrent.futures.ThreadPoolExecutor(8)
        loops = [self.check, self.check, self.sign_in, self.recheck, self.cut_off, self.single_sign_on]
        paces = [0.03, 0.03, 0.25, 0.05, 2.0, 2.5]
        self.threads = [
            threading.Thread(target=self._loop, args=(one, pace, random.Random(f"{seed}-{number}")), daemon=True)
            for number, (one, pace) in enumerate(zip(loops, paces))
        ]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def _loop(self, one, pace, chance):
        while not self.stopping.wait(pace * chance.uniform(0.5, 1.5)):
            try:
                one(chance)
            except Exception as error:  # noqa: BLE001
                # Of the driver itself: a load that has ended would find nothing.
                self.ledger.wrong("not recovered", f"{one.__name__}: {error!r}")

    def _some(self, chance, of):
        with self.lock:
            return chance.choice(of) if of else None

    def _keep(self, of, what, most):
        with self.lock:
            of.append(what)
            del of[:-most]

    # Checks, through the gateway.

    def check(self, chance):
        kind = chance.choice(("good", "good", "expired", "revoked", "role", "none", "forged", "flip"))
        settings = self.stack.settings
        expected, token, user, path = 401, None, None, "/api/agents/1"
        if kind in ("good", "flip"):
            found = self._some(chance, self.good)
            if not found:
                return
            (token, user), expected = found, 200
            path = "/api/flip" if kind == "flip" else path
        elif kind == "expired":
            token = settings.token(age=7200)
        elif kind == "revoked":
            found = self._some(chance, self.revoked)
            if found:
                self._check_revoked(found)
            return
        elif kind == "role":
            token, expected = settings.token(role="RESTRICTED"), 403
        elif kind == "forged":
            token = settings.token(role="ADMIN", secret="another secret, of 32 bytes or more")
        self._judge(kind, token, user, path, expected)

    def _through_gateway(self, token, path="/api/agents/1"):
        headers = {"x-user-id": "forged", "x-user-role": "ADMIN"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        return ask(self.stack.gateway_port, "GET", path, headers=headers)[:2]

    def _judge(self, kind, token, user, path, expected):
        since = time.monotonic()
        was_open, flipped = self.stack.settings.is_open, self.flipped
        status, body = self._through_gateway(token, path)
        self.ledger.count(f"checks: {kind}")
        if not self.ledger.is_disturbed(since):
            self.ledger.count("checks with nothing hurt")
        if status in UNAVAILABLE:
            self.ledger.unanswered(f"checks: {kind}", since, status)
        elif kind == "flip":
            is_settled = since - flipped > SETTLED and not self.ledger.is_disturbed(since)
            if is_settled and (status == 200) != was_open and flipped == self.flipped:
                what = "wrong allow" if status == 200 else "wrong refusal"
                self.ledger.wrong(what, f"the rule of /api/flip: {status}")
        elif expected == 200:
            if status != 200:
                self.ledger.wrong("wrong refusal", f"{status} for a good token of {user}: {body[:200]}")
            elif json.loads(body) != {"id": user, "role": "REGULAR"}:
                self.ledger.wrong("identity of somebody else", f"{body} for {user}")
        elif status == 200:
            self.ledger.wrong("wrong allow", f"a check of kind {kind}")
        elif status != expected:
            self.ledger.wrong("wrong refusal", f"{status} in the place of {expected} for {kind}")

    def _check_revoked(self, one):
        since, pids = time.monotonic(), self._pids()
        status, _ = self._through_gateway(one.token)
        self.ledger.count("checks: revoked")
        if status in UNAVAILABLE:
            self.ledger.unanswered("checks: revoked", since, status)
        elif status == 200:
            if all(place in one.enforced for place in pids) and pids == self._pids():
                self.ledger.wrong("revocation that came back", "through the gateway")
            elif since > one.done + KNOWN_WITHIN and not self.ledger.is_disturbed(one.done):
                self.ledger.wrong("wrong allow", "a revoked token, through the gateway")
            else:
                self.ledger.count("revocations that were not known yet")

    def _pids(self):
        return [(name, self.stack.replicas[name].pid) for name in REPLICAS]

    # Revocations, at each replica.

    def recheck(self, chance):
        found = self._some(chance, self.revoked)
        if found:
            self._check_at(found, chance.choice(REPLICAS))

    def _check_at(self, one, name):
        """Whether a revoked token is refused there."""
        place = (name, self.stack.replicas[name].pid)
        before, site = time.monotonic(), self.sites[name]
        age = site.age_of_list()
        was_enforced = place in one.enforced
        status = site.session(one.token)
        if place[1] != self.stack.replicas[name].pid:
            return None
        self.ledger.count("revocations looked at")
        if status == 401:
            with self.lock:
                one.enforced.add(place)
            return True
        if status != 200:
            self.ledger.unanswered("revocations looked at", before, status)
        elif was_enforced:
            self.ledger.wrong("revocation that came back", f"at {name}")
        elif age is not None and before - age > one.done + KNOWN_WITHIN:
            self.ledger.wrong("revocation that a whole list does not know", f"at {name}, {before - one.done:.1f} s after")
        elif before > one.done + KNOWN_WITHIN and not self.ledger.is_disturbed(one.done):
            self.ledger.wrong("wrong allow", f"a revoked token at {name}, {before - one.done:.1f} s after")
        else:
            self.ledger.count("revocations that were not known yet")
        return False

    def note_revoked(self, token):
        one = Revoked(token)
        self._keep(self.revoked, one, MOST_REVOKED)
        return one

    def revoke(self, token, chance):
        is_uncertain = False
        for _ in range(5):
            since = time.monotonic()
            status, _ = self.sites[chance.choice(REPLICAS)].post("/session/logout", {}, token)
            if status == 200 or (status == 401 and is_uncertain):
                break
            if status not in UNAVAILABLE:
                self.ledger.wrong("wrong refusal", f"{status} for a sign-out")
                return
            is_uncertain = True
            self.ledger.unanswered("sign-outs", since, status)
            if self.stopping.wait(1):
                return
        else:
            return
        self.ledger.count("sign-outs")
        one = self.note_revoked(token)
        while time.monotonic() < one.done + 2 * KNOWN_WITHIN:
            if all([self._check_at(one, name) for name in REPLICAS]):
                if not self.ledger.is_disturbed(one.done):
                    self.ledger.measure("a revocation is known everywhere", time.monotonic() - one.done)
                return
            time.sleep(0.02)

    # Sign-ins.

    def log_in(self, name, site):
        """A code, or nothing."""
        since = time.monotonic()
        status, body = site.post("/v3/login", {"username": name, "password": PASSWORD})
        if status == 200:
            self.ledger.count("sign-ins")
            return body["code"]
        if status in UNAVAILABLE:
            self.ledger.unanswered("sign-ins", since, status)
        else:
            self.ledger.wrong("wrong refusal", f"{status} for a sign-in: {body}")
        return None

    def exchange(self, code):
        """The tokens of a code that is shown to both replicas at once, and again."""
        since, tokens, statuses = time.monotonic(), [], []
        for _ in range(3):
            asked = [self.pool.submit(site.post, "/v3/login/exchange", {"code": code}) for site in self.sites.values()]
            answers = [one.result() for one in asked]
            statuses += [status for status, _ in answers]
            tokens += [body["token"] for status, body in answers if status == 200]
            if not any(status in UNAVAILABLE for status, _ in answers):
                break
            time.sleep(0.5)
        self.ledger.count("exchanges", len(statuses))
        if len(tokens) > 1:
            self.ledger.wrong("code used twice", f"{statuses}")
        if not tokens:
            # A try that was interrupted may have used it up.
            self.ledger.unanswered("exchanges", since, statuses)
        elif any(status not in (200, 401, *UNAVAILABLE) for status in statuses):
            self.ledger.wrong("wrong refusal", f"{statuses} for a code")
        else:
            self._keep(self.codes, (code, time.monotonic()), MOST_CODES)
        return tokens

    def try_again(self, chance):
        """A code that was used, once more."""
        found = self._some(chance, self.codes)
        if not found:
            return
        status, _ = self.sites[chance.choice(REPLICAS)].post("/v3/login/exchange", {"code": found[0]})
        self.ledger.count("codes tried again")
        if status == 200:
            self.ledger.wrong("code used twice", f"{time.monotonic() - found[1]:.1f} s after")

    def sign_in(self, chance):
        self.try_again(chance)
        name = chance.choice(PEOPLE)
        code = self.log_in(name, self.sites[chance.choice(REPLICAS)])
        tokens = self.exchange(code) if code else []
        if not tokens:
            return
        if is_ahead(tokens[0]):
            self.ledger.count("tokens of a clock that is ahead")
        elif chance.random() < 0.5:
            self._keep(self.good, (tokens[0], name), MOST_GOOD)
        else:
            self.revoke(tokens[0], chance)

    def cut_off(self, chance):
        """Whoever is cut off is out with all that was issued before, and can come back."""
        name = chance.choice(CUT_OFF)
        before = self.held.setdefault(name, [])
        code = self.log_in(name, self.sites[chance.choice(REPLICAS)])
        before += (self.exchange(code) if code else [])[:1]
        if chance.random() < 0.5:
            # Later: much may have happened to the store by then.
            return
        since = time.monotonic()
        status = self.stack.settings.command("token", "revoke", "--user-id", name)
        if status != 0:
            self.ledger.unanswered("cut-offs", since, status)
            return
        self.ledger.count("cut-offs")
        for token in self.held.pop(name):
            self.note_revoked(token)
        code = self.log_in(name, self.sites[chance.choice(REPLICAS)])
        for token in (self.exchange(code) if code else [])[:1]:
            if is_ahead(token):
                self.ledger.count("tokens of a clock that is ahead")
                continue
            for site in self.sites.values():
                if site.session(token) == 401:
                    self.ledger.wrong("wrong refusal", f"{name} right after a cut-off")

    def single_sign_on(self, chance):
        """Begun at one replica, ended at both at once."""
        since = time.monotonic()
        begin = self.sites[chance.choice(REPLICAS)]
        browser = Browser()
        callback = browser.sign_in(begin, f"eve{chance.randrange(100)}")
        if callback is None or "/sso/callback" not in callback:
            self.ledger.unanswered("single sign-ons", since, callback)
            return
        asked = [self.pool.submit(browser.copy().call_back, site, callback) for site in self.sites.values()]
        answers = [one.result() for one in asked]
        tokens = [token for _, token in answers if token]
        self.ledger.count("single sign-ons")
        if len(tokens) > 1:
            self.ledger.wrong("sign-in used twice", f"{answers}")
        if not tokens:
            self.ledger.unanswered("single sign-ons", since, [status for status, _ in answers])

    # At the end.

    def recovers(self, within=60):
        """Whether all is as it was before the first fault."""
        print("are all things as they were?", flush=True)
        deadline = time.monotonic() + within
        missing = "nothing was tried"
        while time.monotonic() < deadline:
            try:
                missing = self._missing()
            except OSError as error:
                missing = repr(error)
            if not missing:
                return
            time.sleep(0.5)
        self.ledger.wrong("not recovered", missing)

    def _missing(self):
        for name, site in self.sites.items():
            if self.stack.readiness(name) != "ok":
                return f"{name} is not ready"
            status, body = site.post("/v3/login", {"username": PEOPLE[0], "password": PASSWORD})
            if status != 200:
                return f"a sign-in at {name}: {status}"
            status, body = site.post("/v3/login/exchange", {"code": body["code"]})
            if status != 200:
                return f"an exchange at {name}: {status}"
        for token, user in self.good[-20:]:
            if self._through_gateway(token)[0] != 200:
                return f"a good token of {user}"
        for one in list(self.revoked):
            for name, site in self.sites.items():
                if site.session(one.token) != 401:
                    return f"a revoked token at {name}"
        return None
