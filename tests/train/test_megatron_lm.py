"""The argument list for stock Megatron-LM, as Megatron's own parser and checks understand it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_music.config import load_recipe
from megatron_music.errors import UsageError
from megatron_music.tokenizer.huggingface import loads_in_megatron
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from megatron_music.train.blend import Blend, parse_blend
from megatron_music.train.megatron_lm import WITHOUT_APEX, megatron_lm_arguments
from tests.reference.cases import CASES, DATA, RUN, Case, answers
from tests.train.conftest import execute, launch, write_data, write_pieces

PLAIN = "model.structural_inputs=[]"

SECTIONS = {
    "model": ("num_layers", "hidden_size", "num_attention_heads", "seq_length", "hidden_dropout"),
    "parallel": ("tensor_model_parallel_size", "pipeline_model_parallel_size"),
    "train": ("train_iters", "micro_batch_size", "global_batch_size", "lr", "min_lr", "clip_grad"),
}


def understood(case: Case) -> dict[str, Any]:
    return dict(answers()[case]["args"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_megatron_understands_the_recipe(case: Case) -> None:
    args = understood(case)
    for section, names in SECTIONS.items():
        wanted = getattr(case.recipe, section)
        assert {name: args[name] for name in names} == {n: getattr(wanted, n) for n in names}
    assert args["max_position_embeddings"] == case.recipe.model.seq_length
    assert args["ffn_hidden_size"] == 4 * case.recipe.model.hidden_size
    assert args["bf16"] is True
    assert args["bias_gelu_fusion"] is True  # the tanh form
    assert args["untie_embeddings_and_output_weights"] is False
    assert args["lr_decay_style"] == "cosine"
    assert args["train_data_path"] == [str(DATA / "train")]
    assert args["tokenizer_type"] == "HuggingFaceTokenizer"
    assert args["tokenizer_model"] == str(DATA / "tokenizer")
    assert args["save"] == str(RUN / "megatron_lm")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_vocabulary_is_padded_alike_at_every_tensor_parallel_size(case: Case) -> None:
    args = understood(case)
    assert args["make_vocab_size_divisible_by"] * args["tensor_model_parallel_size"] == 128


@pytest.mark.slow
def test_the_launcher_hands_megatron_the_list_and_what_follows_two_dashes(
    data: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "Megatron-LM"
    clone.mkdir()
    (clone / "pretrain_gpt.py").write_text("import sys; print(*sys.argv[1:], sep='\\n')")
    done = launched(data, "--", "--log-throughput", MEGATRON_LM=str(clone), NPROC="1")
    assert done.returncode == 0, done.stderr
    recipe = load_recipe("tiny", [PLAIN])
    run = Path.cwd() / "runs" / "scales-tiny"
    words = megatron_lm_arguments(recipe, Blend.of(data), run, "local", has_apex=False)
    assert done.stdout.splitlines() == [*words, "--log-throughput"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clone", "told"), [("", "MEGATRON_LM is not set"), ("/nowhere", "no /nowhere/pretrain_gpt.py")]
)
def test_the_launcher_says_what_it_lacks(data: Path, clone: str, told: str) -> None:
    done = launched(data, MEGATRON_LM=clone)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.slow
def test_a_clone_for_another_python_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pretrain_gpt.py").touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=4.1"\n')
    done = launched(data, MEGATRON_LM=str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} needs Python >=4.1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_data_set_of_an_earlier_version_is_given_a_tokenizer_that_megatron_loads(
    tmp_path: Path,
) -> None:
    data = write_data(tmp_path / "data", {"train": 20, "valid": 5})
    tokenizer = data / "tokenizer" / "tokenizer.json"
    words = json.loads(tokenizer.read_text())
    del words["model"]["unk_token"]
    tokenizer.write_text(json.dumps(words))
    before = tokenizer.read_bytes()
    command = launch(1, "train", "tiny", "--data", str(data), "--run-dir", str(tmp_path / "run"))
    done = execute(*command, PLAIN, "--megatron-lm-args")
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    folder = Path(given[given.index("--tokenizer-model") + 1])
    assert folder == tmp_path / "run" / "megatron_lm" / "tokenizer"
    assert "of an earlier version" in done.stderr
    assert loads_in_megatron(folder)
    assert tokenizer.read_bytes() == before  # runs know their data by its manifest


def launched(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[2] / "launch" / "megatron_lm.sh"
    return subprocess.run(
        [str(script), "tiny", "--data", str(data), PLAIN, *arguments],
        env=os.environ | {"MUSIC_PYTHON": sys.executable, "MASTER_PORT": "29611"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_local_layers_ask_for_apex_only_where_it_is() -> None:
    def words(implementation: str, has_apex: bool) -> set[str]:
        place = (Blend.of(Path("d")), Path("r"), implementation)
        return set(megatron_lm_arguments(load_recipe("tiny", [PLAIN]), *place, has_apex=has_apex))

    assert words("local", has_apex=False) - words("local", has_apex=True) == {*WITHOUT_APEX}
    assert words("transformer_engine", has_apex=False).isdisjoint(WITHOUT_APEX)


def test_without_evaluation_no_validation_set_is_named() -> None:
    words = megatron_lm_arguments(load_recipe("profile-small"), Blend.of(Path("d")), Path("r"))
    assert "--train-data-path" in words
    assert "--valid-data-path" not in words


@pytest.mark.parametrize(
    ("overrides", "present", "absent"),
    [
        (["train.precision=fp16"], {"--fp16", "--initial-loss-scale"}, {"--bf16"}),
        (["train.precision=fp32"], set(), {"--fp16", "--bf16"}),
        (
            ["parallel.use_distributed_optimizer=true"],
            {"--use-distributed-optimizer", "--overlap-grad-reduce", "--overlap-param-gather"},
            set(),
        ),
        (
            ["parallel.use_distributed_optimizer=true", "parallel.overlap_grad_reduce=false"],
            {"--use-distributed-optimizer"},
            {"--overlap-grad-reduce", "--overlap-param-gather"},
        ),
        (["parallel.tensor_model_parallel_size=2"], {"--sequence-parallel"}, set()),
        ([], set(), {"--sequence-parallel"}),
    ],
)
def test_flags_follow_the_recipe(overrides: list[str], present: set[str], absent: set[str]) -> None:
    words = set(
        megatron_lm_arguments(load_recipe("article", overrides), Blend.of(Path("d")), Path("r"))
    )
    assert present <= words
    assert not absent & words


def test_stock_local_layers_have_no_norms_for_sequence_parallel() -> None:
    recipe = load_recipe("article", ["parallel.tensor_model_parallel_size=2"])
    words = megatron_lm_arguments(recipe, Blend.of(Path("d")), Path("r"), "local")
    assert "--sequence-parallel" not in words


def test_a_blend_is_what_megatron_takes_for_one() -> None:
    utils = pytest.importorskip("megatron.core.datasets.utils")
    blend = parse_blend(["data/a:3", "data/b:1"])
    words = megatron_lm_arguments(load_recipe("tiny", [PLAIN]), blend, Path("r"))
    for split in ("train", "valid", "test"):
        first = words.index(f"--{split}-data-path") + 1
        found = utils.get_blend_from_list(words[first : first + 4])
        assert found == ([f"data/a/{split}", f"data/b/{split}"], [0.75, 0.25])
    assert words[words.index("--tokenizer-model") + 1] == "data/a/tokenizer"


def test_whole_pieces_are_refused_with_what_writes_windows(tmp_path: Path) -> None:
    folder = write_pieces(tmp_path / "set", {"train": 4, "valid": 4})
    blend = Blend.of(folder).sized(Vocabulary(TokenizerSettings()))
    with pytest.raises(UsageError, match=f"data convert {folder} -o {folder}-windows"):
        megatron_lm_arguments(load_recipe("article"), blend, tmp_path / "run")
