#!/usr/bin/env python3
"""Says one thing to an agent, and shows what comes until the answer is whole.

    AGENTS_TOKEN=… target/litellm/bin/python tests/litellm/talk.py WEBSOCKET TEXT

The Python of tests/litellm/install has the library for it.
"""

import json
import os
import sys

from websockets.sync.client import connect


def main():
    address, text = sys.argv[1:]
    # A variable, not an argument: everybody on a machine sees those.
    with connect(f"{address}?access-token={os.environ['AGENTS_TOKEN']}", open_timeout=10) as socket:
        socket.send(json.dumps({"type": "message", "content": text}))
        for message in socket:
            print(message, flush=True)
            if json.loads(message)["type"] in ("complete", "error"):
                return


if __name__ == "__main__":
    main()
