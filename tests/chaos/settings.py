"""What the replicas are told, and the tokens that are not of a sign-in."""

import base64
import hashlib
import hmac
import json
import pathlib
import secrets
import subprocess
import time

PASSWORD = "correct horse battery staple"
# Who signs in; who is cut off; whose account is disabled now and then.
PEOPLE = [f"u{number}" for number in range(8)]
CUT_OFF = [f"c{number}" for number in range(4)]
DISABLED = "d0"

RULES = """
[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["REGULAR", "ADMIN"]

[[rules]]
name = "flip"
path_prefix = "/api/flip"
{flip}

[[rules]]
name = "health"
path = "/api/healthcheck"
access = "public"
"""


class Settings:
    """One directory of files, which both replicas read."""

    PUBLIC = "https://localhost"

    def __init__(self, binary):
        self.room = None
        self.binary = pathlib.Path(binary).resolve()
        self.keys = []
        self.is_open = True
        self.is_disabled = False
        self.hash = subprocess.run(
            [self.binary, "hash-password"], input=PASSWORD, capture_output=True, text=True, check=True
        ).stdout.strip()

    def write(self, room, redis, issuer, secret):
        self.room = room
        urls = ", ".join(f'"redis://127.0.0.1:{port}"' for port in redis)
        (room / "base.toml").write_text(
            f"""
[http]
public_url = "{self.PUBLIC}"
tls = {{ cert_file = "tls.crt", key_file = "tls.key" }}

[login]
users_file = "users.toml"
control_plane_url = "https://cp.example.com"
limits = {{ failures = 100000, failures_per_address = 1000000, failures_per_name = 1000000 }}

[sso]
issuer = "{issuer}"
client_id = "portcullis"
client_secret = "{secret}"
role_claim = "groups"
role_map = {{ staff = "REGULAR" }}

[store]
kind = "redis-cluster"
# More than by default: all parts and their clients are on one machine.
timeout = "500ms"
urls = [{urls}]

[lifecycle]
drain = "0s"
""",
            encoding="utf-8",
        )
        self.add_key()
        self.certify()
        self.write_users()
        self.write_rules()

    def put(self, name, text):
        """As an editor does: another file in its place."""
        new = self.room / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        new.rename(self.room / name)

    def add_key(self):
        """Another key verifies from now on."""
        kid = f"key-{len(self.keys)}"
        self.keys.append((kid, secrets.token_hex(32)))
        self.put(f"{kid}.key", self.keys[-1][1])
        self.write_rules()

    def sign_with_the_newest(self):
        self.keys = [self.keys[-1], *self.keys[:-1]]
        self.write_rules()

    def break_key(self, is_broken):
        kid, secret = self.keys[0]
        self.put(f"{kid}.key", "short" if is_broken else secret)

    def certify(self):
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        made += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        made += ["-addext", "basicConstraints=critical,CA:FALSE"]
        files = ["-keyout", self.room / "tls.key.new", "-out", self.room / "tls.crt.new"]
        subprocess.run([*made, *files], check=True, capture_output=True)
        for name in ("tls.key", "tls.crt"):
            (self.room / f"{name}.new").rename(self.room / name)

    def break_certificate(self):
        self.put("tls.crt", "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")

    def write_users(self, is_broken=False):
        def user(name):
            is_disabled = str(name == DISABLED and self.is_disabled).lower()
            return (
                f'[[users]]\nid = "{name}"\nname = "{name}"\nemail = "{name}@example.com"\nrole = "REGULAR"\n'
                f'password_hash = "{self.hash}"\ndisabled = {is_disabled}\n'
            )

        everybody = [*PEOPLE, *CUT_OFF, DISABLED]
        self.put("users.toml", "[[users]\n" if is_broken else "\n".join(map(user, everybody)))

    def write_rules(self, is_broken=False):
        flip = 'roles = ["REGULAR"]' if self.is_open else 'access = "deny"'
        keys = ", ".join(f'{{ kid = "{kid}", secret_file = "{kid}.key" }}' for kid, _ in self.keys)
        text = (self.room / "base.toml").read_text(encoding="utf-8") + f"\n[tokens]\nkeys = [{keys}]\n"
        text += RULES.format(flip="roles = 7" if is_broken else flip)
        self.put("portcullis.toml", text)

    def token(self, role="REGULAR", user="robot", age=0, life=3600, secret=None):
        """A token of the first key, or of another one."""
        kid, own = self.keys[0]
        now = int(time.time()) - age
        header = {"alg": "HS256", "typ": "JWT", "kid": kid}
        claims = {"sub": user, "userId": user, "role": role, "iat": now, "exp": now + life, "jti": secrets.token_hex(8)}
        encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
        signature = hmac.new((secret or own).encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{encode(signature)}"

    def command(self, *arguments, timeout=10):
        """A command of portcullis; gives back its status."""
        whole = [self.binary, *arguments, "--config", self.room / "portcullis.toml"]
        try:
            done = subprocess.run(whole, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return None
        return done.returncode


def room(under):
    """An empty directory."""
    import shutil

    place = pathlib.Path(under)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place
