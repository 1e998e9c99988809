"""Drawing follows the probabilities."""

import torch

from megatron_music.generate.sampler import SongSampler


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    sampler = SongSampler([3])
    scores, ids = shares.log()[None, :], torch.zeros((1, 1), dtype=torch.long)
    draws = torch.stack([sampler(ids, scores).argmax() for _ in range(20_000)])
    counts = torch.bincount(draws, minlength=5) / 20_000
    assert (counts - shares).abs().max() < 0.012
    assert counts[4] == 0
