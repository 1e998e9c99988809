"""`import megatron_music`: what it gives, the README's example, and the page that lists it."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import megatron_music
from megatron_music.errors import MidiError, UsageError
from megatron_music.score.midi_writer import write_midi
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.code import run_code
from tests.data.collection import folder_of_songs, song
from tests.generate.conftest import untrained
from tests.scores import TUNE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"


def example() -> str:
    """Return the README's Python example."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return str(code)


def test_the_readmes_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_midi(song(3), tmp_path / "song.mid")
    folder_of_songs(tmp_path / "midi", 30)
    (model,) = re.findall(r'load_composer\("(.+)"\)', example())
    untrained(tmp_path / model, TokenizerSettings())
    found: dict[str, object] = {}
    exec(example(), found)  # noqa: S102
    assert found["manifest"] == megatron_music.build("midi", "data/mine")
    assert sorted(path.name for path in tmp_path.glob("new-*.mid")) == ["new-7.mid", "new-8.mid"]


def test_the_example_is_short() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 10


def test_the_public_names_are_those_of_the_page() -> None:
    listed = re.findall(r"^::: megatron_music\.(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(listed) == megatron_music.__all__


def test_every_public_name_is_there_and_typed() -> None:
    stub = ast.parse((ROOT / "megatron_music" / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert sorted(node.names[0].name for node in imports) == megatron_music.__all__
    for name in megatron_music.__all__:
        assert getattr(megatron_music, name).__doc__
    assert set(megatron_music.__all__) <= set(dir(megatron_music))
    with pytest.raises(AttributeError, match="no attribute 'sing'"):
        megatron_music.sing  # type: ignore[attr-defined] # noqa: B018


def test_what_is_read_is_what_is_decoded(tmp_path: Path) -> None:
    write_midi(song(5), tmp_path / "a.mid", 90)
    piece = megatron_music.read_midi(tmp_path / "a.mid")
    assert megatron_music.decode(megatron_music.encode(piece)) == piece
    megatron_music.write_midi(piece, tmp_path / "fast.mid", tempo_bpm=2000)
    megatron_music.write_midi(piece, tmp_path / "b.mid", tempo_bpm=90)
    assert megatron_music.read_midi(tmp_path / "b.mid") == piece


def test_notation_is_read_by_the_function_that_the_error_of_read_midi_names(tmp_path: Path) -> None:
    (tmp_path / "a.abc").write_text(TUNE)
    with pytest.raises(MidiError, match="read_music"):
        megatron_music.read_midi(tmp_path / "a.abc")
    piece = megatron_music.read_music(tmp_path / "a.abc")
    megatron_music.write_midi(piece, tmp_path / "a.mid")
    assert megatron_music.read_midi(tmp_path / "a.mid") == piece
    assert megatron_music.read_music(tmp_path / "a.mid") == piece


def test_a_vocabulary_of_a_data_set_encodes_for_it(tmp_path: Path) -> None:
    folder_of_songs(tmp_path / "midi", 4)
    settings = {"steps_per_quarter": 12, "split": (1, 0, 0)}
    megatron_music.build(tmp_path / "midi", tmp_path / "set", **settings)
    vocabulary = megatron_music.load_vocabulary(tmp_path / "set")
    piece = megatron_music.read_midi(tmp_path / "midi" / "song-00.mid", 12)
    tokens = megatron_music.encode(piece, vocabulary)
    assert megatron_music.decode(tokens, vocabulary) == piece


PIECE = song(3)
MISTAKES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("path", (megatron_music.read_midi, 3), {}),
    ("steps_per_quarter", (megatron_music.read_midi, "a.mid", "x"), {}),
    ("steps_per_quarter", (megatron_music.read_music, "a.mid", 0), {}),
    ("piece", (megatron_music.write_midi, "x", "a.mid"), {}),
    ("tempo_bpm", (megatron_music.write_midi, PIECE, "b.mid"), {"tempo_bpm": 0}),
    ("vocabulary", (megatron_music.encode, PIECE, "x"), {}),
    ("tokens", (megatron_music.decode, "abc"), {}),
    ("tokens", (megatron_music.decode, np.zeros(4)), {}),
    ("folder", (megatron_music.load_vocabulary, None), {}),
    ("bars", (megatron_music.build, "midi", "set"), {"bars": "x"}),
    ("workers", (megatron_music.build, "midi", "set"), {"workers": 1.5}),
    ("barz", (megatron_music.build, "midi", "set"), {"barz": 4}),
    ("split", (megatron_music.build, "midi", "set"), {"split": ("most", 1, 1)}),
    ("midi", (megatron_music.load_composer, "chorales", 3), {}),
]


@pytest.mark.parametrize(("name", "call", "options"), MISTAKES)
def test_an_argument_that_cannot_be_is_named_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_midi(PIECE, tmp_path / "a.mid")
    folder_of_songs(tmp_path / "midi", 4)
    function, *arguments = call
    with pytest.raises(UsageError, match=rf"^.*`{name}`.*$"):
        function(*arguments, **options)
    assert not (tmp_path / "set").exists()


def test_whole_numbers_of_any_kind_are_tokens() -> None:
    tokens = megatron_music.encode(PIECE)
    for same in (tokens.tolist(), list(tokens), tokens.astype(np.int64)):
        assert megatron_music.decode(same) == PIECE


def test_reading_and_encoding_load_no_torch(tmp_path: Path) -> None:
    write_midi(song(3), tmp_path / "a.mid")
    code = (
        "import sys, megatron_music as mm; assert 'numpy' not in sys.modules; "
        f"mm.encode(mm.read_midi({str(tmp_path / 'a.mid')!r})); assert 'torch' not in sys.modules"
    )
    assert run_code(code).returncode == 0
