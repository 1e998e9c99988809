"""The model that the studio carries: small, sound, and of the music that its card names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_music.errors import UsageError
from megatron_music.evaluate.best import RealMusic
from megatron_music.generate.composer import Composer
from megatron_music.generate.model_folder import CARRIED
from megatron_music.generate.song_request import Request
from megatron_music.studio import embed, server
from megatron_music.studio.embedded_songs import SONGS, read_songs
from megatron_music.studio.worker import facts_of


def test_the_carried_model_composes_a_chorale(tmp_path: Path) -> None:
    assert sum(file.stat().st_size for file in CARRIED.iterdir()) < embed.LARGEST_BYTES
    card = (CARRIED / "README.md").read_text(encoding="utf-8")
    assert "music21" in card
    composer = Composer.load(CARRIED)
    assert composer.model.dtype == torch.float32
    assert composer.vocabulary.settings.ensemble == ("SOPRANO", "ALTO", "TENOR", "BASS")
    (offered,) = server.find_models([CARRIED])
    first, *others = read_songs(CARRIED, offered.key)
    (song,) = composer.compose(Request(bars=8, song_ids=(first.number,), begin=True, end=True))
    assert len(song.piece.tracks) == 4
    assert len(others) == embed.FIRST_SONGS - 1
    (tmp_path / "first.mid").write_bytes(first.midi)
    facts = facts_of(song.piece, 100, tmp_path / "first.mid")
    assert first.facts["notes_by_track"] == facts["notes_by_track"]


def test_songs_of_another_model_are_not_carried(tmp_path: Path) -> None:
    shutil.copy(CARRIED / SONGS, tmp_path)
    assert read_songs(tmp_path, "another") == []
    (tmp_path / SONGS).write_text("{")
    assert read_songs(tmp_path, "another") == []


def test_a_model_is_carried_in_half_precision(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "hf")
    (folder / "README.md").write_text("a card")
    RealMusic(np.zeros((1, 1))).save(folder)
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
