"""What all tests share."""

import os
from contextlib import ExitStack

import pytest
from hypothesis import settings

from megatron_music.omp import set_omp_wait_policy
from tests import warm

set_omp_wait_policy()  # several processes of these tests share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run: what passed once fails only where the code changed. To look for
# new ones: pytest --hypothesis-profile=random.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("steady")

LONGEST = "test_notebooks.py"
_SESSION = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start the one server that loads torch for the programs of all workers."""
    if not hasattr(config, "workerinput"):
        _SESSION.enter_context(warm.server())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that all workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != LONGEST, item.path not in slow))


def pytest_unconfigure() -> None:
    """End the server."""
    _SESSION.close()
