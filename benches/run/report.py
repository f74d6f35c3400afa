"""The table and the plot out of the results: Markdown and SVG, without any library."""

import html

from budget import WORDS, table as budget_table
from measure import KIB, MIB, ratio, ratio_spread
from soak import sentence

COLOURS = {"direct": "#9aa5b1", "nginx": "#3a8f5c", "nginx-stock": "#8fc7a4", "s3veil": "#2f5fd0", "rclone": "#c2703d", "passthrough": "#8f6fd0", "before": "#9cb8f0", "customer-key": "#5a7f8c"}

LARGE = ["GET 64 MiB", "PUT 64 MiB"]
# Loads, and the share of nginx's throughput to reach.
OF_NGINX = dict.fromkeys(LARGE, 1.0) | {
    "GET 4 KiB": 0.75, "PUT 4 KiB": 0.7, "GET 4 KiB over TLS": 0.75, "PUT 4 KiB over TLS": 0.7,
    "LIST of 1,000": 0.5, "GET 1 MiB": 0.9, "PUT 1 MiB": 0.9, "GET 64 MiB over TLS": 1.0, "PUT 64 MiB over TLS": 1.0,
}
SIGNED = "PUT 64 MiB, payload signed"
# Loads that reach 0.97 of their throughput with a customer key.
WITH_CUSTOMER_KEY = ["GET 4 KiB", "PUT 4 KiB", *LARGE]


def is_small(case):
    return case["operation"] == "list" or (case["operation"] in ("get", "put") and case["size"] <= 64 * KIB)


def speed_of(outcome):
    """The figure by which the throughput of a load is told."""
    return "requests_per_second" if is_small(outcome["case"]) else "bytes_per_second"


def number(value, digits):
    return "–" if value is None else f"{value:,.{digits}f}"


def ranged(spread, digits, scale=1):
    """A median with the lowest and the highest round in brackets."""
    if spread is None:
        return "–"
    middle, lowest, highest = (number(value / scale, digits) for value in spread)
    return middle if lowest == highest else f"{middle} [{lowest}–{highest}]"


def title(case):
    connections = case["connections"]
    return f"{case['name']}, {connections:,} connection{'s' if connections > 1 else ''}"


def cases_table(results):
    lines = [
        "| load | through | MiB/s | requests/s | p50 µs | p99 µs | timed | cut | CPU s/GiB | CPU s/1,000 requests | peak MiB | throughput of nginx's | of direct | CPU of nginx's |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in results["cases"]:
        first = title(outcome["case"])
        speed = speed_of(outcome)
        cost = "cpu_per_1000" if is_small(outcome["case"]) else "cpu_per_gib"
        for name, peer in outcome["peers"].items():
            m = peer["median"]
            if not m["requests"] and not m["bytes_per_second"]:
                reason = ((m["first_error"] or "no response").splitlines() or [""])[0][:90]
                lines.append(f"| {first} | {name} | not served: {reason} |" + " |" * 11)
                first = ""
                continue
            measured, small, spread = name != "direct", is_small(outcome["case"]), peer["spread"]
            cells = [
                first, name, number(m["bytes_per_second"] / MIB, 0) if small else ranged(spread["bytes_per_second"], 0, MIB),
                ranged(spread["requests_per_second"], 0) if small else number(m["requests_per_second"], 0 if m["requests_per_second"] > 100 else 1),
                number(m["p50_us"], 0), number(m["p99_us"], 0), number(m["timed"], 0), number(m["cut"], 0),
                ranged(spread["cpu_per_gib"], 3) if measured and not small else "–",
                ranged(spread["cpu_per_1000"], 3) if measured and small else "–",
                number(m["peak_mib"], 0) if measured else "–",
                ranged(ratio_spread(outcome, name, "nginx", speed), 2), number(ratio(outcome, name, "direct", speed), 2),
                ranged(ratio_spread(outcome, name, "nginx", cost), 2) if measured else "–",
            ]
            if m["refused"]:
                cells[1] += f" ({m['refused']:,} refused)"
            if m["errors"]:
                cells[1] += f" ({m['errors']} errors)"
            lines.append("| " + " | ".join(cells) + " |")
            first = ""
    return lines


def crowd_table(results):
    """Thousands of connections that are all active: what is served, and what is refused instead."""
    lines = [
        "| connections | through | requests/s | of nginx's | refused/s (SlowDown) | errors | peak MiB |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in results["cases"]:
        for name, peer in outcome["peers"].items() if outcome["case"]["connections"] >= 1000 else ():
            m, spread = peer["median"], peer["spread"]
            lines.append(f"| {outcome['case']['connections']:,} | {name} | {ranged(spread['requests_per_second'], 0)} | "
                         f"{ranged(ratio_spread(outcome, name, 'nginx', 'requests_per_second'), 2)} | {ranged(spread['refused_per_second'], 0)} | {m['errors']} | {m['peak_mib']:.0f} |")
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

    def add(what, target, value, holds, digits=2, unit="", before=None):
        row = [what, target, "not measured" if value is None else number(value, digits) + unit]
        if results.get("before"):
            row.append("–" if before is None else number(before, digits) + unit)
        rows.append([*row, "–" if value is None else "yes" if holds(value) else "**no**"])

    def add_ratio(what, target, outcome, other, name, holds):
        add(what, target, ratio(outcome, "s3veil", other, name), holds, before=ratio(outcome, "before", other, name))

    for name in LARGE:
        outcome = find(results, name, 8)
        for other in ("nginx", "nginx-stock"):
            if outcome and other in outcome["peers"]:
                add_ratio(f"{name}, 8 at a time: throughput of {other}'s", f"≥ {OF_NGINX[name]}", outcome, other, "bytes_per_second", lambda v: v >= OF_NGINX[name])
                add_ratio(f"{name}, 8 at a time: CPU per GiB of {other}'s", "≤ 1.1", outcome, other, "cpu_per_gib", lambda v: v <= 1.1)
    for name, least in OF_NGINX.items():
        for connections in (1, 8, 64) if "1 MiB" in name else (8, 64):
            outcome = find(results, name, connections)
            if outcome and name not in LARGE:
                speed = speed_of(outcome)
                what = f"{name}, {connections} at a time: {speed.replace('_', ' ')} of nginx's"
                add_ratio(what, f"≥ {least}", outcome, "nginx", speed, lambda v, least=least: v >= least)
    for name in WITH_CUSTOMER_KEY:
        outcome = find(results, name, 8)
        if outcome and "customer-key" in outcome["peers"]:
            speed = speed_of(outcome)
            add(f"{name}, 8 at a time: {speed.replace('_', ' ')} with a customer key of those without", "≥ 0.97", ratio(outcome, "customer-key", "s3veil", speed), lambda v: v >= 0.97)
    signed, unsigned = (find(results, name, 8) for name in (SIGNED, "PUT 64 MiB"))
    if signed and unsigned:
        cost = lambda outcome, peer: outcome["peers"][peer]["median"]["cpu_per_gib"]
        share = lambda peer: (cost(unsigned, peer) + results["sha256_seconds"]) / cost(signed, peer)
        before = share("before") if "before" in signed["peers"] else None
        add(f"{SIGNED}: CPU time of an unsigned one and of SHA-256 by itself, of its own", "≥ 0.9", share("s3veil"), lambda v: v >= 0.9, before=before)
    for name in ("GET 4 KiB", "PUT 4 KiB"):
        outcome = find(results, name, 1)
        if outcome:
            medians = [outcome["peers"][peer]["median"]["p50_us"] for peer in ("s3veil", "direct")]
            add(f"{name}: median latency added to the store's own", "< 200 µs", None if None in medians else medians[0] - medians[1], lambda v: v < 200, 0, " µs")
    for name in ("500 × GET 64 MiB", "500 × PUT 64 MiB"):
        outcome = find(results, name, 500)
        if outcome:
            add(f"{name}: resident memory", "< 90 MiB", outcome["peers"]["s3veil"]["median"]["peak_mib"], lambda v: v < 90, 0, " MiB")
    if results.get("idle"):
        add("an idle connection: resident memory", "≤ 8 KiB", results["idle"]["mib"] * KIB / results["idle"]["connections"], lambda v: v <= 8, 1, " KiB")
    for load in results.get("budget", {}).get("loads", []):
        for name, most in load["budget"].items():
            add(f"{load['title']}: {WORDS[name]} per request", f"≤ {most:,}", load["figures"][name], lambda v, most=most: v <= most, 0 if name == "instructions" else 1)
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
    head = ["what", "target", "measured", *["before"] * bool(results.get("before")), "holds"]
    line = ["---", "---", "---:", *["---:"] * bool(results.get("before")), "---"]
    return [f"| {' | '.join(row)} |" for row in (head, line, *rows)]


def micro_table(results):
    lines = ["| what | time | bytes a second | the library's own speed | ratio |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, entry in results.get("micro", {}).items():
        speed = lambda value: "–" if value is None else f"{value / 1e9:.2f} GB/s"
        lines.append(f"| {name} | {entry['nanoseconds']:,.0f} ns | {speed(entry.get('speed'))} | {speed(entry.get('library'))} | {number(entry.get('ratio'), 2)} |")
    return lines


def passthrough_words(results):
    """What `passthrough` is, if it was measured."""
    if not any("passthrough" in outcome["peers"] for outcome in results["cases"]):
        return []
    return ["`passthrough` is s3veil built with a seal that encrypts nothing (`benches/passthrough.patch`, never part of a product): what it saves is "
            "AES-GCM, and the rest is the price of a proxy that verifies, signs, checksums and cuts bodies into chunks.", ""]


def markdown(results):
    machine = results["machine"]
    lines = [
        "<!-- Written by scripts/bench; the words around the tables are in benches/run/report.py and benches/run/notes.md. -->",
        "# Benchmarks", "",
        f"Made by `scripts/bench {results['plan']}` on {results['date']}, {results['rounds']} rounds of each load: {machine['processor']}, {machine['cores']} cores, {machine['memory']}, "
        f"{machine['system']}; {machine['rustc']}; {machine['nginx']}"
        + (f"; {machine['rclone']}" if machine.get("rclone") else "") + f". Commit {results['commit']}{', ' + results['built'] if results.get('built') else ''}.", "",
        "The client, the proxy and the store share the machine's cores over the loopback interface, so throughput is what all three together leave each "
        "other, and the CPU time of the proxy alone is the fairer number. The store and the client are `benches/load`: from memory, without any check. "
        "Each load goes to every peer in turn, round after round; figures are medians over the rounds, with the lowest and the highest in brackets, and "
        "ratios are those of pairs of one round. Latencies are of requests that began and ended in a round's window (`timed`); those that its edges `cut` "
        "are counted beside them, and where there were too many of them no percentile is given. `direct` is the client at the store itself. "
        "`nginx` is a reverse proxy with buffers made large for the purpose, `nginx-stock` the same with its own; neither spools to disk or writes "
        "an access log. s3veil verifies the client's signature, opens or seals, signs anew and checksums, and writes a line per request into its log, which is a file on a disk. "
        "`customer-key` is the same s3veil, asked with a key of the client's (SSE-C). "
        "Over TLS, client to proxy and proxy to store are both encrypted, for nginx as for s3veil. `CRC trailer` is a body as SDKs send it: aws-chunked, its "
        "checksum at the end." + (f" `before` is s3veil as it was at {results['before']}, measured in the rounds of the others." if results.get("before") else ""), "",
        "![Throughput and CPU time](benchmarks.svg)", "", "## Numbers to reach", "", *targets(results), "",
        "## Every load", "", *cases_table(results), "",
        *passthrough_words(results), "## Many active connections", "", "GET 4 KiB. A client that is refused (503 SlowDown) waits for 10 ms and tries again.", "", *crowd_table(results), "",
        "## What the store and the key service are asked for", "", *upstream_table(results), "",
    ]
    if results.get("budget"):
        counted = results["budget"]
        lines += ["## Instructions and allocations per request", "", f"`scripts/bench budget` on {counted['date']}, commit {counted['commit']}: user instructions of the whole "
                  "process, counted by callgrind, with one worker and 4 connections.", "", *budget_table(counted), ""]
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
    bar, label, width = 9, 270, 330
    rows, y = [], 56
    for index, name in enumerate(names):
        rows.append(f'<rect x="{label + index * 96}" y="12" width="10" height="10" fill="{COLOURS[name]}"/><text x="{label + index * 96 + 14}" y="21">{name}</text>')
    rows.append(f'<text x="{label}" y="44" class="h">throughput of direct\'s</text><text x="{label + width + 40}" y="44" class="h">CPU time of nginx\'s (shorter is better)</text>')
    for outcome in shown:
        small = is_small(outcome["case"])
        speed, cost = speed_of(outcome), "cpu_per_1000" if small else "cpu_per_gib"
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
