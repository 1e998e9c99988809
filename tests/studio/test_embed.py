"""The model that the studio carries: small, sound, and of the music that its card names."""

import shutil
from pathlib import Path

import pytest
import torch

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.request import Request
from megatron_music.studio import embed, server


def test_the_carried_model_composes_a_chorale() -> None:
    carried = server.EMBEDDED
    assert sum(file.stat().st_size for file in carried.iterdir()) < embed.LARGEST_BYTES
    card = (carried / "README.md").read_text(encoding="utf-8")
    assert "music21" in card
    composer = Composer.load(carried)
    assert composer.model.dtype == torch.float32
    assert composer.vocabulary.settings.ensemble == ("SOPRANO", "ALTO", "TENOR", "BASS")
    (song,) = composer.compose(Request(bars=1, song_ids=(7,), begin=True))
    assert len(song.piece.tracks) == 4


def test_a_model_is_carried_in_half_precision(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "hf")
    (folder / "README.md").write_text("a card")
    size_bytes = embed.embed(folder, tmp_path / "carried")
    whole, half = Composer.load(folder), Composer.load(tmp_path / "carried")
    assert size_bytes * 2 == sum(one.nbytes for one in whole.model.state_dict().values()) - (
        whole.model.lm_head.weight.nbytes
    )
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(half.model.state_dict()[name], weight.half().float()), name


def test_a_model_too_large_is_not_carried(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "LARGEST_BYTES", 10)
    with pytest.raises(UsageError, match="smaller"):
        embed.embed(model, tmp_path / "carried")
    assert not (tmp_path / "carried").exists()
