"""What is done to the parts. Each fault begins, and gives back how it is fixed."""

import resource
import threading
import time

from client import certificate
from ledger import AFTERWARDS
from parts import REPLICAS, wait_for
from proxy import Weather
from settings import DISABLED

HOUR = 3600


class Faults:
    """All faults, each by its name."""

    def __init__(self, stack, load, ledger, chance):
        self.stack, self.load, self.ledger, self.chance = stack, load, ledger, chance
        self.redis, self.settings, self.relays = stack.redis, stack.settings, stack.relays
        self.all = {
            name.removeprefix("do_"): getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")
        }

    def sequence(self):
        """Every fault, in an order that hangs on the seed alone, and then again."""
        while True:
            names = list(self.all)
            self.chance.shuffle(names)
            for name in names:
                # What a fault chooses hangs on its place alone, and not on what was
                # there to choose from.
                yield name, self.chance.random()

    def _master(self, choice):
        """Half of the time the one that has the revocations."""
        masters = self.redis.masters()
        return masters[0] if choice < 0.5 else masters[int((choice - 0.5) * 2 * len(masters)) % len(masters)]

    def _replica(self, choice):
        return REPLICAS[int(choice * len(REPLICAS))]

    # Redis.

    def do_master_killed(self, choice):
        node = self.redis.nodes[self._master(choice)]
        node.kill()
        return node.start

    def do_master_frozen(self, choice):
        node = self.redis.nodes[self._master(choice)]
        node.freeze()
        return node.thaw

    def do_master_read_only(self, choice):
        number = self._master(choice)
        self.redis.ask(number, "CONFIG", "SET", "min-replicas-to-write", "5")
        return lambda: self.redis.ask(number, "CONFIG", "SET", "min-replicas-to-write", "1")

    def do_master_disk_full(self, choice):
        """Its snapshots fail, as on a disk that is full, and so it takes no writes."""
        number = self._master(choice)
        ask = self.redis.ask
        where = self.redis.clocks[number].parent / "dump.rdb"
        where.unlink(missing_ok=True)
        (where / "in-the-way").mkdir(parents=True)
        ask(number, "CONFIG", "SET", "save", "3600 1000000")
        ask(number, "BGSAVE")

        def fix():
            (where / "in-the-way").rmdir()
            where.rmdir()
            ask(number, "CONFIG", "SET", "save", "")
            ask(number, "BGSAVE")

        return fix

    def _clock(self, choice, by):
        number = self._master(choice)
        self.redis.move_clock(number, by)
        return lambda: self.redis.move_clock(number, 0)

    def do_master_clock_ahead(self, choice):
        return self._clock(choice, HOUR)

    def do_master_clock_behind(self, choice):
        return self._clock(choice, -HOUR)

    def do_failover_by_hand(self, choice):
        """Without asking the master, as after the loss of a site; nobody sees an error."""
        master = self._master(choice)
        name = self.redis.ask(master, "CLUSTER", "MYID")
        for number in range(6):
            if name in self.redis.ask(number, "CLUSTER", "NODES").split("myself")[-1].splitlines()[0]:
                self.redis.ask(number, "CLUSTER", "FAILOVER", "TAKEOVER")
        return lambda: None

    # The replicas.

    def do_replica_killed(self, choice):
        name = self._replica(choice)
        self.stack.replicas[name].kill()
        return lambda: self.stack.start_replica(name)

    def do_replica_frozen(self, choice):
        part = self.stack.replicas[self._replica(choice)]
        part.freeze()
        return part.thaw

    def do_replica_without_memory(self, choice):
        name = self._replica(choice)
        part = self.stack.replicas[name]
        part.limit(resource.RLIMIT_AS, part.address_space() + (1 << 20))

        def fix():
            if part.lives():
                part.limit(resource.RLIMIT_AS, resource.prlimit(part.pid, resource.RLIMIT_AS)[1])
            else:
                self.stack.start_replica(name)

        return fix

    def do_replica_without_descriptors(self, choice):
        part = self.stack.replicas[self._replica(choice)]
        before = part.limit(resource.RLIMIT_NOFILE, part.descriptors())
        return lambda: part.limit(resource.RLIMIT_NOFILE, before)

    # The provider.

    def do_provider_down(self, _):
        self.stack.provider.kill()
        return self.stack.provider.start

    def do_provider_slow(self, _):
        """It works for a fiftieth of a second, and rests for a fifth."""
        done = threading.Event()

        def rest():
            while not done.wait(0.02):
                self.stack.provider.freeze()
                time.sleep(0.2)
                self.stack.provider.thaw()

        thread = threading.Thread(target=rest, daemon=True)
        thread.start()

        def fix():
            done.set()
            thread.join()

        return fix

    def do_provider_another_key(self, _):
        from parts import fetch

        fetch(f"{self.stack.issuer}/rotate")
        return lambda: fetch(f"{self.stack.issuer}/retire")

    # The files.

    def do_another_certificate(self, _):
        before = {name: certificate(self.stack.ports[name]["http"]) for name in REPLICAS}
        self.settings.certify()

        def fix():
            for name in REPLICAS:
                if certificate(self.stack.ports[name]["http"]) == before[name]:
                    self.ledger.wrong("not recovered", f"{name} shows the former certificate")

        return fix

    def do_bad_certificate(self, _):
        self.settings.break_certificate()
        return self.settings.certify

    def do_another_key(self, _):
        """Behind the first one, until everybody knows it; then it signs."""
        self.settings.add_key()
        return self.settings.sign_with_the_newest

    def do_bad_key(self, _):
        self.settings.break_key(True)
        return lambda: self.settings.break_key(False)

    def do_account_disabled(self, _):
        tokens = []
        for site in self.load.sites.values():
            code = self.load.log_in(DISABLED, site)
            tokens += (self.load.exchange(code) if code else [])[:1]
        self.settings.is_disabled = True
        self.settings.write_users()

        def is_out():
            sites = self.load.sites.values()
            return all(site.session(token) == 401 for site in sites for token in tokens)

        def fix():
            try:
                wait_for("the cut-off", is_out, AFTERWARDS)
            except TimeoutError:
                self.ledger.wrong("wrong allow", "a token of an account that is disabled")
            for token in tokens:
                self.load.note_revoked(token)
            self.settings.is_disabled = False
            self.settings.write_users()

        return fix

    def do_bad_users(self, _):
        self.settings.write_users(is_broken=True)
        return self.settings.write_users

    def do_other_rules(self, _):
        self.load.flipped = time.monotonic()
        self.settings.is_open = not self.settings.is_open
        self.settings.write_rules()
        return lambda: None

    def do_bad_rules(self, _):
        self.settings.write_rules(is_broken=True)
        return self.settings.write_rules

    # The network.

    def _weather(self, source, name, weather):
        self.relays.set(source, name, weather)
        return self.relays.clear

    def _to_store(self, choice, weather):
        node = f"redis{self._master(choice)}"
        return self._weather(self._replica(choice * 7 % 1), node, weather)

    def do_store_cut_from_a_replica(self, choice):
        return self._to_store(choice, Weather(cut=True))

    def do_store_slow_for_a_replica(self, choice):
        return self._to_store(choice, Weather(delay=0.2))

    def do_store_lossy_for_a_replica(self, choice):
        return self._to_store(choice, Weather(loss=50))

    def do_replication_cut(self, choice):
        return self._weather("others", f"redis{self._master(choice)}", Weather(cut=True))

    def do_gateway_cut_from_a_replica(self, choice):
        return self._weather("envoy", f"check-{self._replica(choice)}", Weather(cut=True))

    def do_gateway_slow_to_a_replica(self, choice):
        return self._weather("envoy", f"check-{self._replica(choice)}", Weather(delay=0.2))

    def do_gateway_lossy_to_a_replica(self, choice):
        return self._weather("envoy", f"check-{self._replica(choice)}", Weather(loss=20))
