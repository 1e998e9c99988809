"""The training benchmark compares one model with itself, and its arithmetic is that of a person."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_music.config import load_recipe
from megatron_music.costs.flops import model_causal, recipe_shape
from tests.profiling.test_benchmarks import BENCHMARKS, module
from tests.train.conftest import data

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

__all__ = ["data", "module"]

SMALL = ["model.num_layers=2", "model.hidden_size=64", "model.seq_length=128"]


def test_the_plain_model_is_hugging_faces(module: Any) -> None:
    shape, size = load_recipe("tiny", SMALL).model, 100
    config = transformers.GPT2Config(
        vocab_size=size, n_positions=128, n_embd=64, n_layer=2, n_head=4, embd_pdrop=0.0,
        attn_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config)
    plain = module("train").PlainGpt(shape, size)
    weights = zip(plain.named_parameters(), theirs.transformer.parameters(), strict=True)
    with torch.no_grad():
        for (name, ours), weight in weights:
            # GPT-2's linear layers are [in, out].
            is_turned = weight.dim() == 2 and name.startswith("blocks")
            ours.copy_(weight.t() if is_turned else weight)
    tokens = torch.randint(size, (3, 65), generator=torch.Generator().manual_seed(0))
    labels = tokens[:, 1:].contiguous()
    expected = theirs(tokens[:, :-1], labels=labels, shift_labels=labels).loss
    assert plain(tokens[:, :-1], labels).item() == pytest.approx(expected.item(), abs=1e-5)


def test_windows_are_the_files_tokens_and_their_successors(module: Any, data: Path) -> None:
    import numpy as np

    recipe = load_recipe("tiny", SMALL)
    draw = module("train").windows(data / "train.bin", np.dtype(np.uint16), recipe)
    tokens, labels = draw()
    written = np.fromfile(data / "train.bin", np.uint16).tobytes()
    assert tokens.shape == labels.shape == (recipe.train.micro_batch_size, 128)
    for row, successors in zip(tokens.numpy(), labels.numpy(), strict=True):
        window = np.append(row, successors[-1]).astype(np.uint16)
        assert (row[1:] == successors[:-1]).all()
        assert window.tobytes() in written


def test_ratios_and_utilisation_are_those_of_the_figures(module: Any) -> None:
    bench = module("train")
    recipe = load_recipe("article", ["train.global_batch_size=8"])
    costs: dict[Any, Any] = {}
    engine, trainer, plain, compiled = names = bench.WAYS
    for way, step_s in ((engine, 0.02), (engine, 0.016), (trainer, 0.064), (plain, 0.032)):
        bench.take(costs, way, "bf16", {"step_s": step_s, "loss": 3.0})
    bench.take(costs, compiled, "bf16", {"missing": "no C++ compiler here"})
    page = bench.section("article", recipe, 425, costs, "NVIDIA H100 80GB HBM3")
    tflops = model_causal(recipe_shape(recipe, 425)) / 0.016 / 1e12
    assert f"| {names[engine]} | bf16 | 16.0 | 1,024,000 | 2.00 | {tflops:.3g} |" in page
    assert f"| {tflops / 989:.1%} | 3.000 |" in page
    assert f"| {names[trainer]} | bf16 | 64.0 | 256,000 | 0.50 |" in page
    assert f"| {names[compiled]} | bf16 | no C++ compiler here |" in page


def test_a_benchmark_that_is_stopped_keeps_what_it_has_measured(
    module: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, page, measured = module("train"), tmp_path / "page.md", []

    def cost(way: str, *_: object) -> dict[str, float]:
        measured.append(way)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return {"step_s": 0.5, "loss": 3.0}

    monkeypatch.setattr(train, "measure", cost)
    words = ["--recipe", "article", "--precision", "fp32", "--data", str(data), "-o", str(page)]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    with pytest.raises(KeyboardInterrupt):
        train.main()
    text = page.read_text()
    assert "1 of 3 rounds" in text
    assert [train.WAYS[way] in text.partition("##")[2] for way in measured] == [True, True, False]


@pytest.mark.slow
def test_one_run_times_every_way_on_the_same_data(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words = ["--data", str(data), "--rounds", "1", "--iterations", "2", "--precision", "fp32"]
    words += ["--threads", "1", "-o", str(page), *SMALL]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "train.py"), *words],
        env=os.environ | {"PATH": ""},  # no compiler: what it would cost is no matter here
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert done.stdout == f"{text}\n"
    rows = {
        line.split("|")[1].strip(" *"): line.split("|")
        for line in text.splitlines()
        if line.startswith("|")
    }
    losses = [float(rows[way][-2]) for way in ("megatron_music", "Hugging Face's Trainer")]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    assert float(rows["plain torch"][4].replace(",", "")) > 0
    assert "no C++ compiler here" in rows["plain torch, compiled"][3]
