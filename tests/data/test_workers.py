"""Processes that load while something else is done are those that work later."""

import os
import signal

import psutil
import pytest

from megatron_music.data.workers import LocalWorkers, start_workers


def process(_: int) -> int:
    return os.getpid()


def interrupts_meet(_: int) -> bool:
    """Tell whether Ctrl-C would reach this process."""
    held_back = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return not held_back and signal.getsignal(signal.SIGINT) != signal.SIG_IGN


@pytest.mark.slow
def test_workers_that_were_started_early_do_the_work() -> None:
    start_workers("local", 2)
    early = {child.pid for child in psutil.Process().children()}
    assert set(LocalWorkers(2).run(process, range(4))) <= early
    assert not any(LocalWorkers(2).run(interrupts_meet, range(4)))
    assert interrupts_meet(0)


def test_one_worker_is_this_process() -> None:
    before = psutil.Process().children()
    start_workers("local", 1)
    assert psutil.Process().children() == before
    assert list(LocalWorkers(1).run(process, range(2))) == [os.getpid()] * 2
