"""Stands in for an upstream: answers with the number of the request and the target of
its first line, in hexadecimal, as it came.

    echo.py PORT
"""

import asyncio
import re
import sys

NUMBER = re.compile(rb"\r\nx-n: *(\d+)", re.I)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.bytes = transport, b""

    def data_received(self, data):
        self.bytes += data
        while (end := self.bytes.find(b"\r\n\r\n")) >= 0:
            head, self.bytes = self.bytes[:end], self.bytes[end + 4:]
            line = head.split(b"\r\n", 1)[0]
            # A target may hold a blank; a method and a version hold none.
            target = line.split(b" ", 1)[1].rsplit(b" ", 1)[0]
            number = NUMBER.search(head)
            body = (number[1] if number else b"-") + b" " + target.hex().encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
