"""What the tests of packaging share."""

import pytest

from support import Node


@pytest.fixture
def nodes(tmp_path):
    """Two nodes of one storage and one keyring, which serve."""
    shared = tmp_path / "shared"
    shared.mkdir()
    made = []
    for name in ("a", "b"):
        made.append(Node(tmp_path / name, shared))
        made[-1].start()
    yield made
    for node in made:
        node.kill()
