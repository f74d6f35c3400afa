"""A storage that answers with errors, or carries out what it then does not answer: what a client is told is true, and what it can do about it works."""

import itertools

import pytest

from conftest import new_bucket
from faulty import HANG_UP, Faulty, error
from multiparts import LEAST, Upload, assert_exact, content, refused


@pytest.fixture
def faulty(localstack):
    storage = Faulty(localstack[0])
    yield storage
    storage.stop()


@pytest.fixture
def node(start, real, faulty):
    """Starts a proxy before the faulty storage; every call starts another one."""
    return lambda **upstream: start(real, upstream={"endpoint": faulty.endpoint, **upstream})


UNEVEN = [LEAST + 1, LEAST + 2, 99]
FAILS = {
    "answers 500": {"instead": error(500)},
    "carries it out, and answers 500": {"after": lambda _: error(500)},
    "carries it out, and hangs up": {"after": lambda _: HANG_UP},
}
MOMENTS = {"the last part is sealed anew": r"^PUT .*[?&]partNumber=10000&", "the upload is completed": r"^POST .*[?&]uploadId="}


@pytest.mark.parametrize("again_at", ["the same node", "another node", "the same node after a restart"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("fails", FAILS)
def test_a_storage_that_fails_while_a_resealed_upload_is_completed(node, faulty, fails, moment, again_at):
    """The last part came before the others and was sealed without them. The part that the client sent stays there under its ETag, at every node."""
    first = node(max_retries=0)
    s3 = first.boto()
    bucket = new_bucket(s3)
    one = Upload.start(s3, bucket)
    bodies = {number: content(size, seed=number) for number, size in enumerate(UNEVEN, 1)}
    for number in (3, 1, 2):
        one.send(number, bodies[number])
    fault = faulty.on(MOMENTS[moment], **FAILS[fails])
    assert refused(one.complete)[0] in (500, 503), "a fault of the storage is not the client's"
    assert fault.times == 0, "the fault did not happen"
    if again_at == "another node":
        s3 = node().boto()
    elif again_at != "the same node":
        first.stop()
        first.start()
    if moment == "the upload is completed" and "carries it out" in fails:
        one.complete(s3=s3)
    elif again_at == "the same node":
        one.complete(s3=s3)
    else:
        # Only the first process had what it takes to seal the part again; no other says that the part is not there.
        status, code = refused(one.complete, s3=s3)
        assert (status, code) == (400, "InvalidPart")
        assert [number for number, _ in one.listed(s3=s3)] == [1, 2, 3]
        one.send(3, bodies[3], s3=s3)
        one.complete(s3=s3)
    assert_exact(s3, bucket, b"".join(bodies.values()), list(itertools.accumulate(UNEVEN)))
