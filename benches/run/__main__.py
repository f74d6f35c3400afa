"""One run of the benchmarks: `scripts/bench` builds and calls this."""

import argparse
import datetime
import hashlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import micro
from budget import budget
from measure import GIB, KIB, MIB, Case, fill, one_round, run_case, tool
from peers import Peers
from report import OF_NGINX, SIGNED, WITH_CUSTOMER_KEY, markdown, svg
from soak import sentence, soak

ROOT = Path(__file__).resolve().parents[2]


# What is sent as SDKs send it by default over TLS: aws-chunked, with a checksum in a trailer.
SDK = {"sdk": True}
# Those that stay connected, and each wait for a response: the first seconds are the connecting.
CROWD = {"warm_up_ms": 3000}


def cases(full):
    """The loads. What is read was stored through the same peer before."""
    loads = []
    for connections in (1, 8, 64) if full else (1, 64):
        loads += [Case("GET 4 KiB", "get", 4 * KIB, connections, prefix="get4k-"), Case("PUT 4 KiB", "put", 4 * KIB, connections)]
    for connections in (1, 8, 64) if full else (8,):
        loads += [Case("GET 1 MiB", "get", MIB, connections, keys=16, prefix="get1m-"), Case("PUT 1 MiB", "put", MIB, connections)]
    for connections in (1, 8, 64) if full else (8,):
        loads += [Case("GET 64 MiB", "get", 64 * MIB, connections, keys=2, prefix="get64m-"), Case("PUT 64 MiB", "put", 64 * MIB, connections)]
    loads += [
        Case("PUT 4 KiB, payload signed", "put", 4 * KIB, 8, options={"signed_payload": True}),
        Case("PUT 4 KiB, CRC trailer", "put", 4 * KIB, 8, options=SDK),
        Case("PUT 64 MiB, CRC trailer", "put", 64 * MIB, 8, options=SDK),
        Case("PUT 64 MiB, payload signed", "put", 64 * MIB, 8, options={"signed_payload": True}),
        Case("multipart 64 MiB in 8 MiB parts", "multipart", 64 * MIB, 8, options={"part_size": 8 * MIB}),
        Case("1 MiB ranges", "range", MIB, 8, keys=1, prefix="range-", options={"object_size": range_object(full)}),
        Case("LIST of 1,000", "list", 1, 8, keys=1, prefix="list-"),
    ]
    for connections in (8, 64) if full else (64,):
        loads += [Case("GET 4 KiB over TLS", "get", 4 * KIB, connections, prefix="get4k-", tls=True),
                  Case("PUT 4 KiB over TLS", "put", 4 * KIB, connections, tls=True)]
    loads += [
        Case("PUT 4 KiB over TLS, CRC trailer", "put", 4 * KIB, 8, options=SDK, tls=True),
        Case("GET 64 MiB over TLS", "get", 64 * MIB, 8, keys=2, prefix="get64m-", tls=True),
        Case("PUT 64 MiB over TLS", "put", 64 * MIB, 8, tls=True),
    ]
    return loads


def crowds():
    """Loads of many connections, through nginx and s3veil alone."""
    pair = ("nginx", "s3veil")
    return [
        Case("GET 4 KiB", "get", 4 * KIB, 1000, prefix="get4k-", only=pair, options=CROWD),
        Case("GET 4 KiB", "get", 4 * KIB, 5000, prefix="get4k-", only=pair, options=CROWD),
        Case("500 × GET 64 MiB", "get", 64 * MIB, 500, keys=2, prefix="get64m-", only=pair),
        Case("500 × PUT 64 MiB", "put", 64 * MIB, 500, only=pair),
    ]


def range_object(full):
    return GIB if full else 256 * MIB


def machine(binaries):
    processor = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / MIB
    say = lambda *command: subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    version = lambda *command: (lambda done: (done.stdout or done.stderr).splitlines()[0])(say(*command))
    return {
        "processor": processor, "cores": os.cpu_count(), "memory": f"{memory:.0f} GiB", "system": f"Linux {platform.release()}",
        "rustc": version("rustc", "--version"), "nginx": version(binaries["nginx"], "-v").replace("nginx version: ", "") if binaries["nginx"] else "no nginx",
        "rclone": version(binaries["rclone"], "version") if binaries["rclone"] else None,
    }


def idle(peers, connections=1000):
    """What so many connections cost that do nothing."""
    peer = peers.s3veil("s3veil-idle")
    fill(peers.binaries, peer, "get4k-", 4 * KIB, 64)
    before = peer.resident_mib()
    command = tool(peers.binaries, "idle", peer, operation="get", keys=64, prefix="get4k-", connections=connections)
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout.readline() != "ready\n":
            raise SystemExit("the idle connections were not served")
        # They lose their buffers after some seconds. The allocator gives memory back when there is work.
        time.sleep(6)
        for _ in range(2):
            fill(peers.binaries, peer, "get4k-", 4 * KIB, 1000, check=64)
            time.sleep(1.5)
        return {"connections": connections, "mib": peer.resident_mib() - before}
    finally:
        holder.stdin.close()
        holder.wait(20)


def sha256_seconds():
    """CPU seconds that SHA-256 by itself takes for 1 GiB: the median of nine runs over 64 MiB."""
    content, times = bytes(64 * MIB), []
    for _ in range(9):
        begun = time.process_time()
        hashlib.sha256(content).digest()
        times.append(time.process_time() - begun)
    return statistics.median(times) * 16


def train(binaries):
    """Runs what a proxy does most, for a build that is guided by what ran."""
    with Peers(binaries) as peers:
        plain = peers.s3veil()
        for peer in (plain, plain.with_customer_key(), peers.s3veil(tls=True)):
            objects = [("get4k-", 4 * KIB, 64), ("get1m-", MIB, 16), ("range-", 64 * MIB, 1), ("list-", 16, 1000)]
            for prefix, size, keys in objects[:1] if peer.options else objects:
                if not fill(binaries, peer, prefix, size, keys, check=min(keys, 16)):
                    raise SystemExit(f"{peer.name} could not be prepared with {prefix}*")
            loads = [
                (Case("GET 4 KiB", "get", 4 * KIB, 64, prefix="get4k-"), 4000),
                (Case("PUT 4 KiB", "put", 4 * KIB, 64), 4000),
                (Case("PUT 4 KiB, CRC trailer", "put", 4 * KIB, 8, options=SDK), 2000),
                (Case("GET 1 MiB", "get", MIB, 8, keys=16, prefix="get1m-"), 1500),
                (Case("PUT 1 MiB", "put", MIB, 8), 1500),
                (Case("1 MiB ranges", "range", MIB, 8, keys=1, prefix="range-", options={"object_size": 64 * MIB}), 1500),
                (Case("LIST of 1,000", "list", 1, 8, keys=1, prefix="list-"), 1500),
                (Case("multipart", "multipart", 64 * MIB, 4, options={"part_size": 8 * MIB}), 2000),
            ]
            for case, milliseconds in loads[:2] if peer.options else loads:
                done = one_round(peers, peer, case, milliseconds)
                print(f"  {peer.name}: {case.name}: {done['all_requests']} requests, {done['errors']} errors", flush=True)


def shown(contestants, case):
    """The peers that a case is for. What three of them show does not depend on the number of connections; an older version and customer
    keys are measured where there is a number to reach."""
    usual = [peer for peer in contestants if peer.name not in ("passthrough", "nginx-stock", "customer-key") or case.connections == 8]
    with_target = {"before": [*OF_NGINX, SIGNED], "customer-key": WITH_CUSTOMER_KEY}
    return [peer for peer in usual if case.name in with_target.get(peer.name, [case.name])]


def end_to_end(binaries, full, rounds, milliseconds, results):
    with Peers(binaries) as peers:
        contestants = [peers.direct()]
        if binaries["nginx"]:
            contestants += [peers.nginx(), peers.nginx(tuned=False)] if full else [peers.nginx()]
        contestants.append(peers.s3veil())
        contestants.append(contestants[-1].with_customer_key())
        if binaries["before"]:
            contestants.append(peers.s3veil("before", binaries["before"], rights=""))
        if binaries["passthrough"]:
            contestants.append(peers.s3veil("passthrough", binaries["passthrough"]))
        if binaries["rclone"]:
            contestants.append(peers.rclone())
        contestants.append(peers.direct(tls=True))
        if binaries["nginx"]:
            contestants.append(peers.nginx(tls=True))
        contestants.append(peers.s3veil(tls=True))
        if binaries["before"]:
            contestants.append(peers.s3veil("before", binaries["before"], tls=True, rights=""))
        objects = [("get4k-", 4 * KIB, 64), ("get64m-", 64 * MIB, 2), ("get1m-", MIB, 16), ("range-", range_object(full), 1), ("list-", 16, 1000)]
        for peer in contestants:
            for prefix, size, keys in objects[:2] if peer.ca or peer.options else objects:
                if not fill(binaries, peer, prefix, size, keys, check=min(keys, 16)):
                    print(f"  {peer.name} could not be prepared with {prefix}*", flush=True)
        for case in cases(full):
            results["cases"].append(run_case(peers, shown(contestants, case), case, rounds, milliseconds))
        for case in crowds():
            small = case.size < MIB
            results["cases"].append(run_case(peers, contestants, case, rounds if full or small else 1, milliseconds if small else 6_000))
        results["idle"] = idle(peers)


def main():
    arguments = argparse.ArgumentParser(prog="scripts/bench")
    arguments.add_argument("plan", choices=["quick", "full", "soak", "budget", "train"])
    arguments.add_argument("--s3veil", required=True)
    arguments.add_argument("--built", default="", help="how, for the report")
    arguments.add_argument("--load", required=True)
    arguments.add_argument("--nginx", default=shutil.which("nginx") or next((p for p in ["/usr/sbin/nginx"] if os.path.exists(p)), None))
    arguments.add_argument("--rclone", default=shutil.which("rclone"))
    arguments.add_argument("--criterion", help="where criterion has put its results")
    arguments.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md and docs/benchmarks.svg")
    arguments.add_argument("--passthrough", help="s3veil that encrypts nothing")
    arguments.add_argument("--before", help="s3veil of an older version, measured where there is a number to reach")
    arguments.add_argument("--before-version", default="an older version", help="its commit, for the report")
    arguments.add_argument("--rounds", type=int, help="of each load; default: 9, and 3 of the quick plan")
    arguments.add_argument("--seconds", type=int, default=600, help="of the soak")
    arguments.add_argument("--log", help="level of s3veil's log in the budget; default: s3veil's own")
    arguments.add_argument("--counted", help="results of a budget, for the report")
    arguments.add_argument("--soaked", help="results of a soak, for the report")
    arguments.add_argument("--results", required=True)
    asked = arguments.parse_args()
    # Ended from outside, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Absolute, since processes are started in another directory.
    binaries = {name: path and os.path.abspath(path) for name, path in vars(asked).items() if name in ("s3veil", "load", "nginx", "rclone", "passthrough", "before")}
    binaries["scratch"] = Path(asked.results).resolve().parent
    if binaries["rclone"] and "\n  s3 " not in subprocess.run([binaries["rclone"], "serve", "--help"], capture_output=True, text=True).stdout:
        print(f"{binaries['rclone']} is not measured: serve s3 needs rclone 1.65 or newer", flush=True)
        binaries["rclone"] = None
    full = asked.plan == "full"
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip() or "unknown"
    results = {"plan": asked.plan, "date": datetime.date.today().isoformat(), "commit": commit, "machine": machine(binaries), "built": asked.built, "cases": []}
    if asked.plan == "soak":
        with Peers(binaries) as peers:
            results["soak"] = soak(peers, asked.seconds)
        Path(asked.results).write_text(json.dumps(results))
        print("\n" + "\n".join([sentence(results["soak"]), *results["soak"]["faults"]]))
        return 1 if results["soak"]["faults"] else 0
    if asked.plan == "train":
        train(binaries)
        return 0
    if asked.plan == "budget":
        return budget(binaries, results, asked.results, asked.log)
    if asked.counted and Path(asked.counted).exists():
        results["budget"] = json.loads(Path(asked.counted).read_text())
    if asked.soaked and Path(asked.soaked).exists():
        results["soak"] = json.loads(Path(asked.soaked).read_text())["soak"]
    if asked.criterion:
        results["micro"] = micro.read(Path(asked.criterion))
    if asked.before:
        results["before"] = asked.before_version
    results["sha256_seconds"] = sha256_seconds()
    results["rounds"] = asked.rounds or (9 if full else 3)
    end_to_end(binaries, full, results["rounds"], 1500 if full else 1200, results)
    Path(asked.results).write_text(json.dumps(results))
    text = markdown(results)
    notes = (Path(__file__).parent / "notes.md").read_text()
    if asked.write:
        (ROOT / "docs/BENCHMARKS.md").write_text(text + "\n" + notes)
        (ROOT / "docs/benchmarks.svg").write_text(svg(results))
    print("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
