"""What a CPU does in a GPU's place."""

import sys

import pytest

from tests import warm

pytest.importorskip("torch")
pytest.importorskip("megatron.core")

FAULTS_OF_TWO_LARGE_TENSORS = """
import resource
from megatron_music.train.cpu import keep_freed_memory

def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

import torch
keep_freed_memory()
faults(2)
print(faults(20))
"""


def test_memory_that_was_freed_is_there_for_the_next_iteration() -> None:
    ran = warm.run([sys.executable, "-c", FAULTS_OF_TWO_LARGE_TENSORS])
    assert int(ran.stdout) < 100  # each anew: 1,024 pages a tensor
