"""Sends targets over HTTP/1.1 as they are, byte by byte, many on one connection."""

import re
import socket

LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.I | re.M)
CHUNKED = re.compile(rb"^transfer-encoding:\s*chunked", re.I | re.M)
CLOSES = re.compile(rb"^connection:\s*close", re.I | re.M)
LIMIT = 1 << 20


class Gone(Exception):
    """The connection ended before an answer was whole."""


class Connection:
    """A connection, and what of its answers has come."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes = b""
        self.closes = False

    def close(self):
        self.socket.close()

    def more(self):
        try:
            came = self.socket.recv(65536)
        except OSError as error:
            raise Gone from error
        if not came:
            raise Gone
        self.bytes += came

    def until(self, end):
        while (at := self.bytes.find(end)) < 0:
            if len(self.bytes) > LIMIT:
                raise Gone
            self.more()
        text, self.bytes = self.bytes[:at], self.bytes[at + len(end):]
        return text

    def exactly(self, count):
        while len(self.bytes) < count:
            self.more()
        text, self.bytes = self.bytes[:count], self.bytes[count:]
        return text

    def answer(self):
        """The status and the body of the next answer."""
        while True:
            head = self.until(b"\r\n\r\n")
            if not head.startswith(b"HTTP/"):
                raise Gone
            status = int(head[9:12])
            if status >= 200:
                break
        self.closes = bool(CLOSES.search(head)) or head.startswith(b"HTTP/1.0")
        if status in (204, 304):
            return status, b""
        if CHUNKED.search(head):
            body = b""
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                body += self.exactly(size)
                self.exactly(2)
            while self.until(b"\r\n"):
                pass
            return status, body
        if length := LENGTH.search(head):
            return status, self.exactly(int(length[1]))
        # Up to the end.
        self.closes = True
        try:
            while len(self.bytes) < LIMIT:
                self.more()
        except Gone:
            pass
        return status, self.bytes


def request(number, target, host, headers):
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"GET %s HTTP/1.1\r\nhost: %s\r\nx-n: %d\r\n%s\r\n" % (target, host, number, lines)


def send(port, targets, host=b"app.example.com", headers=(), depth=1):
    """The status and the body for each of these (number, target), by its number; where a
    connection ends in the place of an answer, 0 and nothing."""
    answers, left, alone = {}, list(reversed(targets)), False
    connection = None
    while left:
        batch = [left.pop() for _ in range(min(len(left), 1 if alone else depth))]
        fresh = connection is None
        try:
            connection = connection or Connection(port)
            connection.socket.sendall(b"".join(request(number, target, host, headers) for number, target in batch))
        except OSError:
            # What was answered before it ended is still there to be read.
            pass
        done = 0
        try:
            if connection is None:
                raise Gone
            for number, _ in batch:
                answers[number] = connection.answer()
                done += 1
                if connection.closes:
                    raise Gone
            alone = False
        except (Gone, ValueError):
            if connection:
                connection.close()
            connection = None
            # Whoever ended it is known only once it is asked alone, on a connection of its own.
            if not done and alone and fresh:
                answers[batch[0][0]] = (0, b"")
                done = 1
            alone = done == 0
            left.extend(reversed(batch[done:]))
    if connection:
        connection.close()
    return answers
