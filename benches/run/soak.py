"""Everything at once for a long time: with clients that go away and a store that resets, while memory and descriptors are watched."""

import json
import subprocess
import time
import urllib.request

from measure import tool
from peers import opener

FAULTS_PER_MILLION = 3000
SAMPLE_SECONDS = 2
# Flat: not more at the end than this beside what it was after the first tenth.
MORE_MIB, MORE_DESCRIPTORS = 24, 32


def soak(peers, seconds):
    """Runs it; what came of it, with a list of what is not as it should be."""
    peer = peers.s3veil("s3veil-soak")
    peer.bucket = "faulty-soak"
    ask = lambda path: opener().open(urllib.request.Request(f"http://{peers.store.address}{path}"), timeout=10).read()
    ask(f"/-/faults?{FAULTS_PER_MILLION}")
    before = peers.store_counts()["requests"].get("cut", 0)
    driver = subprocess.Popen(tool(peers.binaries, "soak", peer, seconds=seconds, connections=32), stdout=subprocess.PIPE, text=True)
    begun, samples = time.monotonic(), []
    while driver.poll() is None and time.monotonic() - begun < seconds + 180:
        samples.append((time.monotonic() - begun, peer.resident_mib(), peer.descriptors()))
        if len(samples) % 15 == 1:
            print(f"  {samples[-1][0]:5.0f} s  {samples[-1][1]:6.1f} MiB  {samples[-1][2]} descriptors", flush=True)
        time.sleep(SAMPLE_SECONDS)
    if driver.poll() is None:
        driver.kill()
    result = json.loads(driver.communicate()[0] or "{}")
    if not result:
        raise SystemExit("the soak's driver did not come to its end")
    result["cut"] = peers.store_counts()["requests"].get("cut", 0) - before
    early = [sample for sample in samples if seconds * 0.1 <= sample[0] <= seconds * 0.3] or samples
    late = [sample for sample in samples if seconds * 0.8 <= sample[0] <= seconds] or samples
    highest = lambda part, what: max(sample[what] for sample in part)
    result |= {"mib_early": highest(early, 1), "mib_late": highest(late, 1), "fds_early": highest(early, 2), "fds_late": highest(late, 2)}
    result["samples"] = [[round(at, 1), round(mib, 1), descriptors] for at, mib, descriptors in samples]
    result["faults"] = faults(result)
    return result


def faults(result):
    found = []
    if result["wrong"]:
        found.append(f"{result['wrong']} answers were wrong, the first: {result['first_wrong']}")
    if not result["verified"] or not result["abandoned"] or not result["cut"]:
        found.append("nothing was read, given up or cut, so nothing is shown")
    if result["mib_late"] > result["mib_early"] + MORE_MIB:
        found.append("the resident memory grew")
    if result["fds_late"] > result["fds_early"] + MORE_DESCRIPTORS:
        found.append("the file descriptors grew")
    return found


def sentence(result):
    return (f"{result['seconds']:.0f} seconds of everything at once, with clients that go away in the middle ({result['abandoned']:,} times) and a store "
            f"that resets ({result['cut']:,} times): {result['done']:,} operations, {result['failed']:,} of which failed for it; {result['verified']:,} objects and ranges "
            f"read back and compared, {result['wrong']} wrong. Resident memory at most {result['mib_early']:.0f} MiB in the second and third tenth and "
            f"{result['mib_late']:.0f} MiB in the last two, file descriptors {result['fds_early']} and {result['fds_late']}.")
