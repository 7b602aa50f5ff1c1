"""Clients: of the gateway, of each replica, and a browser."""

import http.client
import json
import re
import socket
import ssl
import urllib.parse

# Certificates change under the load, on purpose: here they are not what is tried.
ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE
TIMEOUT = 5


def ask(port, method, path, body=None, headers=None, tls=False, timeout=TIMEOUT):
    """Status, body and headers of an answer; the status is `None` where none came."""
    make = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    more = {"context": ANY} if tls else {}
    connection = make("127.0.0.1", port, timeout=timeout, **more)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), answer
    except (OSError, http.client.HTTPException):
        return None, "", None
    finally:
        connection.close()


def certificate(port):
    """The certificate that a port shows now."""
    with socket.create_connection(("127.0.0.1", port), 2) as plain:
        with ANY.wrap_socket(plain) as secured:
            return secured.getpeercert(binary_form=True)


class Site:
    """The sign-in of one replica."""

    def __init__(self, ports):
        self.http, self.internal = ports["http"], ports["internal"]

    def post(self, path, body, token=None):
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        status, text, _ = ask(self.http, "POST", path, json.dumps(body), headers, tls=True)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, {}

    def session(self, token):
        return ask(self.http, "GET", "/session", headers={"authorization": f"Bearer {token}"}, tls=True)[0]

    def age_of_list(self):
        """How old the list of revocations is, in seconds; `None` where nobody says."""
        text = ask(self.internal, "GET", "/metrics", timeout=2)[1]
        found = re.search(r"^portcullis_revocations_age_seconds (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None


class Browser:
    """Keeps cookies by host, and follows nothing by itself."""

    def __init__(self):
        self.cookies = {}

    def open(self, url, method="GET", body=None, as_host=None):
        """Opens an address; the status, and where it leads."""
        parts = urllib.parse.urlsplit(url)
        host = as_host or parts.netloc
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        kept = self.cookies.setdefault(host, {})
        headers = {"sec-fetch-mode": "navigate"}
        if kept:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in kept.items())
        if body:
            headers["content-type"] = "application/x-www-form-urlencoded"
        status, _, answer = ask(parts.port, method, path, body, headers, tls=parts.scheme == "https")
        if status is None:
            return None, None
        for line in answer.headers.get_all("set-cookie") or []:
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            if not value or "Max-Age=0" in attributes:
                kept.pop(name, None)
            else:
                kept[name] = value
        to = answer.headers.get("location")
        return status, to and urllib.parse.urljoin(url, to)

    def copy(self):
        other = Browser()
        other.cookies = {host: dict(kept) for host, kept in self.cookies.items()}
        return other

    def sign_in(self, begin, name):
        """From a replica to the provider and back: the address of the callback, or none."""
        _, to = self.open(f"https://127.0.0.1:{begin.http}/sso/login?return_to=/x", as_host="service")
        if to is None or "/auth" not in to:
            return None
        _, to = self.open(to)
        if to and "/interaction/" in to:
            _, to = self.open(to, "POST", f"prompt=login&login={name}&password=x")
        for _ in range(5):
            if to is None or "/sso/callback" in to:
                break
            _, to = self.open(to)
        return to

    def call_back(self, site, callback):
        """The end of a sign-in at this replica: the status, and the token."""
        query = urllib.parse.urlsplit(callback).query
        status, _ = self.open(f"https://127.0.0.1:{site.http}/sso/callback?{query}", as_host="service")
        kept = self.cookies.get("service", {})
        tokens = [value for name, value in kept.items() if name.endswith("token")]
        return status, tokens[0] if tokens else None
