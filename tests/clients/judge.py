"""What every refusal and every read is held to."""

import os
import re
import time

SETTLE_SECONDS = 1.0
SETTLING = []


def assert_refused(answer, status, code):
    """The S3 error, complete: status, code, message and request id, as clients show them."""
    statuses = status if isinstance(status, tuple) else (status,)
    codes = code if isinstance(code, tuple) else (code,)
    assert (answer.status in statuses) and (answer.code in codes), (answer.status, answer.code, answer.body[:500])
    assert answer.message, "an error must say why"
    assert answer.text_of("RequestId"), "an error must name its request"
    assert answer.headers.get("content-type", "").startswith("application/xml")


def assert_code(answer, status, code):
    """The status and the S3 code of an error that the storage may have made: its document is no XML where a key is none."""
    statuses = status if isinstance(status, tuple) else (status,)
    codes = code if isinstance(code, tuple) else (code,)
    found = re.search(rb"<Code>(\w+)</Code>", answer.body)
    assert answer.status in statuses and found and found.group(1).decode() in codes, (answer.status, answer.body[:500])


def assert_nothing_stored(store, bucket):
    """No object, whole or partial, and no upload in progress; none may appear a moment later either, which is looked at while
    other tests run (`appeared_late`). For a bucket that nothing is stored in afterwards, and a proxy that outlives the test."""
    assert store.keys(bucket) == []
    SETTLING.append((time.monotonic() + SETTLE_SECONDS, store, bucket, os.environ.get("PYTEST_CURRENT_TEST")))


def assert_nothing_comes(store, bucket):
    """As `assert_nothing_stored`, for a bucket that is used again: waits for the moment to pass."""
    assert store.keys(bucket) == []
    time.sleep(SETTLE_SECONDS)
    assert store.keys(bucket) == []


def appeared_late(wait):
    """What is in buckets that `assert_nothing_stored` found empty, [(test, bucket, keys), ...]; of those whose moment has passed,
    or with `wait` of all."""
    found = []
    while SETTLING and (wait or SETTLING[0][0] <= time.monotonic()):
        due, store, bucket, test = SETTLING.pop(0)
        time.sleep(max(0, due - time.monotonic()))
        if keys := store.keys(bucket):
            found.append((test, bucket, keys))
    return found


def assert_not_stored(store, bucket):
    """As above, for a request that was answered: what was refused is refused, without waiting."""
    assert store.keys(bucket) == []


def assert_fails_closed(answer, plaintext):
    """An error, or a connection that broke after true bytes: nothing wrong, and nothing short that looks whole."""
    if answer.status in (200, 206):
        assert answer.broken, "a complete answer to a read that must fail: this is a security issue"
        assert plaintext.startswith(answer.body), "bytes were released that nobody wrote: this is a security issue"
        assert len(answer.body) < len(plaintext)
    else:
        assert answer.status >= 400
        assert answer.code, answer.body[:300]
        assert not plaintext or plaintext not in answer.body
