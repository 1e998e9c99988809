"""Verification finds the first fault of any kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.manifest import file_records, sealed
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import BuildSettings
from megatron_music.errors import DataError
from megatron_music.tokenizer.vocabulary import TokenizerSettings, save_settings
from tests.data.collection import songs, source_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "set"
    build(source_of(songs(10)), folder, BuildSettings(split=(50, 25, 25)))
    return folder


@pytest.fixture
def made(built: Path, tmp_path: Path) -> Path:
    """A copy of a data set, to be damaged."""
    return shutil.copytree(built, tmp_path / "set")


def seal(folder: Path) -> None:
    """Make the manifest's hashes fit the files again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = file_records(folder)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))


def test_a_sound_data_set_is_counted(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    verified = verify(made)
    assert verified.files == 14
    assert verified.documents == sum(side["documents"] for side in manifest["splits"].values())
    assert verified.tokens == sum(side["tokens"] for side in manifest["splits"].values())


@pytest.mark.parametrize(
    "name",
    [
        *("train.bin", "valid.places.npy", "files.jsonl", "tokenizer/tokenizer.json"),
    ],
)
def test_one_changed_byte_of_any_file_is_found(made: Path, name: str) -> None:
    raw = bytearray((made / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (made / name).write_bytes(raw)
    with pytest.raises(DataError, match=f"{name} is not what was built"):
        verify(made)


def test_a_missing_file_is_found(made: Path) -> None:
    (made / "valid.idx").unlink()
    with pytest.raises(DataError, match=r"valid\.idx is missing"):
        verify(made)


def negative_length(folder: Path) -> None:
    raw = bytearray((folder / "train.idx").read_bytes())
    lengths = np.frombuffer(raw, np.int32, 2, 34)
    lengths[:] = [-1, lengths.sum() + 1]
    (folder / "train.idx").write_bytes(raw)


def fewer_places(folder: Path) -> None:
    np.save(folder / "valid.places.npy", np.load(folder / "valid.places.npy")[1:])


def finer_steps(folder: Path) -> None:
    save_settings(TokenizerSettings(steps_per_quarter=12), folder / "tokenizer")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (fewer_places, r"valid\.places\.npy holds int32 of shape"),
        (finer_steps, "another vocabulary"),
        (negative_length, r"train\.idx has a document of negative length"),
    ],
)
def test_files_that_do_not_belong_together_are_found(
    made: Path, spoil: Callable[[Path], object], told: str
) -> None:
    spoil(made)
    seal(made)
    with pytest.raises(DataError, match=told):
        verify(made)


@pytest.mark.parametrize("place", [[6, 6], [-1, 6], [0, -1]])
def test_a_document_that_begins_outside_its_piece_is_found(made: Path, place: list[int]) -> None:
    places = np.load(made / "train.places.npy")
    places[1] = place
    np.save(made / "train.places.npy", places)
    seal(made)
    with pytest.raises(DataError, match="train, document 1 begins with bar"):
        verify(made)


def test_a_data_set_from_before_places_is_taken_without(made: Path) -> None:
    for path in made.glob("*.places.npy"):
        path.unlink()
    seal(made)
    assert verify(made).documents


def test_counts_that_differ_from_the_manifest_are_found(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["splits"]["valid"]["documents"] += 1
    (made / "manifest.json").write_text(json.dumps(sealed(manifest)))
    with pytest.raises(DataError, match=r"valid has \d+ documents, the manifest says"):
        verify(made)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"kept": 10', '"kept": 13'),
        ('"title": "Made-up', '"title": "Made-u3'),
        ("manifest_sha256", "manifest_sha255"),
    ],
)
def test_one_changed_figure_of_the_manifest_is_found(made: Path, old: str, new: str) -> None:
    text = (made / "manifest.json").read_text()
    assert old in text
    (made / "manifest.json").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=r"manifest\.json is not what was built"):
        verify(made)


def test_a_manifest_from_before_seals_is_taken_at_its_word(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    (made / "manifest.json").write_text(json.dumps(manifest))
    assert verify(made).files


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{}"),
                                   lambda path: path.write_text("{")])  # fmt: skip
def test_a_folder_without_a_sound_manifest_is_refused(
    made: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(made / "manifest.json")
    with pytest.raises(DataError, match="manifest"):
        verify(made)


def test_a_document_against_the_grammar_is_found_in_any_portion(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megatron_music.data.report.verify.PORTION_TOKENS", 100)
    assert verify(made).documents
    reader = IndexedReader(made / "train")
    for place, fault in (
        (-1, rf"train, document {len(reader) - 1}, token \d+: PAD is not legal"),
        (int(reader.lengths[0]) + 5, "train, document 1, token 5: PAD is not legal"),
    ):
        tokens = np.array(reader.tokens)
        tokens[place] = 0
        (made / "train.bin").write_bytes(tokens.tobytes())
        seal(made)
        with pytest.raises(DataError, match=fault):
            verify(made)
