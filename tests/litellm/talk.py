#!/usr/bin/env python3
"""Makes an agent of a model, says one thing to it, and shows what comes until the
answer is whole; whether it is, is the status.

    AGENTS_TOKEN=… target/litellm/bin/python tests/litellm/talk.py SITE MODEL TEXT

The Python of tests/litellm/install has the library for it.
"""

import json
import os
import sys
import urllib.request

from websockets.sync.client import connect


def main():
    site, model, text = sys.argv[1:]
    # A variable, not an argument: everybody on a machine sees those.
    token = os.environ["AGENTS_TOKEN"]
    wish = json.dumps({"modelType": model, "name": "Bob"})
    request = urllib.request.Request(f"{site}/api/agents", wish.encode(), {"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        agent = json.load(answer)
    del agent["received"]
    print(f"POST {site}/api/agents {wish}\n  HTTP {answer.status}\n  {json.dumps(agent)}\n")

    address = f"{site.replace('http', 'ws', 1)}/api/agents/{agent['id']}/react"
    lines = []
    with connect(f"{address}?access-token={token}", open_timeout=10) as socket:
        said = json.dumps({"type": "message", "content": text})
        socket.send(said)
        while not lines or json.loads(lines[-1])["type"] not in ("complete", "error"):
            lines.append(socket.recv(timeout=60))
    shown = [*lines[:4], f"… {len(lines) - 6} more …", *lines[-2:]] if len(lines) > 8 else lines
    print("\n".join([address, f"  > {said}", *(f"  < {line}" for line in shown)]))
    return 0 if '"complete"' in lines[-1] else 1


if __name__ == "__main__":
    sys.exit(main())
