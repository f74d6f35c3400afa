"""docs/WORKS_WITH.md, from the results of the runs: what was stored with which version, and the scripts that did it."""

import json

from .places import RESULTS, ROOT

PAGE = ROOT / "docs" / "WORKS_WITH.md"
GROUPS = ["Files and backups", "Databases", "Tables and arrays", "Machine learning and pipelines", "SDKs", "Client-side encryption of Amazon's"]
LANGUAGES = {"sh": "sh", "py": "python", "cjs": "js", "go": "go", "java": "java", "rs": "rust"}

HEAD = """# Programs that work with s3veil

Made by `scripts/matrix full --write`; not written by hand. Each program below, unchanged, was run like this:

1. It stores through the proxy, which has the embedded store and a local keyring.
2. Within a request, once the program has sent the bytes that the table names, the proxy is killed (SIGKILL) and started again 0.7 seconds later.
3. The program finishes: by its own retries, or, where it ended with an error, by running the same script again.
4. It restores to another place, and the restored files are compared byte for byte with what was stored. A table is restored
   as the text that it was made of.
5. Every file of the storage, parts of unfinished uploads included, is searched for a marker that the stored text repeats. Every
   object must have an envelope; 42 windows of 24 bytes of what a client reads of it must not be in its stored body, and the body
   must not be compressible.

`scripts/matrix` runs a third of the programs (`quick`), all (`full`), or those that are named.
"""
RECIPES = """## Recipes

The scripts exactly as they ran, so each is a configuration that works. Their environment: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of a
`[[client]]`, `AWS_REGION`, `ENDPOINT` (`http://HOST:PORT` of the proxy) and `ADDRESS` (`HOST:PORT`), with TLS also `CA` (the authority's certificate),
`BUCKET`, `SOURCE` (what is stored), `RESTORED` (where it is restored), `SCRATCH` (a directory), `OTHER_PORT` (a free port) and `MARKER` (a text that
the storage is searched for). Shell scripts stop at the first error, also in a pipe.
"""


def result_path(name):
    return RESULTS / f"{name.replace(' ', '-').lower()}.json"


def keep(result):
    RESULTS.mkdir(parents=True, exist_ok=True)
    result_path(result["name"]).write_text(json.dumps(result, indent=1))


def kept(programs):
    """The last results of these programs, without those of other scripts than they have now."""
    found = {one.name: json.loads(result_path(one.name).read_text()) for one in programs if result_path(one.name).exists()}
    return {one.name: found[one.name] for one in programs if found.get(one.name, {}).get("fingerprint") == one.fingerprint()}


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(programs, results):
    lines = ["| program | version | stored | MB | killed after | then | result | date |", "| --- | --- | --- | --: | --- | --- | --- | --- |"]
    for one in programs:
        result = results[one.name]
        killed = f"{result['killed_after'] / 1e6:.1f} MB"
        then = "went on by itself" if result["attempts"] == 1 else "was run again"
        name, stored = f"[{one.name}](#{anchor(one.name)})", f"{result['stored'] / 1e6:.0f}"
        columns = [name, result["version"], one.what, stored, killed, then, "restored, identical", result["date"]]
        lines.append("| " + " | ".join(map(cell, columns)) + " |")
    return "\n".join(lines)


def anchor(name):
    return "".join(letter for letter in name.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def recipe(one):
    lines = [f"### {one.name}", ""]
    if one.note:
        lines += [one.note, ""]
    language = LANGUAGES[one.language]
    for title, text in (*((f"`~/{name}`", text) for name, text in one.files.items()), ("Before", one.setup), ("Store", one.store), ("Restore", one.restore)):
        if text.strip():
            shown = language if title in ("Before", "Store", "Restore") else ""
            lines += [f"{title}:", "", f"```{shown}", text.strip("\n"), "```", ""]
    return "\n".join(lines)


def write(programs, absent):
    """Writes the page. `absent`: {name or program: reason} of what could not be had."""
    results = kept(programs)
    worked = [one for one in programs if results.get(one.name, {}).get("outcome") == "restored"]
    versions = sorted({results[one.name]["proxy"] for one in worked})
    sections = [HEAD, f"{len(worked)} programs were restored, with s3veil {', '.join(versions)} (MB: what the storage then had).\n"]
    for group in GROUPS:
        members = [one for one in worked if one.group == group]
        if members:
            sections += [f"## {group}\n", table(members, results) + "\n"]
    failed = [one for one in programs if results.get(one.name, {}).get("outcome") == "failed"]
    if failed:
        sections += ["## What did not work\n", "\n".join(f"* {one.name} {results[one.name]['version']}: {cell(results[one.name]['reason'])}" for one in failed) + "\n"]
    if absent:
        sections += ["## Not tried\n", "Programs that could not be had where this page was made:\n"]
        sections += ["\n".join(f"* {name}: {reason}" for name, reason in absent.items()) + "\n"]
    sections += [RECIPES] + [recipe(one) for group in GROUPS for one in worked if one.group == group]
    PAGE.write_text("\n".join(sections).rstrip("\n") + "\n")
