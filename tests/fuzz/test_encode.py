"""No bytes end a build, and what is compiled encodes them as the readable path does.

`FUZZ_SECONDS=600 pytest tests/fuzz` runs longer, `FUZZ_SEED=n` again as it was, `FUZZ_FOLDER=path`
with real files beside those that are made here.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.records import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_midi import encode_batch
from megatron_music.data.shards.encode_piece import KEPT, encode_item
from megatron_music.data.sources.corpus import chorales
from megatron_music.data.sources.item import FileItem
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.quantize import quantize
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.vocabulary import Vocabulary
from tests.data.collection import folder_of_songs
from tests.fuzz.mutants import mutant
from tests.score.test_midi_kernel import orchestra

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("FUZZ_SEED", str(time.time_ns() % 2**32)))
FOUND = Path("build/fuzz")
LONGEST_S = 5.0
BATCH = 32
SETTINGS = (
    BuildSettings(),
    BuildSettings(bars=8, hop=3, steps_per_quarter=12, transpositions=2),
    BuildSettings(bars=2, density=False, shuffle=False, max_tracks=3, merge=False),
    BuildSettings(bars=1, voices=True, split=(1, 1, 1)),
)


@dataclass(frozen=True)
class Bytes(FileItem):
    """A MIDI file that is made here."""

    name: str
    bytes_: bytes

    def raw(self) -> bytes:
        """Return its bytes."""
        return self.bytes_


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Return sound files: made songs, an orchestra, some chorales, and those of FUZZ_FOLDER."""
    folder = folder_of_songs(tmp_path_factory.mktemp("seeds"), 6)
    orchestra(folder / "orchestra.mid")
    for chorale in chorales()[1:5]:
        with suppress(Refusal):
            write_midi(quantize(chorale.read(), 4), folder / f"{chorale.name}.mid")
    paths = sorted(folder.iterdir())
    if "FUZZ_FOLDER" in os.environ:
        paths += sorted(Path(os.environ["FUZZ_FOLDER"]).rglob("*.mid"))
    return [path.read_bytes() for path in paths]


def hold(items: Sequence[Bytes], settings: BuildSettings) -> Counter[str]:
    """Encode files both ways and compare; count what became of them."""
    vocabulary = Vocabulary(settings.tokenizer())
    sure = dict(encode_batch(items, settings))
    became: Counter[str] = Counter()
    for position, item in enumerate(items):
        start = time.process_time()
        expected = encode_item(item, settings, vocabulary)
        assert time.process_time() - start < LONGEST_S, "took too long"
        became[expected.record.reason or KEPT] += 1
        assert "\n" not in expected.record.detail
        for tokens, *_ in expected.documents.one_by_one():
            check(tokens.astype(np.int64), vocabulary)
        if position in sure:
            became["compiled"] += 1
            assert sure[position].record == expected.record
            columns = zip(sure[position].documents, expected.documents, strict=True)
            for column, wanted in columns:
                assert np.array_equal(column, wanted)
    return became


def guilty(items: Sequence[Bytes], settings: BuildSettings) -> list[Bytes]:
    """Return the files that fail by themselves, or all where none does."""
    alone = []
    for item in items:
        try:
            hold([item], settings)
        except Exception:
            alone.append(item)
    return alone or list(items)


def keep(items: Sequence[Bytes]) -> str:
    """Write files to where they can be looked at."""
    FOUND.mkdir(parents=True, exist_ok=True)
    for item in items:
        (FOUND / item.name).write_bytes(item.bytes_)
    return ", ".join(str(FOUND / item.name) for item in items)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_mutated_files_are_encoded_alike_by_both_paths_or_refused(
    seeds: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)  # noqa: S311 (no secrets)
    became: Counter[str] = Counter()
    hold([Bytes("seed.mid", raw) for raw in seeds], SETTINGS[0])  # compiles
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        settings = rng.choice(SETTINGS)
        items = [Bytes(f"{SEED}-{i}.mid", mutant(rng, seeds)) for i in range(BATCH)]
        try:
            became += hold(items, settings)
        except Exception as fault:
            kept = keep(guilty(items, settings))
            message = f"FUZZ_SEED={SEED}, {settings}: {type(fault).__name__}: {fault}; see {kept}"
            raise AssertionError(message) from fault
    with capsys.disabled():
        print(f"\nFUZZ_SEED={SEED}: {became.total()} outcomes, {dict(became)}")
    assert became[KEPT]
    assert became["compiled"]
    assert became["damaged"]
