"""Microbatches: whole documents, blends by their shares, the same whoever asks."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron_music.config import Recipe, load_recipe  # noqa: E402
from megatron_music.data.indexed import IndexedReader  # noqa: E402
from megatron_music.errors import DataError  # noqa: E402
from megatron_music.tokenizer import structure  # noqa: E402
from megatron_music.tokenizer.structure import position_rows  # noqa: E402
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary  # noqa: E402
from megatron_music.train import distributed  # noqa: E402
from megatron_music.train.blend import parse_blend  # noqa: E402
from megatron_music.train.dataloader import DataLoader, Microbatch  # noqa: E402
from megatron_music.train.distributed import ParallelContext  # noqa: E402
from megatron_music.train.request import prepare  # noqa: E402
from tests.train.conftest import SMALL, write_data  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

VOCABULARY = Vocabulary(TokenizerSettings())
HIGH = VOCABULARY.ids["NOTE_ON=88"]
"""Notes of the one data set lie below this, notes of the other from here on."""
ROOMY = "model.seq_length=400"
"""Three documents of 120 tokens fit into a row."""
INPUTS = f"model.structural_inputs=[{','.join(structure.INPUTS)}]"


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*SMALL, "train.train_iters=25", *overrides])


@pytest.fixture(scope="module")
def context() -> Iterator[ParallelContext]:
    with distributed.start(recipe(), on_cpu=True) as started:
        yield started


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "low"
    return write_data(folder, {"train": 200, "valid": 30}, 40, 60)


@pytest.fixture(scope="module")
def high(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "high"
    return write_data(folder, {"train": 50, "valid": 30}, 88, 100)


def loader_of(
    words: list[Any],
    run: Path,
    context: ParallelContext,
    *overrides: str,
    read_ahead: int | None = None,
) -> DataLoader:
    request = prepare(recipe(*overrides), parse_blend([str(word) for word in words]), run)
    return DataLoader(request, context, read_ahead)


def training(loader: DataLoader, iterations: int = 25) -> list[Microbatch]:
    return [micro for i in range(1, iterations + 1) for micro in loader.training(i)]


def validation(loader: DataLoader) -> list[Microbatch]:
    return [micro for batch in loader.validation() for micro in batch]


def documents(microbatch: Microbatch) -> list[bytes]:
    """Return the documents of a microbatch, the padding left out."""
    bounds = microbatch.spans.cu_seqlens_q.tolist()
    tokens = microbatch.tokens[0].numpy().astype(np.uint16)
    found = [tokens[a:b] for a, b in pairwise(bounds)]
    return [document.tobytes() for document in found if document.any()]


def are_high(microbatches: list[Microbatch]) -> list[bool]:
    """Tell of each sample from which of the two data sets it is."""
    notes = [one.tokens[one.tokens < HIGH + 40] for one in microbatches]
    return [bool((tokens >= HIGH).any()) for tokens in notes]


def equal(one: Microbatch, other: Microbatch) -> bool:
    names = ("tokens", "labels", "loss_mask", "rows", "row_starts")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("inputs", ["model.structural_inputs=[]", INPUTS])
def test_an_epoch_holds_every_document_once_and_whole(
    context: ParallelContext, low: Path, tmp_path: Path, inputs: str
) -> None:
    loader = loader_of([low], tmp_path, context, ROOMY, inputs)
    epoch = len(loader.train.splits[0])
    assert epoch == 67, "200 documents, three a row"
    seen = [loader.assemble([loader.training_row(sample)]) for sample in range(epoch)]
    held = [document for microbatch in seen for document in documents(microbatch)]
    reader = IndexedReader(low / "train")
    assert sorted(held) == sorted(reader[i].tobytes() for i in range(len(reader)))


def test_epochs_read_the_same_rows_in_other_orders(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    loader = loader_of([low], tmp_path, context, "train.train_iters=120", ROOMY)
    rows = [tuple(loader.training_row(sample).documents) for sample in range(3 * 67)]
    first, second, third = rows[:67], rows[67:134], rows[134:]
    assert sorted(first) == sorted(second) == sorted(third)
    assert first != second != third


def test_labels_are_the_next_tokens_of_the_same_document(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    (micro,) = training(loader_of([low], tmp_path, context, ROOMY, "train.global_batch_size=1"), 1)
    ends = micro.spans.cu_seqlens_q[1:] - 1
    assert micro.tokens.shape == micro.labels.shape == micro.loss_mask.shape == (1, 400)
    assert torch.equal(micro.labels[:, :-1], micro.tokens[:, 1:])
    assert not micro.loss_mask[0, ends.long()].any()
    assert micro.loss_mask.sum() == 3 * 119 == micro.mean_label_tokens


def test_without_inputs_a_token_takes_the_row_of_its_index_in_the_document(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    one = ("train.global_batch_size=1", "model.structural_inputs=[]")
    (micro,) = training(loader_of([low], tmp_path, context, ROOMY, *one), 1)
    assert micro.rows[:360].tolist() == 3 * list(range(120))
    assert micro.row_starts.tolist() == list(range(400))


def test_a_share_of_documents_goes_without_inputs_another_each_epoch(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    loader = loader_of([low], tmp_path, context, INPUTS, "train.plain_share=0.3")
    rows = position_rows(structure.INPUTS, 128, VOCABULARY)
    plain = np.array([bool((micro.rows < rows.time).all()) for micro in training(loader)])
    assert len(plain) == 100
    assert 0.15 < plain.mean() < 0.45
    evaluated = validation(loader_of([low], tmp_path, context, INPUTS))
    assert all((micro.rows[micro.row_starts[:60]] >= rows.time).all() for micro in evaluated[:30])


def test_labels_become_unknown_in_a_share_of_documents_another_each_epoch(
    context: ParallelContext, tmp_path: Path
) -> None:
    words = ("BY=UNKNOWN", "BY=ANN", "KEY=UNKNOWN", "KEY=C")
    folder = write_data(
        tmp_path / "set", {"train": 30, "valid": 30}, attributes=words, labels=("BY=ANN", "KEY=C")
    )
    loader = loader_of([folder], tmp_path / "run", context, "train.unlabelled_share=0.25")
    ids = Vocabulary(TokenizerSettings(attributes=words)).ids

    def heads(rows: list[Microbatch]) -> list[tuple[int, ...]]:
        return [tuple(row.tokens[0, 1:3].tolist()) for row in rows]

    seen = heads(training(loader))
    assert seen == heads(training(loader)), "drawn by epoch and document alone"
    unknown = np.array([[by == ids["BY=UNKNOWN"], key == ids["KEY=UNKNOWN"]] for by, key in seen])
    assert set(seen) <= {(by, key) for by in (ids["BY=UNKNOWN"], ids["BY=ANN"])
                         for key in (ids["KEY=UNKNOWN"], ids["KEY=C"])}  # fmt: skip
    # A quarter loses all labels; of the rest a quarter loses each.
    assert 0.2 < unknown.all(1).mean() < 0.45
    assert 0.3 < unknown.mean() < 0.6
    assert seen[:30] != seen[30:60]
    empty = (0, 0)
    assert set(heads(validation(loader))) - {empty} == {(ids["BY=ANN"], ids["KEY=C"])}


def test_batches_are_those_of_their_iteration_whoever_reads_ahead(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    plain = training(loader_of([low], tmp_path, context, INPUTS), 5)
    ahead = training(loader_of([low], tmp_path, context, INPUTS, read_ahead=3), 5)
    resumed = list(loader_of([low], tmp_path, context, INPUTS, read_ahead=2).training(4))
    assert all(equal(one, other) for one, other in zip(plain, ahead, strict=True))
    assert all(equal(one, other) for one, other in zip(plain[12:16], resumed, strict=True))


def test_samples_follow_the_weights(
    context: ParallelContext, low: Path, high: Path, tmp_path: Path
) -> None:
    loader = loader_of([f"{low}:1", f"{high}:3"], tmp_path, context)
    found = are_high(training(loader))
    assert sum(found) == 75
    assert 7 <= sum(found[:10]) <= 8, "the shares hold from the beginning"
    evaluated = are_high(validation(loader))
    assert sum(evaluated) == pytest.approx(0.75 * len(evaluated), abs=1)


def test_without_weights_samples_follow_the_sizes(
    context: ParallelContext, low: Path, high: Path, tmp_path: Path
) -> None:
    assert sum(are_high(training(loader_of([low, high], tmp_path, context)))) == 20


def test_all_documents_are_evaluated_and_none_twice(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    loader = loader_of([low], tmp_path, context, ROOMY, "log.eval_iters=1000")
    held = [document for micro in validation(loader) for document in documents(micro)]
    reader = IndexedReader(low / "valid")
    assert sorted(held) == sorted(reader[i].tobytes() for i in range(len(reader)))
    assert (len(loader.valid or ()), loader.eval_iters) == (12, 3), "two of the samples are empty"


def test_a_folder_given_twice_is_the_folder(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    once = training(loader_of([low], tmp_path / "once", context))
    twice = training(loader_of([f"{low}:1", f"{low}:1"], tmp_path / "twice", context))
    assert all(equal(one, same) for one, same in zip(once, twice, strict=True))


def test_many_small_folders_last_as_long_as_they_are_asked_for(
    context: ParallelContext, tmp_path: Path
) -> None:
    words = []
    for name, share in (("a", 0.9), *((name, 0.02) for name in "bcdef")):
        write_data(tmp_path / name, {"train": 3, "valid": 3})
        words.append(f"{tmp_path / name}:{share}")
    loader = loader_of(words, tmp_path / "run", context, "train.train_iters=2")
    assert len(list(loader.training(2))) == 4
    assert len(list(loader.validation())) == 1


def test_documents_longer_than_a_row_are_left_out_and_counted(
    context: ParallelContext, tmp_path: Path
) -> None:
    mixed = write_data(tmp_path / "mixed", {"train": 3, "valid": 3})
    long = np.full(500, VOCABULARY.bar_start, np.uint16)
    append_document(mixed / "train", long)
    loader = loader_of([mixed], tmp_path / "run", context, ROOMY)
    (split,) = loader.train.splits
    assert (split.left_out_documents, split.left_out_tokens, split.kept_tokens) == (1, 500, 360)
    assert "1 of 4 documents (25.0%, 58.1% of the tokens) are longer" in loader.describe()
    with pytest.raises(DataError, match=r"all 4 documents .* longer than model.seq_length=100"):
        loader_of([mixed], tmp_path / "run", context, "model.seq_length=100")


def append_document(prefix: Path, tokens: Any) -> None:
    from megatron_music.data.indexed import write_index

    lengths = [*IndexedReader(prefix).lengths, len(tokens)]
    with prefix.with_suffix(".bin").open("ab") as file:
        file.write(tokens.tobytes())
    with prefix.with_suffix(".idx").open("wb") as file:
        write_index(file, np.array(lengths, np.int32), np.dtype(np.uint16))


def test_a_token_beyond_the_vocabulary_is_a_data_error(
    context: ParallelContext, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "set", {"train": 20, "valid": 20})
    tokens = bytearray((data / "train.bin").read_bytes())
    tokens[:] = b"\xe8\x03" * (len(tokens) // 2)
    (data / "train.bin").write_bytes(tokens)
    loader = loader_of([data], tmp_path / "run", context)
    with pytest.raises(DataError, match="token 1000, the vocabulary ends at 424"):
        list(loader.training(1))


def test_a_damaged_index_is_a_data_error(context: ParallelContext, tmp_path: Path) -> None:
    data = write_data(tmp_path / "set", {"train": 20, "valid": 20})
    (data / "train.idx").write_bytes(b"not an index, whatever it says")
    with pytest.raises(DataError, match="Megatron cannot read"):
        loader_of([data], tmp_path / "run", context)
