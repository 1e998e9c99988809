"""Microbatches: whole documents, blends by their shares, the same whoever asks."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron_music.config import Recipe, load_recipe  # noqa: E402
from megatron_music.data.indexed import IndexedReader  # noqa: E402
from megatron_music.errors import DataError, UsageError  # noqa: E402
from megatron_music.score.quantize import windows  # noqa: E402
from megatron_music.text.build_words import build_text  # noqa: E402
from megatron_music.text.songs import Columns, open_songs  # noqa: E402
from megatron_music.tokenizer import structure  # noqa: E402
from megatron_music.tokenizer.codec import decode, encode  # noqa: E402
from megatron_music.tokenizer.structure import position_rows  # noqa: E402
from megatron_music.tokenizer.vocabulary import (  # noqa: E402
    Kind,
    TokenizerSettings,
    Vocabulary,
    load_vocabulary,
)
from megatron_music.tokenizer.windows import Windows  # noqa: E402
from megatron_music.train import distributed, drawn_windows  # noqa: E402
from megatron_music.train.blend import parse_blend  # noqa: E402
from megatron_music.train.dataloader import DataLoader, Microbatch  # noqa: E402
from megatron_music.train.distributed import ParallelContext  # noqa: E402
from megatron_music.train.request import prepare  # noqa: E402
from tests.text.collection import write_songs  # noqa: E402
from tests.train.conftest import DRAWING, SMALL, write_data, write_pieces  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

VOCABULARY = Vocabulary(TokenizerSettings())
BARE = Vocabulary(TokenizerSettings(density=False))
"""The same ids: the documents of `write_data` have no densities."""
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
    one = ("train.global_batch_size=1", "model.structural_inputs=[]")
    (micro,) = training(loader_of([low], tmp_path, context, ROOMY, *one), 1)
    ends = micro.spans.cu_seqlens_q[1:] - 1
    assert micro.tokens.shape == micro.labels.shape == micro.loss_mask.shape == (1, 400)
    assert torch.equal(micro.labels[:, :-1], micro.tokens[:, 1:])
    assert not micro.loss_mask[0, ends.long()].any()
    assert micro.loss_mask.sum() == 3 * 119 == micro.mean_label_tokens
    # Without inputs a token takes the row of its index in the document.
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


def test_samples_follow_the_weights(
    context: ParallelContext, low: Path, high: Path, tmp_path: Path
) -> None:
    loader = loader_of([f"{low}:1", f"{high}:3"], tmp_path, context)
    found = are_high(training(loader))
    assert sum(found) == 75
    assert 7 <= sum(found[:10]) <= 8, "the shares hold from the beginning"
    evaluated = are_high(validation(loader))
    assert sum(evaluated) == pytest.approx(0.75 * len(evaluated), abs=1)


def test_all_documents_are_evaluated_and_none_twice(
    context: ParallelContext, low: Path, tmp_path: Path
) -> None:
    loader = loader_of([low], tmp_path, context, ROOMY, "log.eval_iters=1000")
    held = [document for micro in validation(loader) for document in documents(micro)]
    reader = IndexedReader(low / "valid")
    assert sorted(held) == sorted(reader[i].tobytes() for i in range(len(reader)))
    assert (len(loader.valid or ()), loader.eval_iters) == (12, 3), "two of the samples are empty"


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


def test_documents_longer_than_a_row_are_shortened_to_whole_bars_and_counted(
    context: ParallelContext, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "set", {"train": 3, "valid": 3})
    loader = loader_of([data], tmp_path / "run", context, "model.seq_length=100")
    assert "3 of 3 documents (100.0%) are longer: 3 shortened to whole bars" in loader.describe()
    assert "model.seq_length=120 holds all (as recipe tiny does)" in loader.describe()
    whole = IndexedReader(data / "train")
    real = [decode(whole[i], BARE) for i in range(3)]
    for micro in training(loader, 1):
        (tokens,) = documents(micro)
        short = decode(np.frombuffer(tokens, np.uint16), BARE)
        assert short.bars == 3, "of the four of the document: those of both tracks that fit"
        assert any(short == windows(piece, 3, 3)[0] for piece in real)


def test_what_has_no_bar_that_fits_is_left_out_and_counted(
    context: ParallelContext, tmp_path: Path
) -> None:
    mixed = write_data(tmp_path / "mixed", {"train": 3, "valid": 3})
    long = np.full(500, VOCABULARY.bar_start, np.uint16)
    append_document(mixed / "train", long)
    loader = loader_of([mixed], tmp_path / "run", context, ROOMY)
    (split,) = loader.train.splits
    assert split.kept_tokens == 360
    assert "1 of 4 documents (25.0%) are longer" in loader.describe()
    assert "0 shortened to whole bars, 1 left out (58.1% of the tokens)" in loader.describe()
    with pytest.raises(DataError, match=r"none of the 4 documents .* model.seq_length=12 "):
        loader_of([mixed], tmp_path / "run", context, "model.seq_length=12")


def pieces(
    folder: Path, context: ParallelContext, run: Path, *overrides: str, **more: Any
) -> DataLoader:
    return loader_of([folder], run, context, "train.train_iters=60", *overrides, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pieces(tmp_path_factory.mktemp("sets") / "whole", {"train": 40, "valid": 9})


@pytest.fixture(scope="module")
def expressive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "expressive"
    return write_pieces(folder, {"train": 40, "valid": 9}, is_expressive=True)


def test_windows_of_pieces_are_drawn_anew_in_each_epoch(
    context: ParallelContext, whole: Path, tmp_path: Path
) -> None:
    loader = pieces(whole, context, tmp_path, ROOMY)
    assert "windows of up to 4 bars drawn from 40 pieces, anew in each epoch" in loader.describe()
    epoch = len(loader.train.splits[0])
    held = [documents(loader.assemble([loader.training_row(i)])) for i in range(2 * epoch)]
    windows_drawn = [decode(np.frombuffer(one, np.uint16), BARE) for row in held for one in row]
    assert {window.bars for window in windows_drawn} == {1, 2, 3, 4}
    first, second = ({one for row in half for one in row} for half in (held[:epoch], held[epoch:]))
    assert first - second, "scales are alike, but not all"
    lowest = Counter(int(one.tracks[0].pitch.min()) % 12 for one in windows_drawn)
    assert len(lowest) == 12, "all keys"
    for number in range(2 * epoch):
        row = loader.training_row(number)
        assert row.label_tokens == sum(len(one) - 1 for one in row.split.read(row))
        places = row.split.places(row)
        assert places[:, 1].tolist() == [11] * len(row.documents)
        assert (places[:, 0] <= 10).all()


def test_windows_of_pieces_are_the_same_in_every_layout_and_after_a_resume(
    context: ParallelContext, expressive: Path, tmp_path: Path
) -> None:
    whole, drawn = expressive, [INPUTS, *DRAWN[1:]]
    one = pieces(whole, context, tmp_path, *drawn)
    ranks = [
        pieces(
            whole, replace(context, data_parallel_rank=rank, data_parallel_size=2), tmp_path, *drawn
        )
        for rank in range(2)
    ]
    for iteration in (1, 2, 57):
        alone = list(one.training(iteration))
        parted = [list(loader.training(iteration)) for loader in ranks]
        together = [micro for turn in zip(*parted, strict=True) for micro in turn]
        assert all(equal(a, b) for a, b in zip(alone, together, strict=True))
        ahead = list(pieces(whole, context, tmp_path, *drawn, read_ahead=3).training(iteration))
        assert all(equal(a, b) for a, b in zip(alone, ahead, strict=True)), "a resumed run's"


def test_pieces_are_validated_on_all_their_bars_side_by_side(
    context: ParallelContext, whole: Path, tmp_path: Path
) -> None:
    loader = pieces(whole, context, tmp_path, ROOMY, "log.eval_iters=100")
    held = [document for micro in validation(loader) for document in documents(micro)]
    reader = IndexedReader(whole / "valid")
    real = [decode(reader[i], BARE) for i in range(len(reader))]
    expected = [encode(window, BARE).tobytes() for piece in real for window in windows(piece, 4, 4)]
    assert sorted(map(sorted_tracks, held)) == sorted(map(sorted_tracks, expected))
    again = [document for micro in validation(loader) for document in documents(micro)]
    assert held == again


def test_the_next_epoch_is_planned_while_one_is_read(
    context: ParallelContext, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, words, is_second = drawn_windows.plan, set[int](), Event()

    def plan(documents: Any, draw: Any, *rest: Any, **more: Any) -> Windows:
        planned = real(documents, draw, *rest, **more)
        words.add(int(draw.word))
        if len(words) == 3:
            is_second.set()
        return planned

    monkeypatch.setattr(drawn_windows, "plan", plan)
    loader = pieces(whole, context, tmp_path, ROOMY)
    loader.training_row(0)
    assert len(words) == 2, "the windows for validation, and the first epoch"
    loader.training_row(len(loader.train.splits[0]) - 1)
    assert is_second.wait(60)


def sorted_tracks(document: bytes) -> list[bytes]:
    """Return the tracks of a document in no order."""
    tokens = np.frombuffer(document, np.uint16)
    starts = np.flatnonzero(tokens == VOCABULARY.track_start)
    return sorted(part.tobytes() for part in np.split(tokens[:-1], starts))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pieces": True}, "damaged"),
        ({**DRAWING, "transpositions": 99}, "windows out of range"),
        ({**DRAWING, "max_tracks": "many"}, "damaged"),
        ({**DRAWING, "shuffle": 1}, "windows out of range"),
    ],
)
def test_a_damaged_manifest_of_pieces_is_a_data_error(
    context: ParallelContext, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    folder = write_pieces(tmp_path / "set", {"train": 4, "valid": 4})
    (folder / "manifest.json").write_text(json.dumps({"settings": settings}))
    with pytest.raises(DataError, match=said):
        pieces(folder, context, tmp_path / "run")


def test_one_data_set_of_pieces_serves_windows_of_any_length(
    context: ParallelContext, whole: Path, tmp_path: Path
) -> None:
    bars = "train.window_bars=9"
    loader = pieces(whole, context, tmp_path, ROOMY, bars)
    drawn = {decode(np.frombuffer(one, np.uint16), BARE).bars
             for micro in training(loader, 3) for one in documents(micro)}  # fmt: skip
    assert max(drawn) == 9
    asked = prepare(recipe(bars), parse_blend([str(whole)]), tmp_path)
    plain = prepare(recipe(), parse_blend([str(whole)]), tmp_path)
    assert asked.vocabulary.settings.bars == 9
    assert asked.vocabulary.hash == plain.vocabulary.hash
    assert asked.data_hash != plain.data_hash, "a run that has begun keeps its windows"


DRAWN = [
    "train.window_bars=9",
    "train.dropped_track_share=0.5",
    "train.tempo_shift_levels=2",
    "train.velocity_shift_levels=2",
]


@pytest.mark.parametrize("key", DRAWN)
def test_what_is_drawn_of_pieces_is_refused_for_windows(
    context: ParallelContext, low: Path, tmp_path: Path, key: str
) -> None:
    with pytest.raises(UsageError, match=rf"holds windows of 4 bars \(got {key}\); leave it out"):
        pieces(low, context, tmp_path, key)


def test_what_is_drawn_of_pieces_is_refused_for_words(tmp_path: Path) -> None:
    pytest.importorskip("datasketch")
    build_text(open_songs(write_songs(tmp_path / "songs.csv"), Columns()), tmp_path / "set")
    for key in DRAWN:
        with pytest.raises(UsageError, match=rf"words have no bars .*\(got {key}\); leave it out"):
            prepare(load_recipe("tiny-text", [key]), parse_blend([str(tmp_path / "set")]), tmp_path)


@pytest.mark.parametrize("key", DRAWN[2:])
def test_shifts_of_tokens_that_are_not_there_are_refused(
    context: ParallelContext, whole: Path, tmp_path: Path, key: str
) -> None:
    kind = key.split("_", maxsplit=1)[0].removeprefix("train.")
    with pytest.raises(UsageError, match=rf"no {kind.upper()} tokens .*build .* with --{kind}"):
        pieces(whole, context, tmp_path, key)


def test_dropped_tracks_and_shifts_are_drawn_in_training_alone(
    context: ParallelContext, expressive: Path, tmp_path: Path
) -> None:
    plain = pieces(expressive, context, tmp_path, ROOMY)
    loader = pieces(expressive, context, tmp_path, ROOMY, *DRAWN[1:])
    vocabulary = load_vocabulary(expressive / "tokenizer")

    def held(loader: DataLoader, kind: Kind) -> list[set[int]]:
        found = [document for micro in training(loader, 10) for document in documents(micro)]
        meanings = [
            [vocabulary.meanings[token] for token in np.frombuffer(one, np.uint16)] for one in found
        ]
        return [{value for of, value in one if of is kind} for one in meanings]

    for kind in (Kind.TEMPO, Kind.VELOCITY):
        assert len(set(map(frozenset, held(plain, kind)))) == 1
        assert len(set(map(frozenset, held(loader, kind)))) > 2
    assert {len(one) for one in held(plain, Kind.INST)} == {2}
    assert {len(one) for one in held(loader, Kind.INST)} == {1, 2}
    assert all(map(equal, validation(plain), validation(loader)))


def test_windows_that_pass_for_pieces_are_refused(context: ParallelContext, tmp_path: Path) -> None:
    folder = write_pieces(tmp_path / "set", {"train": 4, "valid": 4})
    append_document(folder / "train", np.full(50, VOCABULARY.bar_start, np.uint16))
    with pytest.raises(DataError, match="document 4 is not a whole piece"):
        pieces(folder, context, tmp_path / "run")


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
