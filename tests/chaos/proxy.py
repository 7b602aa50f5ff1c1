"""A relay before a port, by which the network between two parts is hurt.

Who connects is told by the process that holds the other end, so that one port can be
cut from one part and stay as it is for the others.
"""

import asyncio
import os
import random
import threading


class Weather:
    """What becomes of what is sent from one part to another."""

    def __init__(self, cut=False, delay=0.0, loss=0.0):
        self.cut = cut
        self.delay = delay
        # Of a thousand pieces, so many end their connection: what TCP makes of losses
        # that go on.
        self.loss = loss


FAIR = Weather()


class Relays:
    """All relays, on one thread."""

    def __init__(self, seed):
        self.rules = {}
        self.sources = {}
        self.random = random.Random(seed)
        self.loop = asyncio.new_event_loop()
        self.tasks = set()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def add(self, name, target):
        """A relay of this name before the port `target`; gives back its own port."""
        serving = asyncio.run_coroutine_threadsafe(self._serve(name, target), self.loop)
        return serving.result(10)

    def set(self, source, name, weather):
        self.rules[(source, name)] = weather

    def clear(self):
        self.rules = {}

    def name_source(self, name, pid):
        """From now on, connections of this process are of the part of this name."""
        self.sources[name] = pid

    def weather(self, source, name):
        for (cause, place), weather in list(self.rules.items()):
            # To look for the process takes a while: only where it matters.
            if place == name and source.name() == cause:
                return weather
        return FAIR

    async def _serve(self, name, target):
        async def accept(reader, writer):
            task = asyncio.current_task()
            self.tasks.add(task)
            try:
                await self._relay(name, target, reader, writer)
            finally:
                self.tasks.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.tasks.add(server)
        return server.sockets[0].getsockname()[1]

    async def _relay(self, name, target, reader, writer):
        source = Source(self, writer)
        try:
            while self.weather(source, name).cut:
                await asyncio.sleep(0.02)
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, other_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, other_writer, source, name)),
            asyncio.create_task(self._pump(other_reader, writer, source, name)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for one in both:
            one.close()

    async def _pump(self, reader, writer, source, name):
        try:
            while data := await reader.read(65536):
                while self.weather(source, name).cut:
                    await asyncio.sleep(0.02)
                weather = self.weather(source, name)
                if weather.delay:
                    await asyncio.sleep(weather.delay)
                if weather.loss and self.random.random() < weather.loss / 1000:
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass


class Source:
    """Who is at the other end of a connection."""

    def __init__(self, relays, writer):
        self.relays = relays
        self.port = writer.get_extra_info("peername")[1]
        self.to = writer.get_extra_info("sockname")[1]
        self.found = None

    def name(self):
        if self.found is None:
            self.found = self._look()
        return self.found

    def _look(self):
        inode = self._inode()
        for name, pid in list(self.relays.sources.items()):
            try:
                for held in os.scandir(f"/proc/{pid}/fd"):
                    if os.readlink(held.path) == f"socket:[{inode}]":
                        return name
            except OSError:
                continue
        return "others"

    def _inode(self):
        """Its socket."""
        with open("/proc/net/tcp", encoding="ascii") as table:
            for line in table:
                fields = line.split()
                if fields[1].endswith(f":{self.port:04X}") and fields[2].endswith(f":{self.to:04X}"):
                    return fields[9]
        return None
