"""Drawing follows the probabilities, as transformers' own filters leave them."""

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from megatron_music.generate.sampler import SongSampler
from megatron_music.generate.sampling_kernel import sample_tokens, song_seeds
from megatron_music.generate.sampling_params import SamplingParams

ANYTHING = SamplingParams(1.0, 0, 1.0, 0.0)


def draws(
    scores: torch.Tensor,
    sampling: SamplingParams,
    times: int,
    kinds: list[int] | None = None,
    durations: int = -1,
) -> np.ndarray:
    """Draw from one row of scores, many times."""
    words, chosen = song_seeds([3], 0), np.zeros(1, np.int64)
    counts = np.zeros(scores.shape[-1])
    kind_of = np.array(kinds or [0] * scores.shape[-1])
    for step in range(times):
        sample_tokens(scores.numpy(), words, step, sampling, kind_of, durations, chosen)
        counts[chosen[0]] += 1
    return counts / times


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    counts = draws(shares.log()[None, :], ANYTHING, 20_000)
    assert np.abs(counts - shares.numpy()).max() < 0.012
    assert counts[4] == 0


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(0.7, 0, 1.0, 0.0),
        SamplingParams(1.0, 5, 1.0, 0.0),
        SamplingParams(1.0, 0, 0.6, 0.0),
        SamplingParams(1.5, 0, 1.0, 0.2),
        SamplingParams(1.2, 9, 0.8, 0.1),
    ],
)
def test_the_filters_are_those_of_transformers(sampling: SamplingParams) -> None:
    torch.manual_seed(1)
    scores = torch.randn(1, 12) * 1.5
    theirs = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        theirs.append(TopKLogitsWarper(sampling.top_k))
    theirs.append(TopPLogitsWarper(sampling.top_p))
    theirs.append(MinPLogitsWarper(sampling.min_p))
    wanted = theirs(torch.zeros((1, 1), dtype=torch.long), scores.clone()).softmax(-1)[0].numpy()
    counts = draws(scores, sampling, 20_000)
    assert np.abs(counts - wanted).max() < 0.012
    assert not counts[wanted == 0].any()


@pytest.mark.parametrize(
    ("sampling", "wanted"),
    [
        # 30 % silence, twelve pitches of 5 % and two of 1 %, a pause of 8 %.
        (SamplingParams(1.0, 0, 1.0, 0.0), [0.3, *[0.05] * 12, *[0.01] * 2, 0.08]),
        # Each filter takes the two pitches; what they weighed goes to the others of their kind.
        (SamplingParams(1.0, 0, 1.0, 0.25), [0.3, *[0.62 / 12] * 12, 0.0, 0.0, 0.08]),
        (SamplingParams(1.0, 4, 1.0, 0.0), [0.3, *[0.62 / 12] * 12, 0.0, 0.0, 0.08]),
        (SamplingParams(1.0, 0, 0.95, 0.0), [0.3, *[0.62 / 12] * 12, 0.0, 0.0, 0.08]),
        # The two likeliest kinds; the likeliest pitches are equally likely, so that all stay.
        (SamplingParams(1.0, 2, 1.0, 0.0), [0.3 / 0.92, *[0.62 / 12 / 0.92] * 12, 0.0, 0.0, 0.0]),
    ],
)
def test_filters_leave_each_kind_of_token_its_share(
    sampling: SamplingParams, wanted: list[float]
) -> None:
    shares = torch.tensor([0.3, *[0.05] * 12, *[0.01] * 2, 0.08], dtype=torch.float64)
    kinds = [3, *[0] * 14, 1]
    counts = draws(shares.log()[None, :], sampling, 20_000, kinds)
    assert np.abs(counts - wanted).max() < 0.012
    assert not counts[np.array(wanted) == 0].any()


def test_min_p_leaves_durations_alone() -> None:
    shares = torch.tensor([0.36, 0.04, 0.54, 0.06], dtype=torch.float64)
    counts = draws(shares.log()[None, :], SamplingParams(1.0, 0, 1.0, 0.2), 20_000, [0, 0, 1, 1], 1)
    assert np.abs(counts - [0.4, 0.0, 0.54, 0.06]).max() < 0.012


def test_temperature_makes_likely_kinds_likelier_however_many_tokens_they_have() -> None:
    shares = torch.tensor([0.4, *[0.06] * 10], dtype=torch.float64)
    counts = draws(shares.log()[None, :], SamplingParams(0.5, 0, 1.0, 0.0), 20_000, [1, *[0] * 10])
    assert counts[0] == pytest.approx(0.4**2 / (0.4**2 + 0.6**2), abs=0.012)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_never_chosen(broken: float) -> None:
    scores = torch.tensor([[broken, 0.0, broken, 0.0]])
    counts = draws(scores, ANYTHING, 200, [0, 1, 2, 1])
    assert counts[[0, 2]].sum() == 0


def test_a_row_is_drawn_by_its_seed_and_step_alone() -> None:
    torch.manual_seed(2)
    scores, ids = torch.randn(4, 30), torch.zeros((4, 7), dtype=torch.long)
    together = SongSampler([1, 2, 3, 4], ANYTHING)(ids, scores)
    alone = [
        SongSampler([seed], ANYTHING)(ids[:1], scores[seed - 1 : seed]) for seed in (1, 2, 3, 4)
    ]
    assert together.tolist() == [int(token) for token in alone]
