"""torchrun whose last word is the error of the rank that failed.

`python -m megatron_music.train.torchrun` takes torchrun's arguments. When a rank ends with an
error, torchrun adds thirty lines to the one that says what is wrong, and exits with 1. Here it
says no more, unless a rank was killed, and exits with the rank's own code.
"""

import logging
import os
import signal
import sys

_TELLTALES = (
    "torch.distributed.run",
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.elastic.multiprocessing.api",
)


def main() -> int:
    """Run torchrun; return the exit code of the rank that failed first, 0 when none did."""
    try:
        if os.environ.get("MEGATRON_MUSIC_DEBUG"):
            from torch.distributed.run import main as torchrun

            torchrun()
            return 0
        code = _first_exit_code()
    except KeyboardInterrupt:
        # No rank has been started: once there are any, torchrun handles the signal.
        print("interrupted", file=sys.stderr)
        code = -signal.SIGINT
    return code if code >= 0 else 128 - code


def _first_exit_code() -> int:
    """Run torchrun in silence; return the first failed rank's code, negative for a signal."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    for name in _TELLTALES:
        logging.getLogger(name).addFilter(lambda _: False)
    try:
        torchrun()
    except ChildFailedError as fault:
        _, failure = fault.get_first_failure()
        code = int(failure.exitcode)
        if message := exit_message(code):
            print(message, file=sys.stderr)
        return code
    except SignalException as fault:
        return -int(fault.sigval)
    return 0


def exit_message(exit_code: int) -> str:
    """Return what is left to say of a rank by its exit code: nothing where it spoke itself."""
    if exit_code >= 0:
        return ""
    cure = "; was there too little memory?" if exit_code == -signal.SIGKILL else ""
    name = signal.Signals(-exit_code).name
    return f"error: a process of this run was killed by {name} (exitcode: {exit_code}){cure}"


if __name__ == "__main__":
    sys.exit(main())
