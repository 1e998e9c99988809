"""Workers of a Ray cluster: each call is a task, and may die without harm to others.

RAY_ADDRESS names the cluster; without it a cluster on this machine is used, or started. All nodes
need this package in the same place, and the source and the data set on a shared file system.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

from megatron_music.data.workers.limits import WorkerDied, mark_worker
from megatron_music.errors import DataError, MissingError

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class RayWorkers:
    """Up to `count` tasks at once on a Ray cluster; None for twice as many as it has cores."""

    local = False

    def __init__(self, count: int | None = None) -> None:
        if find_spec("ray") is None:
            raise MissingError(
                "Ray is not installed; pip install 'megatron-music[ray]', or use --backend local"
            )
        self.count = count

    def run(self, work: Callable[[_Given], _Made], arguments: Sequence[_Given]) -> Iterator[_Made]:
        """Yield what `work` makes of each argument, in any order; raises WorkerDied at the end."""
        import ray

        if not ray.is_initialized():
            try:
                ray.init(log_to_driver=False, logging_level="error")
            except ConnectionError as fault:
                address = os.environ.get("RAY_ADDRESS", "the address that Ray remembers")
                raise DataError(
                    f"no Ray cluster answers at {address}; start one with `ray start --head`, "
                    "or `ray stop` and unset RAY_ADDRESS to have one started here"
                ) from fault
        # Without a limit, twice as many as there are cores: the next waits where it will be run.
        most = self.count or 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        task: Any = ray.remote(num_cpus=1, max_retries=0)(_call)
        function = ray.put(work)
        coming = iter(arguments)
        running: set[Any] = set()
        # Other tasks continue when one dies: their shards need not be made again.
        died = False
        while True:
            for argument in coming:
                running.add(task.remote(function, argument))
                if len(running) >= most:
                    break
            if not running:
                break
            [done], _ = ray.wait(list(running), num_returns=1)
            running.remove(done)
            try:
                yield _result(done)
            except WorkerDied:
                died = True
        if died:
            raise WorkerDied

    def survives(self, work: Callable[[_Given], _Made], argument: _Given) -> bool:
        """Carry out one call in another process; return False if it ends that process."""
        try:
            list(self.run(work, [argument]))
        except WorkerDied:
            return False
        return True


def _call(work: Callable[[_Given], _Made], argument: _Given) -> _Made:
    mark_worker()
    return work(argument)


def _result(done: Any) -> Any:
    """Return what a task made, or raise what it raised as it was; WorkerDied if it did not end."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(done)
    except RayTaskError as fault:
        raise fault.cause from None
    except RayError as fault:  # of the process, its node or its memory
        raise WorkerDied from fault
