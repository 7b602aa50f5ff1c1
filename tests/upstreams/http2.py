"""Sends targets over HTTP/2 as they are: a library would refuse most of them. Only as
much of RFC 9113 as that takes; what comes back is decoded by the package hpack."""

import socket
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
WINDOW = 0x7FFFFFFF
MOST = 32


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number_of(value, bits, first=0):
    """RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def text(value):
    return number_of(len(value), 7) + value


def block(number, target, host, headers):
    """Headers that are never put into a table: GET, http, then literals."""
    out = b"\x82\x86\x01" + text(host) + b"\x04" + text(target) + b"\x00" + text(b"x-n") + text(b"%d" % number)
    return out + b"".join(b"\x00" + text(name) + text(value) for name, value in headers)


class Gone(Exception):
    """The connection ended."""


class Connection:
    """A connection; `open` has what is asked on it and not answered, by its stream."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = hpack.Decoder()
        self.bytes, self.block = b"", b""
        self.stream, self.open, self.answers, self.last = 1, {}, {}, None
        # No push, a frame as large as it likes to be, and room for all of them.
        settings = struct.pack(">HIHI", 2, 0, 4, WINDOW)
        room = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - 65535))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + room)

    def ask(self, batch, host, headers):
        out = []
        for number, target in batch:
            out.append(frame(HEADERS, END_STREAM | END_HEADERS, self.stream, block(number, target, host, headers)))
            self.open[self.stream] = [number, target, 0, b""]
            self.stream += 2
        self.socket.sendall(b"".join(out))

    def read(self):
        """One frame."""
        while len(self.bytes) < 9 or len(self.bytes) < 9 + int.from_bytes(self.bytes[:3], "big"):
            try:
                came = self.socket.recv(65536)
            except OSError as error:
                raise Gone from error
            if not came:
                raise Gone
            self.bytes += came
        length = int.from_bytes(self.bytes[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.bytes[3:9])
        payload, self.bytes = self.bytes[9:9 + length], self.bytes[9 + length:]
        self.take(kind, flags, stream & WINDOW, payload)

    def take(self, kind, flags, stream, payload):
        if kind in (HEADERS, CONTINUATION):
            if flags & PADDED and kind == HEADERS:
                payload = payload[1:len(payload) - payload[0]]
            if flags & PRIORITY and kind == HEADERS:
                payload = payload[5:]
            self.block += payload
            self.ends = flags & END_STREAM if kind == HEADERS else self.ends
            if not flags & END_HEADERS:
                return
            headers, self.block = self.decoder.decode(self.block, raw=True), b""
            status = next((int(value) for name, value in headers if name == b":status"), 0)
            if stream in self.open and status >= 200:
                self.open[stream][2] = status
            self.finish(stream, self.ends)
        elif kind == DATA:
            if flags & PADDED:
                payload = payload[1:len(payload) - payload[0]]
            if stream in self.open:
                self.open[stream][3] += payload
            self.finish(stream, flags & END_STREAM)
        elif kind == RST_STREAM:
            # After a whole answer it says only that no more is read.
            self.finish(stream, True)
        elif kind == SETTINGS and not flags & ACK:
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.last = int.from_bytes(payload[:4], "big") & WINDOW

    def finish(self, stream, ends):
        if ends and stream in self.open:
            number, _, status, body = self.open.pop(stream)
            self.answers[number] = (status, body)

    def close(self):
        self.socket.close()


def is_harmless(target):
    """Whether no server ends a connection, with all that is asked on it, for such a path."""
    return target[:1] == b"/" and all(0x21 <= byte <= 0x7E for byte in target)


def send(port, targets, host=b"app.example.com", headers=(), depth=MOST):
    """The same as over HTTP/1.1. What may end a connection is sent last."""
    harmless = [one for one in targets if is_harmless(one[1])]
    others = [one for one in targets if not is_harmless(one[1])]
    answers, left, wide = {}, [*reversed(others), *reversed(harmless)], depth
    connection = None
    while left:
        batch = [left.pop() for _ in range(min(len(left), wide))]
        unanswered, fresh = batch, connection is None
        try:
            connection = connection or Connection(port)
            # Of several, the one that is never answered is found by asking each alone.
            connection.socket.settimeout(20 if len(batch) == 1 else 4)
            connection.ask(batch, host, headers)
            while connection.open and connection.last is None:
                connection.read()
            # What it will still answer before it leaves.
            while connection.last is not None and any(stream <= connection.last for stream in connection.open):
                connection.read()
        except (Gone, OSError, hpack.HPACKError):
            pass
        if connection:
            answers.update(connection.answers)
            unanswered = [(number, target) for number, target, _, _ in connection.open.values()]
            connection.answers = {}
            if unanswered or connection.last is not None:
                connection.close()
                connection = None
        # Whoever ended it is known only once it is asked alone, on a connection of its own.
        if len(unanswered) == 1 == len(batch) and fresh:
            answers[unanswered[0][0]] = (0, b"")
            unanswered = []
        wide = max(1, wide // 4) if unanswered else min(depth, wide * 2)
        left.extend(reversed(unanswered))
    if connection:
        connection.close()
    return answers
