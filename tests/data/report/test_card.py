"""The card says what the data set holds, in bars that add up."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np

from megatron_music.data.build import build
from megatron_music.data.counts import WIDTH, binned, shortened, text_bars
from megatron_music.data.settings import BuildSettings
from tests.data.collection import songs, source_of


def test_the_card_has_a_histogram_of_each_kind(tmp_path: Path) -> None:
    items = [*songs(8), songs(1)[0]]
    source = dataclasses.replace(source_of(items), licence="CC BY 4.0", citation="A. Nyone")
    build(source, tmp_path, BuildSettings(split=(60, 20, 20)))
    page = (tmp_path / "README.md").read_text()
    assert "CC BY 4.0" in page
    assert "A. Nyone" in page
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    blocks = dict(re.findall(r"\*\*([^*\n]+)\*\*\n\n```\n(.+?)\n```", page, re.DOTALL))
    totals = {title.split(" ")[2]: total(block) for title, block in blocks.items()}
    assert totals["tokens:"] == sum(side["documents"] for side in manifest["splits"].values())
    assert totals["bars"] == manifest["inputs"]["kept"] == 8
    assert totals["instrument"] == totals["density"]
    assert "Drums" in blocks["Tracks by instrument"]
    assert blocks["Inputs left out, by reason"].startswith("duplicate")


def total(block: str) -> int:
    return sum(int(line.split()[-2].replace(",", "")) for line in block.splitlines())


def test_nothing_left_out_needs_no_histogram(tmp_path: Path) -> None:
    build(source_of(songs(3)), tmp_path, BuildSettings(density=False, split=(1, 0, 0)))
    page = (tmp_path / "README.md").read_text()
    assert "Pieces by bars" in page
    assert "left out, by reason" not in page
    assert "density level" not in page


def test_bars_are_as_long_as_their_counts() -> None:
    few, half, most, none = text_bars([("a", 1), ("b", 800), ("c", 1600), ("d", 0)]).splitlines()
    assert most.count("█") == WIDTH
    assert half.count("█") == WIDTH // 2
    assert "▏" in few  # what there is can be seen
    assert "█" not in none
    assert none.split() == ["d", "0", "0.0%"]
    assert text_bars([]) == "none"


def test_bins_take_in_their_edges_and_leave_out_empty_ends() -> None:
    counts = np.bincount([4, 5, 9, 10, 30, 31])
    assert binned(counts, [1, 2, 5, 10, 20, 30, 40]) == [
        ("2 to 4", 1), ("5 to 9", 2), ("10 to 19", 1), ("20 to 29", 0), ("30 to 39", 2),
    ]  # fmt: skip
    assert binned(np.bincount([7, 50]), [1, 7, 8]) == [("7", 1), ("8 or more", 1)]
    assert binned(np.zeros(3, np.int64), [1, 2]) == []


def test_rare_instruments_are_counted_together() -> None:
    rows = [("a", 9), ("b", 5), ("c", 2), ("d", 1)]
    assert shortened(rows, 2) == [("a", 9), ("b", 5), ("2 others", 3)]
    assert shortened(rows, 3) == rows
