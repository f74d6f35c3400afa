"""Rounds: the same load on each peer in turn, and what it cost."""

import json
import os
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass, field

from peers import ACCESS_KEY, SECRET_KEY, metrics

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# How long the clients of the round before may take to leave.
PATIENCE = 30.0


@dataclass
class Case:
    """One kind of load. `keys` are the objects it goes through in turn."""

    name: str
    operation: str
    size: int
    connections: int
    keys: int = 64
    prefix: str = "swallow"
    options: dict = field(default_factory=dict)
    only: tuple = ()
    tls: bool = False


def tool(binaries, what, peer, **options):
    words = [binaries["load"], what, "--to", peer.address, "--bucket", peer.bucket, "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
    if peer.ca:
        words += ["--ca", peer.ca]
    for name, value in (options | peer.options).items():
        words += ["--" + name.replace("_", "-"), str(value).lower() if isinstance(value, bool) else str(value)]
    return list(map(str, words))


def fill(binaries, peer, prefix, size, keys, check=None):
    """Stores objects through the peer and reads them back; false if it can't."""
    command = tool(binaries, "fill", peer, prefix=prefix, size=size, keys=keys, check=keys if check is None else check)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        print(f"  {peer.name}: {prefix}: {done.stderr.strip()}", flush=True)
    return done.returncode == 0


def one_round(peers, peer, case, milliseconds):
    """The load on one peer for a while; a dictionary of what came of it."""
    options = dict(operation=case.operation, size=case.size, keys=case.keys, prefix=case.prefix, connections=case.connections, ms=milliseconds)
    command = tool(peers.binaries, "drive", peer, **(options | case.options))
    watched = peer if peer.process else None
    # A crowd that left in the middle of its uploads is still there for seconds: what it had sent is passed on.
    deadline = time.monotonic() + PATIENCE
    while watched and watched.clients() and time.monotonic() < deadline:
        time.sleep(0.1)
    if watched and watched.clients():
        print(f"  {peer.name}: clients of the round before are still there", flush=True)
    if peer.log:
        # A round's lines stay on the disk until the next round.
        os.truncate(peer.log, 0)
    counters = metrics(peer) if hasattr(peer, "admin") else None
    counts, store_before = peers.store_counts(), peers.store.cpu_seconds()
    if watched:
        watched.reset_peak()
    before = watched.cpu_seconds() if watched else 0.0
    done = subprocess.run(command, capture_output=True, text=True, timeout=milliseconds / 1000 + 120)
    if done.returncode:
        raise SystemExit(f"the driver failed: {done.stderr}")
    result = json.loads(done.stdout)
    # What was under way when the driver left comes to its end.
    time.sleep(0.05)
    result["cpu_seconds"] = (watched.cpu_seconds() if watched else 0.0) - before
    result["peak_mib"] = watched.peak_mib() if watched else 0.0
    result["store_cpu_seconds"] = peers.store.cpu_seconds() - store_before
    after = peers.store_counts()
    result["upstream"] = {
        "requests": {name: count - counts["requests"].get(name, 0) for name, count in after["requests"].items() if count > counts["requests"].get(name, 0)},
        "bytes_in": after["bytes_in"] - counts["bytes_in"],
        "bytes_out": after["bytes_out"] - counts["bytes_out"],
    }
    if counters is not None:
        result["key_calls"] = sum(
            value - counters.get(name, 0) for name, value in metrics(peer).items() if name.startswith("s3veil_keyring_calls_total")
        )
    return result


def run_case(peers, contestants, case, rounds, milliseconds):
    """Alternating rounds; the peer that begins changes from round to round."""
    contestants = [peer for peer in contestants if bool(peer.ca) == case.tls and (not case.only or peer.name in case.only)]
    results = {peer.name: [] for peer in contestants}
    for turn in range(rounds):
        order = contestants[turn % len(contestants):] + contestants[:turn % len(contestants)]
        for peer in order:
            results[peer.name].append(one_round(peers, peer, case, milliseconds))
    outcome = {"case": asdict(case), "peers": {name: summary(rounds_) for name, rounds_ in results.items()}}
    print_case(outcome)
    return outcome


def summary(rounds):
    """Medians with the lowest and the highest round, and the rounds themselves for pairing."""
    def per(result, cost, amount, unit):
        return result[cost] / result[amount] * unit if result[amount] else None

    for result in rounds:
        result["bytes_per_second"] = result["bytes"] / result["seconds"]
        result["requests_per_second"] = result["requests"] / result["seconds"]
        result["cpu_per_gib"] = per(result, "cpu_seconds", "all_bytes", GIB)
        result["cpu_per_1000"] = per(result, "cpu_seconds", "all_requests", 1000)
        result["refused_per_second"] = result["refused"] / result["seconds"]
    names = ["bytes_per_second", "requests_per_second", "refused_per_second", "cpu_per_gib", "cpu_per_1000", "p50_us", "p99_us"]
    spread = {name: spread_of([result.get(name) for result in rounds]) for name in names}
    medians = {name: values and values[0] for name, values in spread.items()}
    for name in ("requests", "refused", "timed", "cut"):
        medians[name] = sum(result[name] for result in rounds)
    medians["peak_mib"] = max(result["peak_mib"] for result in rounds)
    medians["errors"] = sum(result["errors"] for result in rounds)
    medians["first_error"] = next((result["first_error"] for result in rounds if result["first_error"]), None)
    return {"median": medians, "spread": spread, "rounds": rounds}


def spread_of(values):
    """Median, lowest and highest of what there is."""
    values = [value for value in values if value is not None]
    return (statistics.median(values), min(values), max(values)) if values else None


def ratio_spread(outcome, peer, other, name):
    """Median, lowest and highest of the rounds' ratios: what both did at about the same time is compared."""
    if peer not in outcome["peers"] or other not in outcome["peers"]:
        return None
    pairs = zip(outcome["peers"][peer]["rounds"], outcome["peers"][other]["rounds"])
    return spread_of([a[name] / b[name] for a, b in pairs if a.get(name) is not None and b.get(name)])


def ratio(outcome, peer, other, name):
    """The median of the rounds' ratios."""
    spread = ratio_spread(outcome, peer, other, name)
    return spread and spread[0]


def print_case(outcome):
    case = outcome["case"]
    print(f"\n{case['name']}, {case['connections']} connections", flush=True)
    for name, peer in outcome["peers"].items():
        m = peer["median"]
        show = lambda value, form: "-" if value is None else format(value, form)
        small = case["size"] <= 64 * KIB or case["operation"] == "list"
        print(
            f"  {name:12} {m['bytes_per_second'] / MIB:8.0f} MiB/s {m['requests_per_second']:9.1f}/s  p50 {show(m['p50_us'], '9.0f')} p99 {show(m['p99_us'], '9.0f')} us"
            f"  CPU {show(m['cpu_per_1000'] if small else m['cpu_per_gib'], '7.3f')} s/{'1000' if small else 'GiB '}  peak {m['peak_mib']:6.1f} MiB"
            f"  of nginx {show(ratio(outcome, name, 'nginx', 'requests_per_second' if small else 'bytes_per_second'), '5.2f')}"
            + (f"  {m['refused']} refused" if m["refused"] else "")
            + (f"  {m['errors']} ERRORS: {m['first_error'][:200]}" if m["errors"] else ""),
            flush=True,
        )
