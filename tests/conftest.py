"""Fixtures that tests of several folders share."""

import pytest
from support import readme_file


@pytest.fixture(scope="session")
def plain_space(tmp_path_factory):
    """Path of the README's example of a search space of one's own: 18 small networks that train in a second."""
    path = tmp_path_factory.mktemp("space") / "plain_space.py"
    path.write_text(readme_file("plain_space.py"))
    return path
