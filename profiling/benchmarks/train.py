"""Training speed beside Hugging Face's Trainer and a plain torch loop, in one run: `make bench`.

    python profiling/benchmarks/train.py [--data data/bach] [--rounds 3] [-o FILE.md]
    python profiling/benchmarks/train.py --recipe article --precision bf16 model.seq_length=1024

Without --recipe: `tiny` on a CPU, `article` and `profile-medium` on a GPU.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from machine import describe, load_average
from measure import Cost, attempt
from rich.console import Console
from train_case import COMPILED, ENGINE, WARMUP, WAYS, Case
from train_table import markdown

from megatron_music.config import load_recipe
from megatron_music.costs.flops import recipe_shape
from megatron_music.errors import MusicError
from megatron_music.files import write_text
from megatron_music.threads import wait_briefly
from megatron_music.tokenizer.vocabulary import load_vocabulary
from megatron_music.train.choices import Device, cpu, gpu

PACKAGES = ("torch", "megatron-core", "transformers", "accelerate", "transformer-engine")

PEERS_ALIKE = ("model.structural_inputs=[]", "train.optimizer=adam")
"""What the plain loops train is plain GPT-2 with Adam."""


def main() -> None:
    arguments = _arguments()
    wait_briefly()  # all of them alike
    console = Console(stderr=True)
    device = _device()
    precisions = arguments.precision or [
        precision
        for precision in (("bf16",) if device.is_cuda else ("fp32", "bf16"))
        if precision in device.precisions
    ]
    recipes = arguments.recipe or (["article", "profile-medium"] if device.is_cuda else ["tiny"])
    try:
        cases = [_case(name, arguments) for name in recipes]
    except MusicError as fault:
        sys.exit(f"error: {fault}")
    cores = sorted(os.sched_getaffinity(0))
    threads = arguments.threads or len(cores)
    machine = describe(PACKAGES, gpu=device.name if device.is_cuda else "")
    page = ""
    for turn, case, precision, way in _in_order(arguments.rounds, cases, precisions):
        cost = _measure(way, precision, case, arguments, threads)
        case.take(way, precision, cost)
        told = cost.get("missing") or f"{cost['step_s'] * 1e3:,.1f} ms a step"
        console.print(f"{case.name} {precision} {way}: {told}", highlight=False)
        measured, rounds = [case for case in cases if case.costs], f"{turn} of {arguments.rounds}"
        page = markdown(measured, machine, threads, load_average(), rounds, sys.argv[1:])
        if (
            arguments.output
        ):  # after each way, so that a benchmark that is stopped keeps its figures
            write_text(arguments.output, page)
    print(page)
    if arguments.output:
        console.print(f"written to {arguments.output}")


def _in_order(
    rounds: int, cases: list[Case], precisions: list[str]
) -> Iterator[tuple[int, Case, str, str]]:
    """Yield round, case, precision and way; every other round backwards: none is always first."""
    for turn in range(rounds):
        ways = list(WAYS)[:: -1 if turn % 2 else 1]
        for case, precision, way in product(cases, precisions, ways):
            yield turn + 1, case, precision, way


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", action="append", help="what to train, else by the device")
    parser.add_argument("--data", type=Path, default=Path("data/bach"), help="a data set folder")
    parser.add_argument("--precision", action="append", help="fp32 or bf16, else what there is")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--iterations", type=int, default=20, help="measured ones of each process")
    parser.add_argument("--threads", type=int, help="of each process, else one a core")
    parser.add_argument("-o", "--output", type=Path, help="write the page there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in train.lr=1e-3")
    arguments = parser.parse_args()
    arguments.overrides = [*PEERS_ALIKE, *arguments.overrides]
    return arguments


def _device() -> Device:
    if not torch.cuda.is_available():
        return cpu()
    return gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability())


def _case(name: str, arguments: argparse.Namespace) -> Case:
    recipe = load_recipe(name, arguments.overrides)
    vocabulary = load_vocabulary(arguments.data / "tokenizer")
    return Case(name, recipe, recipe_shape(recipe, len(vocabulary)))


def _measure(
    way: str, precision: str, case: Case, arguments: argparse.Namespace, threads: int
) -> Cost:
    if way == COMPILED and not torch.cuda.is_available() and not shutil.which("g++"):
        return {"missing": "no C++ compiler here"}
    words = [*arguments.overrides, f"train.precision={precision}"]
    words.append(f"train.train_iters={WARMUP + arguments.iterations}")
    cores = tuple(os.sched_getaffinity(0))
    cost = attempt(*WAYS[way], case.name, str(arguments.data), *words, cores=cores, threads=threads)
    if "missing" in cost and way == ENGINE:
        sys.exit(f"error: {cost['missing']}")
    return cost


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what was measured is in the page of -o")
