"""What Python reads in bodies: a line each, of hexadecimal, or a hyphen for none.

    read.py FILE

The file has a body behind each length of four bytes, the lowest first.
"""

import json
import struct
import sys


def text(of, name):
    value = of.get(name) if isinstance(of, dict) else None
    return value.encode("utf-8", "surrogatepass").hex() if isinstance(value, str) else "?"


def told(body):
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "-"
    params = value.get("params") if isinstance(value, dict) else None
    return ":".join([text(value, "method"), text(params, "name"), text(value, "model")])


with open(sys.argv[1], "rb") as file:
    while length := file.read(4):
        print(told(file.read(struct.unpack("<I", length)[0])))
