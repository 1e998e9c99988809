"""Write pieces window by window, all songs of a batch at the same time.

A request and a prompt give an `InfillState`; its open bars are written in windows that slide.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.given_words import GivenWords, SungTrack, tokens_of_words
from megatron_music.generate.harmonise import around_voice, to_be_sung
from megatron_music.generate.infill import (
    BAR_TOKENS,
    BoolArray,
    InfillState,
    next_template,
    open_bars,
    select_bars,
    until_step,
)
from megatron_music.generate.instrumentation import draw_instruments
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.request import Request
from megatron_music.generate.sampler import (
    Constraint,
    InfillConstraint,
    PlanConstraint,
    TokenSampler,
)
from megatron_music.generate.sampling_kernel import song_seeds
from megatron_music.score.general_midi import find_instrument
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import (
    INSTRUMENT_COUNT,
    SOPRANO,
    VOICES,
    instrument_name,
    parse_instrument,
)
from megatron_music.score.metre import COMMON_TIME
from megatron_music.score.notes import DEFAULT_QUARTER_US, IntArray, Piece, Track
from megatron_music.score.tempo import TEMPI_US
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.document_places import UNKNOWN
from megatron_music.tokenizer.grammar import min_tokens
from megatron_music.tokenizer.infill_template import InfillTemplate
from megatron_music.tokenizer.piece_plan import Plan
from megatron_music.tokenizer.vocabulary import Vocabulary

_NOTHING: IntArray = np.zeros(0, np.int64)

_VARYING = 1 << 32
"""The random stage for choosing bars to vary: not the number of any window."""


def compose(
    sampler: TokenSampler, request: Request, vocabulary: Vocabulary, seeds: Sequence[int]
) -> list[Piece]:
    """Compose a piece for each seed; bars that do not fit a window are added by sliding it."""
    if request.words is not None:
        return compose_to_words(sampler, request, vocabulary, seeds)
    plans = [first_plan(request, vocabulary, sampler.max_tokens, seed) for seed in seeds]
    constraint = PlanConstraint(vocabulary, plans)
    bars = request.bars or vocabulary.settings.bars
    places = np.array([place_of(request, 0, bars, vocabulary)] * len(seeds))
    rows = sampler.draw(constraint, seeds, places=places)
    pieces = [decode(tokens, vocabulary) for tokens in rows]
    states = [
        replace(state, written=~state.holes).open_at(piece.bars, piece.bars)
        for piece in pieces
        for state in [_extended(piece, bars, request, vocabulary)]
    ]
    return write(sampler, states, seeds, request, vocabulary)


def compose_to_words(
    sampler: TokenSampler, request: Request, vocabulary: Vocabulary, seeds: Sequence[int]
) -> list[Piece]:
    """Compose a piece a seed whose singer has the words of the request; raises UsageError."""
    begun = [begin_words(request, vocabulary, sampler.max_tokens, seed) for seed in seeds]
    states, sung = [state for state, _ in begun], [track for _, track in begun]
    return write(sampler, states, seeds, request, vocabulary, sung)


def begin_words(
    request: Request, vocabulary: Vocabulary, max_tokens: int, seed: int
) -> tuple[InfillState, SungTrack]:
    """Return a song that has no note yet, and which of its tracks sings what in which bar.

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
        tuple(Track(code, _NOTHING, _NOTHING, _NOTHING) for code in codes),
        (metre,),
        tempos_us if vocabulary.has_tempos else (),
    )
    holes = np.ones((len(codes), len(laid.bars)), np.bool_)
    state = InfillState(empty, holes, _levels(empty, request, vocabulary))
    sung = SungTrack(codes.index(SOPRANO) if SOPRANO in codes else 0, laid)
    _next_template(state, request, vocabulary, max_tokens, sung)  # refuses what cannot fit
    return state, sung


def first_plan(request: Request, vocabulary: Vocabulary, max_tokens: int, seed: int) -> Plan:
    """Return the plan of a song's first window: the bars asked for, as far as one holds them.

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


def place_of(
    request: Request, first_bar: int, bars: int, vocabulary: Vocabulary
) -> tuple[int, int]:
    """Return the place in its piece of a window of a song of `bars` bars, as models take it.

    A song that only begins like a piece, or only ends like one, is taken for part of a piece that
    is a training window longer; where neither is asked the place is unknown.
    """
    if not (request.begin or request.end):
        return UNKNOWN, UNKNOWN
    before = 0 if request.begin else vocabulary.settings.bars
    after = 0 if request.end else vocabulary.settings.bars
    return before + first_bar, before + bars + after


def start_from_prompt(
    prompt: Prompt, request: Request, vocabulary: Vocabulary, seed: int
) -> InfillState:
    """Return the state that a request makes of a prompt; raises UsageError for an impossible one.

    Bars are those of the grid.
    """
    if request.sing:
        melody = to_be_sung(prompt, request, vocabulary)
        nothing = np.zeros((len(melody.sources), melody.piece.bars), np.bool_)
        return InfillState(melody.piece, nothing, {}, melody.sources, melody.dropped)
    if request.voice is not None:
        return mask_accompaniment(prompt, request, vocabulary)
    if request.fills:
        return mask_bars(prompt, request, vocabulary, seed)
    return extend_piece(prompt, request, vocabulary)


def extend_piece(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return a piece to be continued to `request.bars`, with the tracks that it drops and adds.

    Without `bars` it keeps its length.
    """
    piece = prompt.piece
    first = piece.bars if request.prompt_bars is None else request.prompt_bars
    if first > piece.bars:
        raise UsageError(
            f"`prompt_bars` is {request.prompt_bars}, but the piece has {piece.bars} bars; keep "
            "fewer"
        )
    bars = request.bars or piece.bars
    if bars < first:
        raise UsageError(
            f"`bars` is {bars}, but {first} are kept of the piece; ask for more, or keep fewer "
            "with `prompt_bars`"
        )
    kept, sources = _kept(prompt, request, vocabulary, first, bars)
    state = _extended(kept, bars, request, vocabulary)
    state = replace(state, holes=state.holes & _composable(prompt, sources, bars))
    if state.is_done and not request.drop:
        raise UsageError(
            f"nothing to compose: the piece has {piece.bars} bars and no track is added; give "
            f"`bars` above {piece.bars} to continue it, `prompt_bars` to keep fewer, or say "
            "what to fill"
        )
    dropped = {track for name in request.drop for track in prompt.find(name)}.difference(sources)
    return replace(state, sources=sources, dropped=tuple(sorted(dropped)))


def mask_bars(prompt: Prompt, request: Request, vocabulary: Vocabulary, seed: int) -> InfillState:
    """Return a piece with the bars opened that `request` fills, or that `seed` chose to vary."""
    piece = prompt.piece
    of_all_bars = {request.bars, request.prompt_bars} <= {None, piece.bars}
    if not of_all_bars or request.instruments or request.drop:
        raise UsageError(
            f"filling keeps the {piece.bars} bars and the tracks of the piece; leave out `bars`, "
            "`prompt_bars`, `instruments` and `drop`"
        )
    sources = tuple(range(len(piece.tracks)))
    tracks = [track for name in request.fill_tracks for track in prompt.find(name)]
    able = _composable(prompt, sources)
    if not tracks:
        able &= _playing(piece, vocabulary.settings.bars)
    if request.vary is None:
        holes = select_bars(piece, request.fill_bars, tracks) & able
    else:
        # By hashes of seed and bar, not by a generator: the same on every machine and version.
        count = max(1, round(request.vary * int(able.sum())))
        numbers = np.arange(able.size, dtype=np.uint64)
        order = np.argsort(scramble(song_seeds([seed], _VARYING) + numbers), kind="stable")
        holes = np.zeros(able.shape, np.bool_)
        holes.ravel()[order[able.ravel()[order]][:count]] = True
    if not holes.any():
        raise UsageError("no track to fill plays in these bars; choose others")
    levels = _levels(piece, request, vocabulary)
    return replace(open_bars(piece, holes), levels=levels, sources=sources)


def _composable(
    prompt: Prompt, sources: Sequence[int | None], bars: int | None = None
) -> BoolArray:
    """Return in which bars [tracks, bars] a state's tracks can get notes; new tracks in all."""
    count = bars or prompt.piece.bars
    everywhere = np.ones(count, np.bool_)
    rows = [everywhere if i is None else prompt.composable(i, count) for i in sources]
    return np.stack(rows)


def _playing(piece: Piece, window_bars: int) -> BoolArray:
    """Return in which bars [tracks, bars] a track has notes within a window; others stay silent.

    Bars around which no track has notes count for all tracks.
    """
    plays = np.zeros((len(piece.tracks), piece.bars), np.bool_)
    for row, track in zip(plays, piece.tracks, strict=True):
        for bar in np.unique(piece.bar_at(track.onset)).tolist():
            row[max(0, bar - window_bars) : bar + window_bars + 1] = True
    plays[:, ~plays.any(axis=0)] = True
    return plays


def mask_accompaniment(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return the state of a piece with one voice kept and the others to be written."""
    kept, sources = around_voice(prompt, request, vocabulary)
    state = _extended(kept, kept.bars, request, vocabulary)
    others = set(range(len(prompt.piece.tracks))).difference(sources)
    return replace(state, sources=sources, dropped=tuple(sorted(others)))


def _kept(
    prompt: Prompt, request: Request, vocabulary: Vocabulary, first_bars: int, bars: int
) -> tuple[Piece, tuple[int | None, ...]]:
    """Return the kept part of a piece with the tracks to add, still empty, and their sources.

    Notes that sound beyond the kept bars keep their lengths.
    """
    piece = prompt.piece
    dropped = {track for name in request.drop for track in prompt.find(name)}
    longer = replace(piece, bars=max(bars, piece.bars))
    last, end = longer.bar_starts[[first_bars, bars]].tolist()
    all_kept = [(i, until_step(track, last, end)) for i, track in enumerate(piece.tracks)]
    kept = [(i, track) for i, track in all_kept if i not in dropped and len(track)]
    codes = [track.instrument for _, track in kept]
    if request.instruments is not None:
        added = [find_instrument(name) for name in request.instruments]
        for code in set(VOICES).intersection(added, codes):
            name = instrument_name(code)
            raise UsageError(f"{name} is to be added, but is kept of the piece; give --drop {name}")
    else:
        ensemble = [parse_instrument(name) for name in vocabulary.settings.ensemble]
        is_alike = any(track.instrument in ensemble for track in piece.tracks)
        added = [code for code in ensemble if code not in codes] if is_alike else []
    if not kept and not added:
        raise UsageError("nothing of the piece is kept; keep a track or more bars of it")
    tracks = (
        *(track for _, track in kept),
        *(Track(code, _NOTHING, _NOTHING, _NOTHING) for code in added),
    )
    sources: list[int | None] = [i for i, _ in kept]
    for code in added:
        # A new track takes the place of the only dropped one of its instrument.
        alike = [i for i in sorted(dropped) if piece.tracks[i].instrument == code]
        sources.append(alike[0] if len(alike) == 1 else None)
    return replace(piece, bars=first_bars, tracks=tracks), tuple(sources)


def _extended(piece: Piece, bars: int, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return the state of a piece with more bars; all bars of an empty track are to be written."""
    holes = np.zeros((len(piece.tracks), bars), np.bool_)
    holes[:, piece.bars :] = True
    holes[[not len(track) for track in piece.tracks]] = True
    return InfillState(replace(piece, bars=bars), holes, _levels(piece, request, vocabulary))


def _levels(piece: Piece, request: Request, vocabulary: Vocabulary) -> dict[int, int | None]:
    return {
        index: request.density_of(track.instrument, vocabulary)
        for index, track in enumerate(piece.tracks)
    }


def write(
    sampler: TokenSampler,
    states: Sequence[InfillState],
    seeds: Sequence[int],
    request: Request,
    vocabulary: Vocabulary,
    sung: Sequence[SungTrack] = (),
) -> list[Piece]:
    """Write all bars of states, window by window, all songs of a batch at the same time.

    `sung` are the words of each song, if words are given.
    """
    now = list(states)
    velocities = request.levels_of_velocity(vocabulary)
    # Stage 0 draws songs from nothing; each window has random numbers of its own.
    stage = 1
    while True:
        left = [song for song, state in enumerate(now) if not state.is_done]
        if not left:
            return [state.piece for state in now]
        words = [sung[song] if sung else None for song in left]
        templates = [
            _next_template(now[song], request, vocabulary, sampler.max_tokens, of)
            for song, of in zip(left, words, strict=True)
        ]
        given = [of for of in words if of is not None]
        constraint: Constraint = (
            GivenWords(vocabulary, templates, sampler.max_tokens, given, velocities)
            if given
            else InfillConstraint(vocabulary, templates, sampler.max_tokens, velocities)
        )
        places = np.array(
            [
                place_of(request, template.first_bar, now[song].piece.bars, vocabulary)
                for song, template in zip(left, templates, strict=True)
            ]
        )
        rows = sampler.draw(
            constraint, [seeds[song] for song in left], stage, places, templates[0].first_bar
        )
        for song, template, tokens in zip(left, templates, rows, strict=True):
            now[song] = now[song].filled(template, tokens, vocabulary)
        stage += 1


def _next_template(
    state: InfillState,
    request: Request,
    vocabulary: Vocabulary,
    max_tokens: int,
    sung: SungTrack | None,
) -> InfillTemplate:
    """Return the next bars of a state to write, with room for their words."""
    attributes = request.attribute_ids(vocabulary) or ()
    return next_template(
        state,
        vocabulary,
        max_tokens,
        attributes,
        full_bars=request.has_full_bars,
        as_whole=sung is not None,
        reserved=lambda of: tokens_of_words(of, sung, vocabulary) if sung else 0,
    )
