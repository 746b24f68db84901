"""A parent for judges whose children inherit."""

import pytest
from parent_support import write_parent


@pytest.fixture(scope="session")
def parent(tmp_path_factory):
    """The folder of a small trained network, and its description."""
    folder = tmp_path_factory.mktemp("parent") / "net"
    return folder, write_parent(folder)
