"""What a filter takes of Envoy's memory: by the process, by each worker more, and by
each listener more."""

import envoy_config as config
from processes import Process, free_port

WORKERS, LISTENERS = 4, 100
# Requests that each worker and each listener have had before they are measured.
ROUNDS = 4


def measure(everyone, clusters, room, key, token, start):
    """MiB beside an Envoy without a filter: (the process, a worker, a listener), by name."""
    rows = {}
    for each in everyone:
        one = resident(each, clusters, room, key, token, start, 1, 1)
        worker = (resident(each, clusters, room, key, token, start, 1 + WORKERS, 1) - one) / WORKERS
        listener = (resident(each, clusters, room, key, token, start, 1, 1 + LISTENERS) - one) / LISTENERS
        rows[each.name] = (one, worker, listener)
    base = rows["none"]
    return {name: [mine - other for mine, other in zip(row, base)] for name, row in rows.items()}, base


def resident(each, clusters, room, key, token, start, workers, listeners):
    ports = [free_port() for _ in range(listeners)]
    all_of_them = [config.listener(port, each.filters) for port in ports]
    room = room / f"memory-{each.name}-{workers}-{listeners}"
    room.mkdir()
    envoy = start(room, key, clusters, all_of_them, lambda: each.status(ports[0], token), workers)
    # Each connection is given to some worker.
    for _ in range(ROUNDS * workers):
        for port in ports:
            if each.status(port, token) != 200:
                raise SystemExit(f"{each.name}: not every request was let in")
    memory = envoy.memory()
    envoy.process.terminate()
    envoy.process.wait(10)
    Process.started.remove(envoy)
    return memory


def show(rows, base):
    """Prints the table."""
    print(f"\n{'MiB of Envoy':12} {'process':>8} {'+ worker':>9} {'+ listener':>11}")
    print(f"{'none':12} {base[0]:8.1f} {base[1]:9.2f} {base[2]:11.3f}")
    for name, (one, worker, listener) in rows.items():
        if name != "none":
            print(f"{name:12} {one:+8.1f} {worker:+9.2f} {listener:+11.3f}")
