"""User instructions, allocations and clock reads of one request, counted by callgrind, and held against budgets.

Unlike times, these figures are the same on a busy machine. The proxy runs on one core, so with one worker, and at its default
log level. A request's share is what the whole process did while so many requests were served, divided by their number."""

import json
import os
import re
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from measure import KIB, fill, tool
from peers import Peers

CONNECTIONS = 4
# valgrind translates every block of code before it runs first.
STARTUP, SHUTDOWN = 120.0, 120.0

# The block functions of SHA and AES-GCM, whose number of instructions depends on what the processor (here valgrind's) can do.
BLOCKS = re.compile(r"sha(1|256|512)_block_data_order|sha2::sha(256|512)::compress|aesni_|aes_hw_|aes_gcm_(en|de)crypt|vpaes|ghash|gcm_(init|gmult)_")
# All of the cryptographic libraries: AWS-LC in C with its crate for Rust, and RustCrypto.
LIBRARY = re.compile(BLOCKS.pattern + r"|^<?(sha2|digest|block_buffer|hmac|hkdf)::|aws_lc|AWS_LC|EVP_|HMAC|HKDF|SHA256|aead_|gcm128|aes_ctr|ctr_drbg|rand_bytes|sha256_|hmac_|hkdf|OPENSSL_|CRYPTO_|bignum")
OWN = "s3veil::"
# Groups of functions: a call from outside into one of a group counts once, whatever it calls in turn.
ALLOCATORS = re.compile(r"^_rjem_(malloc|mallocx|calloc|aligned_alloc|memalign|posix_memalign)$")
REALLOCATORS = re.compile(r"^(_rjem_(realloc|rallocx)|do_rallocx|do_realloc_nonnull)")
C_ALLOCATORS = re.compile(r"^(__libc_)?(malloc|calloc|realloc)(@|$)")
CLOCKS = re.compile(r"^(__vdso_|__)?clock_gettime(@|$)")

WORDS = {"instructions": "instructions without SHA and AES", "allocations": "allocations", "clock_reads": "clock reads"}


@dataclass
class Load:
    """What is counted, and what it may cost."""

    title: str
    operation: str
    size: int
    keys: int
    requests: int
    prefix: str
    budget: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)


LOADS = [
    Load("GET 4 KiB", "get", 4 * KIB, 16, 1000, "get4k-", {"instructions": 70_000, "allocations": 40, "clock_reads": 4}),
    Load("PUT 4 KiB", "put", 4 * KIB, 16, 1000, "swallow", {"instructions": 85_000, "allocations": 45, "clock_reads": 4}),
    Load("GET 4 KiB with a customer key", "get", 4 * KIB, 16, 1000, "get4k-", options={"customer_key": True}),
    Load("PUT 4 KiB with a customer key", "put", 4 * KIB, 16, 1000, "swallow", options={"customer_key": True}),
    Load("LIST of 1,000", "list", 16, 1000, 40, "list-", {"instructions": 1_500_000}),
]


def read_profile(path):
    """Callgrind's file -> instructions of each function itself, and calls between two functions, by their names."""
    names, own, calls = {}, defaultdict(int), defaultdict(int)
    caller = callee = None
    is_call = False

    def name(text):
        # `(id) name` the first time, and `(id)` from then on.
        number, _, given = text.strip().partition(" ")
        return names.setdefault(number, given)

    with open(path, errors="replace") as lines:
        for line in lines:
            if line[0] in "0123456789+-*":
                # The line below `calls=` has the costs of what was called, which are that function's own.
                fields = line.split()
                if not is_call and len(fields) > 1:
                    own[caller] += int(fields[1])
                is_call = False
            elif line.startswith("fn="):
                caller = name(line[3:])
            elif line.startswith("cfn="):
                callee = name(line[4:])
            elif line.startswith("calls="):
                calls[caller, callee] += int(line[6:].split()[0])
                is_call = True
    return own, calls


def figures(own, calls, requests):
    """What one request costs."""

    def instructions(leaves_out):
        return sum(count for function, count in own.items() if not leaves_out(function or "")) / requests

    def entered(group):
        return sum(count for (caller, callee), count in calls.items() if group.search(callee or "") and not group.search(caller or "")) / requests

    return {
        "all_instructions": instructions(lambda function: False),
        "instructions": instructions(BLOCKS.search),
        "without_library": instructions(lambda function: BLOCKS.search(function) or (LIBRARY.search(function) and OWN not in function)),
        "allocations": entered(ALLOCATORS), "reallocations": entered(REALLOCATORS), "c_allocations": entered(C_ALLOCATORS),
        "clock_reads": entered(CLOCKS),
    }


def switch(process, state):
    done = subprocess.run(["callgrind_control", "-i", state, str(process.pid)], capture_output=True, text=True, timeout=SHUTDOWN)
    if "OK" not in done.stdout:
        raise SystemExit(f"callgrind could not be switched {state}: {done.stdout}{done.stderr}")
    time.sleep(0.5)


def count(binaries, load, log):
    """Runs one load; its figures, or `None` if the binary has no symbols."""
    with Peers(binaries) as peers:
        profile = peers.directory / "callgrind.out"
        # As many workers as cores are allowed.
        around = ["taskset", "-c", min(os.sched_getaffinity(0)), "valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--instr-atstart=no", "--fair-sched=try"]
        peer = peers.s3veil("s3veil-budget", log=log, around=around, patience=STARTUP)
        peer.options = load.options

        def drive(requests):
            options = {"operation": load.operation, "size": load.size, "keys": load.keys, "prefix": load.prefix, "connections": CONNECTIONS, "requests": requests}
            done = subprocess.run(tool(binaries, "drive", peer, **options), capture_output=True, text=True, timeout=600)
            if done.returncode:
                raise SystemExit(f"the driver failed: {done.stderr}")

        if not fill(binaries, peer, load.prefix, load.size, load.keys, check=0 if load.prefix == "swallow" else 1):
            raise SystemExit(f"{load.title} could not be prepared")
        drive(max(load.requests // 4, 2 * CONNECTIONS))
        switch(peer.process, "on")
        drive(load.requests)
        switch(peer.process, "off")
        # The profile is written when the process ends.
        peer.process.terminate()
        peer.process.wait(SHUTDOWN)
        own, calls = read_profile(profile)
    if not own:
        raise SystemExit("callgrind has counted nothing")
    if not any(OWN in function for function in own):
        print(f"{load.title}: {sum(own.values()) / load.requests:,.0f} instructions in all", flush=True)
        return None
    return figures(own, calls, load.requests)


def sentence(figure):
    return (f"{figure['instructions']:,.0f} instructions without SHA and AES ({figure['without_library']:,.0f} without the cryptographic library, "
            f"{figure['all_instructions']:,.0f} in all), {figure['allocations']:.1f} allocations, {figure['reallocations']:.1f} reallocations, "
            f"{figure['c_allocations']:.1f} allocations of C code, {figure['clock_reads']:.1f} clock reads")


def over_budget(load, figure):
    """One line for each figure beyond its budget."""
    return [f"{load.title}: {figure[name]:,.1f} {WORDS[name]} per request, over the budget of {most:,}" for name, most in load.budget.items() if figure[name] > most]


def budget(binaries, results, path, log):
    """Counts every load, prints and keeps the figures; the exit code."""
    faults, results["loads"] = [], []
    for load in LOADS:
        figure = count(binaries, load, log)
        if figure is None:
            print(f"{binaries['s3veil']} has no symbols, so nothing else can be counted: build it with --config profile.dist.strip=false", flush=True)
            return 1
        print(f"{load.title}: {sentence(figure)}", flush=True)
        results["loads"].append({"title": load.title, "figures": figure, "budget": load.budget})
        faults += over_budget(load, figure)
    Path(path).write_text(json.dumps(results))
    print("\n".join(faults) if faults else "every budget is kept", flush=True)
    return 1 if faults else 0


def table(counted):
    """The figures for the report, each with its budget in brackets."""
    lines = [
        "| request | instructions without SHA and AES | without the cryptographic library | in all | allocations | reallocations | of C code | clock reads |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for load in counted["loads"]:
        def cell(name, digits, load=load):
            most = load["budget"].get(name)
            return f"{load['figures'][name]:,.{digits}f}" + (f" (at most {most:,})" if most else "")

        cells = [cell(name, 0) for name in ("instructions", "without_library", "all_instructions")]
        cells += [cell(name, 1) for name in ("allocations", "reallocations", "c_allocations", "clock_reads")]
        lines.append(f"| {load['title']} | " + " | ".join(cells) + " |")
    return lines
