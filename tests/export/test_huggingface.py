"""What was trained is what Hugging Face loads: the same logits, in one complete folder."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.export.checkpoints import find_source
from megatron_music.export.huggingface import RECORD_FILE, export

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from megatron_music.config import load_recipe  # noqa: E402
from megatron_music.export.weights import BAND_MIN_P, PARALLEL_PENALTY, gpt2_config  # noqa: E402
from megatron_music.generate.structural import model_inputs  # noqa: E402
from megatron_music.tokenizer.vocabulary import (  # noqa: E402
    TokenizerSettings,
    Vocabulary,
    load_vocabulary,
)
from tests.train.conftest import execute, launch, read  # noqa: E402

SMALLEST_DIFFERENCE_ASKED = 1e-5
CHOIR = TokenizerSettings(ensemble=("SOPRANO", "ALTO", "TENOR", "BASS"))
BAND = TokenizerSettings(ensemble=("0", "33"))
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, train: Callable[..., Any]) -> Path:
    """Train with TP=2, so that the export has a layout to undo."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    layout = "parallel.tensor_model_parallel_size=2"
    train(folder, "train.train_iters=30", layout, processes=2, on_cpu=True)
    return folder


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    done = export(run, folder)
    assert done.parity is not None
    assert done.parity.largest_difference < SMALLEST_DIFFERENCE_ASKED
    assert done.parity.largest_difference_fp64 < 1e-10
    return folder


def test_the_folder_loads_in_plain_transformers(exported: Path) -> None:
    model = transformers.GPT2LMHeadModel.from_pretrained(exported)
    config = model.config
    assert (config.n_layer, config.n_embd, config.vocab_size) == (2, 64, 425)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    assert config.guidance > 0
    assert config.parallel_penalty == 0.0
    assert config.min_p == BAND_MIN_P
    assert (exported / "mmmtrack.json").is_file()
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported, trust_remote_code=False)
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", config.n_positions)


@pytest.mark.parametrize(
    ("override", "guidance"),
    [("train.plain_share=0", 0.0), ("model.structural_inputs=[]", None)],
)
def test_a_model_that_cannot_do_with_and_without_inputs_has_no_guidance(
    override: str, guidance: float | None
) -> None:
    config = gpt2_config(load_recipe("tiny", [override]), Vocabulary(TokenizerSettings()))
    assert getattr(config, "guidance", None) == guidance


@pytest.mark.parametrize(
    ("settings", "inputs", "penalty"),
    [(CHOIR, "motion", PARALLEL_PENALTY), (CHOIR, "held", 0.0), (BAND, "motion", 0.0)],
)
def test_choirs_are_composed_with_a_penalty_for_parallels(
    settings: TokenizerSettings, inputs: str, penalty: float
) -> None:
    recipe = load_recipe("tiny", [f"model.structural_inputs=[time, {inputs}]"])
    assert gpt2_config(recipe, Vocabulary(settings)).parallel_penalty == penalty


def test_the_model_card_names_data_terms_figures_and_limits(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "Without the grammar mask songs are not legal" in card
    assert "**Licence**: " in card or "not recorded" in card
    assert "| iterations of training | 30 |" in card
    assert "loss on held-out music, nats a token | 3." in card
    assert "A GPT-2 of 2 layers and 64 channels" in card
    assert "token ids alone are not enough" in card
    commands = re.findall(r"^megatron-music sample THIS_FOLDER -o music (.*)$", card, re.MULTILINE)
    assert commands == [
        "-n 4 --bars 4 --begin --end",
        "--best 4 --of 32 --bars 4 --begin --end",
        "--prompt yours.mid --fill-bars 3-4",
    ]


def test_the_loss_on_held_out_documents_is_the_trained_models(
    exported: Path, run: Path, data: Path
) -> None:
    model = transformers.GPT2LMHeadModel.from_pretrained(exported).eval()
    tokens = torch.frombuffer(bytearray((data / "valid.bin").read_bytes()), dtype=torch.uint16)
    documents = tokens.long().view(-1, 120)
    vocabulary = load_vocabulary(exported)
    with torch.no_grad():
        told = model_inputs(model, vocabulary, documents)
        loss = float(model(**told, labels=documents).loss)
    # The engine's loss also counts the rows that pad its vocabulary.
    assert loss == pytest.approx(read(run)[-1]["validation_loss"], abs=0.05)


def test_a_second_call_finds_the_folder_up_to_date(exported: Path, run: Path) -> None:
    before = (exported / "model.safetensors").stat().st_mtime_ns
    config = exported / "tokenizer_config.json"
    today = config.read_text()
    config.write_text(today.replace("left", "right"))  # as an earlier version left it
    assert export(run, exported).parity is None
    assert (exported / "model.safetensors").stat().st_mtime_ns == before
    assert config.read_text() == today


def test_a_checkpoint_folder_is_taken_as_well_as_a_run(run: Path) -> None:
    step = run / "checkpoints" / "step_30"
    for path in (run, step, run / "checkpoints" / "latest"):
        found = find_source(path)
        assert (found.step, found.iteration) == (step.resolve(), 30)
        assert found.tokenizer == run.resolve() / "tokenizer"


def test_the_program_prints_the_difference_alone_on_stdout(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod of a training job too, whose variables name seven other processes."""
    pod = {"RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "23456"}
    for name, value in pod.items():
        monkeypatch.setenv(name, value)
    done = execute(*launch(1, "export", str(run), "-o", str(tmp_path / "model")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("largest logit difference ")
    assert float(done.stdout.split()[-1]) < SMALLEST_DIFFERENCE_ASKED
    record = json.loads((tmp_path / "model" / RECORD_FILE).read_text())
    assert record["iteration"] == 30
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_holds_something_else_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not an exported model"):
        export(run, tmp_path)


def test_a_folder_without_checkpoints_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        export(tmp_path, tmp_path / "model")


def test_a_damaged_checkpoint_is_one_line_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(run, tmp_path / "run", symlinks=True))
    for part in (broken / "checkpoints" / "latest").resolve().glob("*.distcp"):
        part.write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"cannot load .*: a file in it is cut short"
    ) as fault:
        export(broken, tmp_path / "model")
    assert "\n" not in str(fault.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
