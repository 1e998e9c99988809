"""Compose songs from nothing: their instruments, their first window, or bars for given words."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.infill import (
    BAR_TOKENS,
    InfillState,
    density_levels,
    empty_track,
    extended,
    place_of,
    requested_template,
    write,
)
from megatron_music.generate.melody_to_words import SungTrack
from megatron_music.generate.sampler import PlanConstraint, TokenSampler
from megatron_music.generate.sampling_kernel import song_seeds
from megatron_music.generate.song_request import Request
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import INSTRUMENT_COUNT, SOPRANO, parse_instrument
from megatron_music.score.metre import COMMON_TIME
from megatron_music.score.notes import DEFAULT_QUARTER_US, Piece
from megatron_music.score.tempo import TEMPI_US
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.grammar import min_tokens
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.instrumentations import candidates
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

_INSTRUMENTS = 1 << 33
"""The random stage in which instruments are drawn; windows and `vary` use others."""


def compose(
    sampler: TokenSampler, request: Request, vocabulary: Vocabulary, seeds: Sequence[int]
) -> list[Piece]:
    """Compose a piece for each seed; bars that do not fit a window are added by sliding it."""
    if request.words is not None:
        begun = [begin_words(request, vocabulary, sampler.max_tokens, seed) for seed in seeds]
        empty, sung = [state for state, _ in begun], [track for _, track in begun]
        return write(sampler, empty, seeds, request, vocabulary, sung)
    plans = [first_plan(request, vocabulary, sampler.max_tokens, seed) for seed in seeds]
    constraint = PlanConstraint(vocabulary, plans)
    bars = request.bars or vocabulary.settings.bars
    places = np.array([place_of(request, 0, bars, vocabulary)] * len(seeds))
    rows = sampler.draw(constraint, seeds, places=places)
    pieces = [decode(tokens, vocabulary) for tokens in rows]
    states = [
        replace(state, written=~state.holes).open_at(piece.bars, piece.bars)
        for piece in pieces
        for state in [extended(piece, bars, request, vocabulary)]
    ]
    return write(sampler, states, seeds, request, vocabulary)


def begin_words(
    request: Request, vocabulary: Vocabulary, max_tokens: int, seed: int
) -> tuple[InfillState, SungTrack]:
    """Return a song without notes, the track that sings, and the words of each of its bars.

    The soprano sings, or the instrument that is named first. Raises UsageError where the words do
    not fit, and where it is open who plays.
    """
    # Words are laid into bars before the model composes any: somebody has to choose a metre.
    usual = COMMON_TIME if COMMON_TIME in vocabulary.metres else vocabulary.metres[0]
    asked = request.metre_index(vocabulary)
    metre = usual if asked is None else vocabulary.metres[asked]
    steps_per_quarter = vocabulary.settings.steps_per_quarter
    laid = request.given_words(metre.steps(steps_per_quarter), steps_per_quarter)
    codes = request.codes(vocabulary)
    if codes is None:
        labels = request.attribute_words(vocabulary)
        codes = draw_instruments(vocabulary.settings, seed, max_tokens, request.tracks, labels)
    if not codes:
        raise UsageError("who sings `words`, and who plays? Give `instruments`, the singer first")
    tempo = request.tempo_index(vocabulary)
    tempos_us = (DEFAULT_QUARTER_US if tempo is None else TEMPI_US[tempo],)
    empty = Piece(
        steps_per_quarter,
        len(laid.bars),
        tuple(empty_track(code) for code in codes),
        (metre,),
        tempos_us if vocabulary.has_tempos else (),
    )
    holes = np.ones((len(codes), len(laid.bars)), np.bool_)
    state = InfillState(empty, holes, density_levels(empty, request, vocabulary))
    sung = SungTrack(codes.index(SOPRANO) if SOPRANO in codes else 0, laid)
    requested_template(state, request, vocabulary, max_tokens, sung)  # refuses what cannot fit
    return state, sung


def first_plan(request: Request, vocabulary: Vocabulary, max_tokens: int, seed: int) -> Plan:
    """Return the plan of a song's first window: as many of the bars asked for as fit.

    Instruments that are not asked for are drawn by the seed. Raises UsageError if not even a bar
    fits.
    """
    codes = request.codes(vocabulary)
    if codes is None:
        labels = request.attribute_words(vocabulary)
        codes = draw_instruments(vocabulary.settings, seed, max_tokens, request.tracks, labels)
    levels = {code: request.density_of(code, vocabulary) for code in range(INSTRUMENT_COUNT)}
    asked = tuple((code, level) for code, level in sorted(levels.items()) if level is not None)
    bars = min(request.bars or vocabulary.settings.bars, vocabulary.settings.bars)
    attributes = request.attribute_ids(vocabulary)
    tracks = len(codes) if codes else request.tracks or 1
    # Halved until the window fits with some room for notes in each bar.
    while True:
        plan = Plan(
            bars,
            codes,
            max_tokens,
            single_voices=True,
            attributes=attributes,
            densities=asked,
            tracks=request.tracks,
            full_bars=request.has_full_bars,
            metre=request.metre_index(vocabulary),
            tempo=request.tempo_index(vocabulary),
            velocities=request.levels_of_velocity(vocabulary),
        )
        needed = min_tokens(vocabulary, plan)
        if needed + BAR_TOKENS * tracks * bars <= max_tokens or (
            bars == 1 and needed <= max_tokens
        ):
            return plan
        if bars == 1:
            raise UsageError(
                f"a bar of {tracks} track(s) takes {needed} tokens or more, this model holds "
                f"{max_tokens}; ask for fewer"
            )
        bars //= 2


def draw_instruments(
    settings: TokenizerSettings,
    seed: int,
    max_tokens: int,
    tracks: int | None = None,
    labels: Collection[str] = (),
) -> tuple[int, ...] | None:
    """Return the codes of a song's instruments, by its seed; None where the data have no record.

    They are those of a training window that fits into `max_tokens`, of `tracks` tracks if that is
    given. Where no window has as many, those of several are put together, each once; None
    where the data have fewer instruments. Only the windows with most of the `labels` count.
    """
    rows = candidates(settings, labels)
    longest = max(max_tokens, min((row.tokens for row in rows), default=0))
    windows = [
        tuple(map(parse_instrument, row.names.split())) for row in rows if row.tokens <= longest
    ]
    numbers = np.arange(len(windows), dtype=np.uint64)
    # By the seed alone, so that a song is the same in any batch and on any machine.
    order = np.argsort(scramble(song_seeds([seed], _INSTRUMENTS) + numbers), kind="stable").tolist()
    drawn: list[tuple[int, ...]] = [windows[i] for i in order]
    if tracks is None:
        return drawn[0] if drawn else None
    alike = [window for window in drawn if len(window) == tracks]
    if alike:
        return alike[0]
    together = tuple(dict.fromkeys(code for window in drawn for code in window))
    return together[:tracks] if len(together) >= tracks else None
