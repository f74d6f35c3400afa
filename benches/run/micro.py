"""Criterion's estimates, each beside the library's own speed."""

import json
from pathlib import Path


def read(directory: Path):
    """`target/criterion` -> {name: nanoseconds, speed and library in bytes per second, ratio}."""
    found = {}
    for estimates in sorted(directory.glob("*/**/new/estimates.json")):
        described = json.loads((estimates.parent / "benchmark.json").read_text())
        nanoseconds = json.loads(estimates.read_text())["median"]["point_estimate"]
        name = described["function_id"] + (f"/{described['value_str']}" if described.get("value_str") else "")
        throughput = described.get("throughput") or {}
        found[name] = {"nanoseconds": nanoseconds, "speed": throughput["Bytes"] / nanoseconds * 1e9 if "Bytes" in throughput else None}
    for name, entry in found.items():
        library = found.get(f"library-{name}")
        if library:
            entry["library"], entry["ratio"] = library["speed"], entry["speed"] / library["speed"]
    return {name: entry for name, entry in found.items() if not name.startswith("library-")}
