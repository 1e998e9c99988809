"""`train --estimate`: what a run will cost, told to a person and to a program, without torch."""

import json
import re

import pytest

from megatron_music.tokenizer.vocabulary import TokenizerSettings, save_settings
from tests.cli.program import Program
from tests.code import run_code

V100 = "Tesla V100-SXM3-32GB"


def test_an_estimate_shows_parts_totals_and_days(program: Program) -> None:
    told = program("train", "musenet", "--estimate", "--device", "NVIDIA H200", "--gpus", "8")
    rows = dict(line.split("  ", 1) for line in told.stdout.splitlines() if line.strip())
    assert rows["parameters"].strip().startswith("2,052.08 M")
    for part in ("weights", "gradients", "optimizer", "activations"):
        assert f"  {part} " in told.stdout
    assert "(model_causal)" in told.stdout
    assert "NVIDIA H200: fits" in told.stdout
    assert "assuming 35% of 989 TFLOP/s a GPU" in told.stdout


def test_a_program_gets_the_figures(program: Program) -> None:
    words = ["train", "article", "--estimate", "--json", "--device", V100, "--gpus", "8"]
    told = json.loads(program(*words, "--utilisation", "0.5").stdout)
    memory, placed = told["memory_bytes"], told["on_device"]
    parts = ("weights", "gradients", "optimizer", "activations")
    assert memory["total"] == pytest.approx(sum(memory[part] for part in parts))
    assert told["precision"] == "fp16"  # what auto means on this device
    rate = 8 * 125e12 * 0.5 / told["flops_per_iteration"]
    assert placed["days"] == pytest.approx(50_000 / rate / 86_400)
    assert told["tokens"] == 50_000 * 64 * 2048


def test_epochs_are_counted_of_each_folder(program: Program) -> None:
    for name, tokens in (("a", 512_000), ("b", 256_000)):
        save_settings(TokenizerSettings(), program.folder / name / "tokenizer")
        (program.folder / name / "train.bin").write_bytes(bytes(2 * tokens))
    words = ["train", "tiny", "--estimate", "--data", "a:0.5", "--data", "b:0.5"]
    told = json.loads(program(*words, "--json", "train.train_iters=1000").stdout)
    assert told["tokens"] == 2_048_000
    assert told["epochs"] == {"a": 2.0, "b": 4.0}
    assert "2.0 of a, 4.0 of b" in program(*words, "train.train_iters=1000").stdout


def test_an_estimate_has_a_fitting_unit_of_time_and_names_further_options(
    program: Program,
) -> None:
    told = program("train", "tiny", "--estimate").stdout
    assert re.search("epochs +give --data DIR", told)
    assert re.search("time +give --device NAME, as in --device 'NVIDIA H200'", told)
    words = ["train", "article", "--estimate", "--device", "NVIDIA H200"]
    assert re.search(r"time +48\.\d minutes", program(*words).stdout)
    assert re.search(r"time +3\.\d hours", program(*words, "train.train_iters=200000").stdout)
    told = program("train", "profile-large", "--estimate", "--device", V100, "--depth", "48")
    assert f"{V100}: does NOT fit" in told.stdout


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys; sys.argv = ['megatron-music', 'train', 'article', '--estimate']\n"
        "from megatron_music.cli.app import app\n"
        "app(standalone_mode=False); print(*sys.modules)"
    )
    assert not {"torch", "megatron", "transformers"} & set(run_code(code).stdout.split())
