"""Keep the terminal for our own lines: the one place that silences Megatron's start-up remarks."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTY_LOGGERS = ("megatron", "torch.distributed", "transformer_engine", "py.warnings")


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings of megatron, torch and gloo while open, unless the user debugs."""
    if os.environ.get("MEGATRON_MUSIC_DEBUG"):
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("GLOO_LOG_LEVEL", "ERROR")
    levels = {name: logging.getLogger(name).level for name in _CHATTY_LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
