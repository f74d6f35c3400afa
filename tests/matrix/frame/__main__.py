"""scripts/matrix: programs that speak S3, each by a restore."""

import argparse
import datetime
import importlib
import pkgutil
import shutil
import sys
import time

import programs
from frame import content, page, server, storage
from frame.installs import Missing
from frame.places import WORK
from frame.program import BUCKET, Bench, log_ends, require_user
from programs.absent import ABSENT


def every_program():
    """Those that the modules of `programs` name, in the order of their names."""
    found = []
    for module in pkgutil.walk_packages(programs.__path__, "programs."):
        found += getattr(importlib.import_module(module.name), "PROGRAMS", [])
    return sorted(found, key=lambda one: one.name.lower())


def run(program):
    """Installs and runs one program; its result as the page needs it."""
    for install in program.installs:
        install.install()
    if program.user:
        require_user(program.user)
    result = {"name": program.name, "fingerprint": program.fingerprint(), "version": versions(program)}
    result |= {"proxy": server.version(), "date": datetime.date.today().isoformat()}
    bench = Bench(program)
    try:
        with bench:
            bench.script(program.setup, "setup")
            bench.store_through_a_kill()
            bench.script(program.restore, "restore")
            restored = content.assert_same(bench.source, bench.restored)
            if bench.storage:
                looked = bench.storage.look(BUCKET)
        if not bench.storage:
            looked = storage.look(bench.server.directory)
    except Exception as error:
        result |= {"outcome": "failed", "reason": f"{type(error).__name__}: {str(error)[-400:]}"}
        print(f"{error}\n{log_ends(bench.directory)}", file=sys.stderr)
    else:
        result |= {"outcome": "restored", "restored": restored, "stored": looked.bytes, "objects": looked.objects, "with_marker": looked.with_marker}
        result |= {"attempts": bench.attempts, "killed_after": bench.relay.killed["bytes"], "killed_in": bench.relay.killed["request"]}
        shutil.rmtree(bench.directory, ignore_errors=True)
    return result


def versions(program):
    """That of the program, and those of what it was used with."""
    first, *others = program.installs
    return ", ".join([first.version(), *(f"{other.label()} {other.version()}" for other in others)])


def chosen(arguments, every):
    names = {one.name.lower(): one for one in every}
    if arguments in ([], ["full"]):
        return every
    if arguments == ["quick"]:
        return [one for one in every if one.quick]
    unknown = [name for name in arguments if name.lower() not in names]
    if unknown:
        raise SystemExit(f"scripts/matrix: unknown: {', '.join(unknown)}; there are: {', '.join(names)}")
    return [names[name.lower()] for name in arguments]


def main():
    parser = argparse.ArgumentParser(prog="scripts/matrix", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="quick|full|NAME", help="a third of the programs, all (the default), or those named")
    parser.add_argument("--write", action="store_true", help="write docs/WORKS_WITH.md from this run and those kept in .work/matrix/results")
    parser.add_argument("--list", action="store_true", help="name the programs and do nothing")
    arguments = parser.parse_args()
    every = every_program()
    if arguments.list:
        print("\n".join(f"{'quick' if one.quick else 'full '} {one.name}" for one in every))
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    failed, skipped, restored = [], {}, 0
    for one in chosen(arguments.what, every):
        start = time.monotonic()
        try:
            result = run(one)
        except Missing as reason:
            skipped[one.name] = str(reason)
            page.result_path(one.name).unlink(missing_ok=True)
            print(f"skipped   {one.name}: {reason}", flush=True)
            continue
        page.keep(result)
        seconds = time.monotonic() - start
        if result["outcome"] == "restored":
            restored += 1
            by = "went on" if result["attempts"] == 1 else "run again"
            print(f"restored  {one.name} {result['version']}: {result['restored'] / 1e6:.1f} MB, {result['objects']} objects "
                  f"({result['with_marker']} with the marker), killed after {result['killed_after'] / 1e6:.1f} MB ({result['killed_in'] or 'TLS'}), "
                  f"{by}, {seconds:.0f} s", flush=True)  # fmt: skip
        else:
            failed.append(one.name)
            print(f"FAILED    {one.name} {result['version']}: {result['reason']}", flush=True)
    if arguments.write:
        page.write(every, {**ABSENT, **skipped})
    print(f"{restored} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
