"""Megatron's own answers about argument lists; the folder of a 0.19 wheel first on the path.

    PYTHONPATH=WHEEL python answer.py < [{"words": [...], "vocabulary": n, "world": n}, ...]

Reads JSON on stdin and writes JSON on stdout: what Megatron's parser makes of each list, and what
its formulas say of it. Nothing in megatron is changed; what it imports and does not need for this
is stood in for: triton, `typing.override` before Python 3.12, and the generation of the GPU.
"""

import importlib
import importlib.abc
import json
import sys
import typing
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

HOPPER = 9
"""The generation that Megatron's checks are told of: here is no GPU to ask."""


class NoTriton(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers every import of triton with a mock."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return (
            ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "triton" else None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module: Any = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        module.__version__ = "3.0.0"
        return typing.cast("ModuleType", module)

    def exec_module(self, module: ModuleType) -> None: ...


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Parse one list and put its figures beside it."""
    from megatron.training import arguments, theoretical_memory_usage
    from megatron.training.training import num_floating_point_operations

    arguments.get_device_arch_version = lambda: HOPPER
    sys.argv = ["pretrain_gpt.py", *question["words"]]
    args = arguments.parse_args()
    split = args.tensor_model_parallel_size * args.pipeline_model_parallel_size
    args.world_size, args.data_parallel_size = question["world"], question["world"] // split
    arguments.validate_args(args)
    args.padded_vocab_size = question["vocabulary"]
    microbatches = args.global_batch_size // (args.micro_batch_size * args.data_parallel_size)
    memory = theoretical_memory_usage
    return {
        "args": {key: value for key, value in vars(args).items() if _is_plain(value)},
        "state_bytes": memory.compute_weight_and_optimizer_memory(args),
        "activation_bytes": memory.compute_activation_memory(args, microbatches),
        "activation_bytes_without_sp": memory.compute_activation_memory_without_sp(
            args, microbatches
        ),
        "flops": num_floating_point_operations(args, args.global_batch_size),
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float, str, list, type(None)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if not hasattr(typing, "override"):
        typing.override = lambda function: function  # type: ignore[attr-defined]
    importlib.import_module("torch._inductor.select_algorithm")  # asks for triton itself
    sys.meta_path.insert(0, NoTriton())
    told = sys.stdout
    sys.stdout = sys.stderr  # megatron prints what it sets
    answers = [answer(question) for question in json.load(sys.stdin)]
    json.dump(answers, told)
