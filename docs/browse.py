"""Opens the book in Chromium, as a file and without a server.

    browse.py BOOK            types a word into the search, and follows what it finds
    browse.py BOOK PICTURES   takes pictures of pages, light, dark and as a phone shows them
"""

import base64
import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BOOK = Path(sys.argv[1]).resolve()
PAGES = {
    "start": "index.html",
    "tutorial": "start/tutorial.html",
    "sign-in": "how-to/sign-people-in.html",
    "configuration": "reference/configuration.html",
}
SIZES = {"light": (1280, 900), "dark": (1280, 900), "phone": (390, 844)}


class Browser:
    """Chromium without a window, by its driver."""

    def __init__(self):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                break
        self.address = f"http://127.0.0.1:{found[1]}/session"
        self.session = ""
        arguments = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--allow-file-access-from-files"]
        options = {"goog:chromeOptions": {"args": arguments}}
        self.session = "/" + self.does("", {"capabilities": {"alwaysMatch": options}})["sessionId"]

    def does(self, what, body=None):
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(self.address + self.session + what, data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def devtools(self, command, **parameters):
        return self.does("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def runs(self, script):
        return self.does("/execute/sync", {"script": script, "args": []})

    def opens(self, page):
        self.does("/url", {"url": (BOOK / page).as_uri()})

    def waits(self, script):
        """Until the script says something."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if found := self.runs(script):
                return found
            time.sleep(0.05)
        sys.exit(f"waited in vain for {script}")

    def ends(self):
        request = urllib.request.Request(self.address + self.session, method="DELETE")
        urllib.request.urlopen(request, timeout=60).read()
        self.driver.terminate()
        self.driver.wait()


def search(browser):
    browser.opens("index.html")
    browser.waits("return document.readyState === 'complete' && !!document.getElementById('mdbook-search-toggle')")
    browser.runs("document.getElementById('mdbook-search-toggle').click()")
    browser.waits(
        "const bar = document.getElementById('mdbook-searchbar'); if (!bar) return false;"
        "bar.value = 'revocation'; bar.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));"
        "bar.dispatchEvent(new Event('input', {bubbles: true}));"
        "return document.querySelectorAll('#mdbook-searchresults li a').length > 0"
    )
    found = browser.runs("return [...document.querySelectorAll('#mdbook-searchresults li a')].map(a => a.href)")
    assert any("explained/revocation.html" in link for link in found), found
    browser.does("/url", {"url": next(link for link in found if "explained/revocation.html" in link)})
    title = browser.runs("return document.querySelector('main h1').textContent")
    assert "revocation" in title.lower(), title
    print(f"the search finds {len(found)} places for a word, without a server")


def shoot(browser, pictures):
    for name, (width, height) in SIZES.items():
        media = [{"name": "prefers-color-scheme", "value": "dark" if name == "dark" else "light"}]
        browser.devtools("Emulation.setEmulatedMedia", features=media)
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=name == "phone",
        )
        for page, path in PAGES.items():
            browser.opens(path)
            browser.waits("return document.readyState === 'complete'")
            wide = browser.runs("return document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} wide on a screen of {width}"
            picture = browser.devtools("Page.captureScreenshot", format="png")["data"]
            (pictures / f"book-{page}-{name}.png").write_bytes(base64.b64decode(picture))


def main():
    browser = Browser()
    try:
        if len(sys.argv) > 2:
            shoot(browser, Path(sys.argv[2]))
        else:
            search(browser)
    finally:
        browser.ends()


main()
