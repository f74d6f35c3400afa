"""What every refusal and every read is held to."""

import re
import time

SETTLE_SECONDS = 1.0


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
    """No object, whole or partial, and no upload in progress; it may not appear a moment later either."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        assert store.keys(bucket) == []
        time.sleep(SETTLE_SECONDS / 5)


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
