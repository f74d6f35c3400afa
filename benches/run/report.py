"""The table and the plot out of the results: Markdown and SVG, without any library."""

import html

from measure import KIB, MIB, ratio
from soak import sentence

COLOURS = {"direct": "#9aa5b1", "nginx": "#3a8f5c", "nginx-stock": "#8fc7a4", "s3veil": "#2f5fd0", "rclone": "#c2703d", "passthrough": "#8f6fd0"}


def is_small(case):
    return case["operation"] == "list" or (case["operation"] in ("get", "put") and case["size"] <= 64 * KIB)


def number(value, digits):
    return "–" if value is None else f"{value:,.{digits}f}"


def title(case):
    connections = case["connections"]
    return f"{case['name']}, {connections} connection{'s' if connections > 1 else ''}"


def cases_table(results):
    lines = [
        "| load | through | MiB/s | requests/s | p50 µs | p99 µs | CPU s/GiB | CPU s/1,000 requests | peak MiB | throughput of nginx's | of direct | CPU of nginx's |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in results["cases"]:
        first = title(outcome["case"])
        speed = "requests_per_second" if is_small(outcome["case"]) else "bytes_per_second"
        cost = "cpu_per_1000" if is_small(outcome["case"]) else "cpu_per_gib"
        for name, peer in outcome["peers"].items():
            m = peer["median"]
            if not m["requests"] if "requests" in m else m["p50_us"] is None and not m["bytes_per_second"]:
                lines.append(f"| {first} | {name} | not served: {(m['first_error'] or '')[:90].splitlines()[0]} |" + " |" * 9)
                first = ""
                continue
            measured = name != "direct"
            cells = [
                first, name, number(m["bytes_per_second"] / MIB, 0), number(m["requests_per_second"], 0 if m["requests_per_second"] > 100 else 1),
                number(m["p50_us"], 0), number(m["p99_us"], 0),
                number(m["cpu_per_gib"], 3) if measured and not is_small(outcome["case"]) else "–",
                number(m["cpu_per_1000"], 3) if measured and is_small(outcome["case"]) else "–",
                number(m["peak_mib"], 0) if measured else "–",
                number(ratio(outcome, name, "nginx", speed), 2), number(ratio(outcome, name, "direct", speed), 2),
                number(ratio(outcome, name, "nginx", cost), 2) if measured else "–",
            ]
            if m["errors"]:
                cells[1] += f" ({m['errors']} errors)"
            lines.append("| " + " | ".join(cells) + " |")
            first = ""
    return lines


def upstream_table(results):
    """What s3veil asked the store and the key service for."""
    lines = [
        "| load | requests to the store, for each of a client's | bytes of the store, for each of a client's | key service calls per 1,000 requests |",
        "| --- | --- | ---: | ---: |",
    ]
    for outcome in results["cases"]:
        rounds = outcome["peers"].get("s3veil", {}).get("rounds", [])
        asked = sum(result["all_requests"] for result in rounds)
        # What the driver's end cuts off is asked for and never answered; among large objects that would be most of it.
        if not asked or outcome["case"]["connections"] > 64 or outcome["case"]["size"] > MIB:
            continue
        kinds = {}
        for result in rounds:
            for kind, count in result["upstream"]["requests"].items():
                kinds[kind] = kinds.get(kind, 0) + count
        moved = sum(result["upstream"]["bytes_in"] + result["upstream"]["bytes_out"] for result in rounds)
        own = sum(result["all_bytes"] for result in rounds)
        calls = sum(result.get("key_calls", 0) for result in rounds)
        kinds = ", ".join(f"{count / asked:.2f} {kind}" for kind, count in sorted(kinds.items()))
        lines.append(f"| {title(outcome['case'])} | {kinds} | {moved / own:.4f} | {calls / asked * 1000:.3f} |")
    return lines


def find(results, name, connections):
    for outcome in results["cases"]:
        if outcome["case"]["name"] == name and outcome["case"]["connections"] == connections:
            return outcome
    return None


def targets(results):
    """Each number to reach, what was measured, and whether it holds."""
    rows = []

    def add(what, target, value, holds, digits=2, unit=""):
        rows.append((what, target, "not measured" if value is None else number(value, digits) + unit, "–" if value is None else "yes" if holds(value) else "**no**"))

    for name in ("GET 64 MiB", "PUT 64 MiB"):
        outcome = find(results, name, 8)
        for other in ("nginx", "nginx-stock"):
            if outcome and other in outcome["peers"]:
                add(f"{name}, 8 at a time: throughput of {other}'s", "≥ 0.9", ratio(outcome, "s3veil", other, "bytes_per_second"), lambda v: v >= 0.9)
                add(f"{name}, 8 at a time: CPU per GiB of {other}'s", "≤ 1.3", ratio(outcome, "s3veil", other, "cpu_per_gib"), lambda v: v <= 1.3)
    for name in ("GET 4 KiB", "PUT 4 KiB"):
        for connections in (1, 8, 64):
            outcome = find(results, name, connections)
            if outcome:
                add(f"{name}, {connections} at a time: requests per second of nginx's", "≥ 0.7", ratio(outcome, "s3veil", "nginx", "requests_per_second"), lambda v: v >= 0.7)
        outcome = find(results, name, 1)
        if outcome:
            medians = {peer: result["median"]["p50_us"] for peer, result in outcome["peers"].items()}
            add(f"{name}: median latency added to the store's own", "< 200 µs", medians["s3veil"] - medians["direct"], lambda v: v < 200, 0, " µs")
    for name in ("500 × GET 64 MiB", "500 × PUT 64 MiB"):
        outcome = find(results, name, 500)
        if outcome:
            add(f"{name}: resident memory", "< 100 MiB", outcome["peers"]["s3veil"]["median"]["peak_mib"], lambda v: v < 100, 0, " MiB")
    outcome = find(results, "1 MiB ranges", 8)
    if outcome:
        rounds = outcome["peers"]["s3veil"]["rounds"]
        asked = sum(result["all_requests"] for result in rounds)
        requests = sum(sum(result["upstream"]["requests"].values()) for result in rounds)
        add("range GET of 1 MiB: requests to the store", "1", requests / asked, lambda v: v < 1.01)
        more = sum(result["upstream"]["bytes_out"] for result in rounds) / requests - MIB
        add("range GET of 1 MiB: chunks read more than asked for", "≤ 2", more / 65552, lambda v: v <= 2)
    served = [outcome for outcome in results["cases"] if "s3veil" in outcome["peers"]]
    asked = sum(result["all_requests"] for outcome in served for result in outcome["peers"]["s3veil"]["rounds"])
    calls = sum(result.get("key_calls", 0) for outcome in served for result in outcome["peers"]["s3veil"]["rounds"])
    if asked:
        add("key service calls per 1,000 requests, warm", "< 1", calls / asked * 1000, lambda v: v < 1, 3)
    micro = results.get("micro", {})
    for way in ("seal", "open"):
        if f"{way}-chunks/65536" in micro:
            add(f"AES-256-GCM in process, {way} chunks of 64 KiB: speed of the library's own", "≥ 0.9", micro[f"{way}-chunks/65536"]["ratio"], lambda v: v >= 0.9)
    return ["| what | target | measured | holds |", "| --- | --- | ---: | --- |"] + [f"| {' | '.join(row)} |" for row in rows]


def micro_table(results):
    lines = ["| what | time | bytes a second | the library's own speed | ratio |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, entry in results.get("micro", {}).items():
        speed = lambda value: "–" if value is None else f"{value / 1e9:.2f} GB/s"
        lines.append(f"| {name} | {entry['nanoseconds']:,.0f} ns | {speed(entry.get('speed'))} | {speed(entry.get('library'))} | {number(entry.get('ratio'), 2)} |")
    return lines


def markdown(results):
    machine = results["machine"]
    lines = [
        "<!-- Written by scripts/bench; the words around the tables are in benches/run/report.py and benches/run/notes.md. -->",
        "# Benchmarks", "",
        f"Made by `scripts/bench {results['plan']}` on {results['date']}: {machine['processor']}, {machine['cores']} cores, {machine['memory']}, "
        f"{machine['system']}; {machine['rustc']}; {machine['nginx']}"
        + (f"; {machine['rclone']}" if machine.get("rclone") else "") + f". Commit {results['commit']}.", "",
        "The client, the proxy and the store share the machine's cores over the loopback interface, so throughput is what all three together leave each "
        "other, and the CPU time of the proxy alone is the fairer number. The store and the client are `benches/load`: from memory, without any check. "
        "Each load goes to every peer in turn, round after round; the ratios are medians over pairs of one round. `direct` is the client at the store "
        "itself. `nginx` is a reverse proxy with buffers made large for the purpose, `nginx-stock` the same with its own; neither spools to disk or writes "
        "an access log. s3veil verifies the client's signature, opens or seals, signs anew and checksums; its log is at `warn`.", "",
        "![Throughput and CPU time](benchmarks.svg)", "", "## Numbers to reach", "", *targets(results), "",
        "## Every load", "", *cases_table(results), "", "## What the store and the key service are asked for", "", *upstream_table(results), "",
    ]
    if results.get("micro"):
        lines += ["## The pure modules", "", "`cargo bench -p s3veil-micro` (criterion), one thread.", "", *micro_table(results), ""]
    if results.get("idle"):
        idle = results["idle"]
        lines += ["## Idle connections", "", f"{idle['connections']:,} keep-alive connections that have been used once and do nothing: "
                  f"{idle['mib']:.1f} MiB more resident memory, {idle['mib'] * KIB / idle['connections']:.1f} KiB each.", ""]
    if results.get("soak"):
        lines += ["## Soak", "", sentence(results["soak"]), ""]
    return "\n".join(lines)


def svg(results):
    """Two rows of bars for each load: throughput of direct's, and CPU time of nginx's."""
    shown = [outcome for outcome in results["cases"] if "nginx" in outcome["peers"] and "s3veil" in outcome["peers"]]
    names = [name for name in COLOURS if any(name in outcome["peers"] for outcome in shown)]
    bar, label, width = 9, 210, 330
    rows, y = [], 56
    for index, name in enumerate(names):
        rows.append(f'<rect x="{label + index * 96}" y="12" width="10" height="10" fill="{COLOURS[name]}"/><text x="{label + index * 96 + 14}" y="21">{name}</text>')
    rows.append(f'<text x="{label}" y="44" class="h">throughput of direct\'s</text><text x="{label + width + 40}" y="44" class="h">CPU time of nginx\'s (shorter is better)</text>')
    for outcome in shown:
        small = is_small(outcome["case"])
        speed, cost = ("requests_per_second", "cpu_per_1000") if small else ("bytes_per_second", "cpu_per_gib")
        peers = [name for name in names if name in outcome["peers"]]
        rows.append(f'<text x="{label - 8}" y="{y + bar * len(peers) / 2 + 4}" text-anchor="end">{html.escape(title(outcome["case"]))}</text>')
        for name in peers:
            for x, value, most in (
                (label, ratio(outcome, name, "direct", speed), 1.0),
                (label + width + 40, ratio(outcome, name, "nginx", cost) if name != "direct" else None, 5.0),
            ):
                if value is not None:
                    length = min(value, most) / most * (width - 40)
                    rows.append(f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{bar - 1}" fill="{COLOURS[name]}"/><text x="{x + length + 3:.1f}" y="{y + bar - 2}" class="n">{value:.2f}</text>')
            y += bar
        y += 8
    style = "text{font:11px sans-serif;fill:#222}.n{font-size:8px}.h{font-weight:bold}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {label + 2 * width + 60} {y + 8}"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(rows)}</svg>\n'
