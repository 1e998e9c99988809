"""From a request to drafts, and from drafts to pieces, all songs of a batch side by side.

A draft is a piece with bars still to be written; they are written window by window.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.choice_kernel import song_words
from megatron_music.generate.draft import (
    BAR_TOKENS,
    BoolArray,
    Draft,
    cells_named,
    next_sheet,
    open_bars,
    until_step,
)
from megatron_music.generate.harmonise import around_voice
from megatron_music.generate.request import Request
from megatron_music.generate.sampler import Drawer, PlanGuide, SheetGuide
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import VOICES, instrument_name, parse_instrument
from megatron_music.score.notes import IntArray, Piece, Track
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.grammar import Plan, Walker
from megatron_music.tokenizer.places import UNKNOWN
from megatron_music.tokenizer.vocabulary import Vocabulary

_NOTHING: IntArray = np.zeros(0, np.int64)

_VARYING = 1 << 32
"""The stage that which bars vary is drawn in: no window has it."""


def compose(
    drawer: Drawer, request: Request, vocabulary: Vocabulary, seeds: Sequence[int]
) -> list[Piece]:
    """Compose a piece a seed from nothing; more bars than fit a window are added by sliding it."""
    plan = first_plan(request, vocabulary, drawer.max_tokens)
    guide = PlanGuide(vocabulary, plan, len(seeds))
    bars = request.bars or vocabulary.settings.bars
    places = np.array([place_of(request, 0, bars, vocabulary)] * len(seeds))
    rows = drawer.draw(guide, seeds, places=places)
    pieces = [decode(tokens, vocabulary) for tokens in rows]
    if bars == plan.bars:
        return pieces
    drafts = [_extended(piece, bars, request, vocabulary) for piece in pieces]
    return write(drawer, drafts, seeds, request, vocabulary)


def first_plan(request: Request, vocabulary: Vocabulary, max_tokens: int) -> Plan:
    """Return the plan of the first window: the bars asked for, as far as one window holds them.

    Raises UsageError if not even a bar fits.
    """
    codes = request.codes(vocabulary)
    levels = {code: request.density_of(code, vocabulary) for code in codes or range(133)}
    asked = tuple((code, level) for code, level in sorted(levels.items()) if level is not None)
    bars = min(request.bars or vocabulary.settings.bars, vocabulary.settings.bars)
    attributes = request.attribute_ids(vocabulary)
    tracks = request.tracks or len(codes or (0,))
    while True:
        plan = Plan(
            *(bars, codes, max_tokens, True, attributes, asked, request.tracks),
            full_bars=request.full_bars,
        )
        needed = Walker(vocabulary, plan).tokens_owed
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
    """Return the place in its piece of a window of a song of `bars` bars, as models are told it.

    A song that only begins like a piece, or only ends like one, is taken for part of a piece that
    is a training window longer; where neither is asked the place is unknown.
    """
    if not (request.begin or request.end):
        return UNKNOWN, UNKNOWN
    before = 0 if request.begin else vocabulary.settings.bars
    behind = 0 if request.end else vocabulary.settings.bars
    return before + first_bar, before + bars + behind


def continued(piece: Piece, request: Request, vocabulary: Vocabulary) -> Draft:
    """Return a piece to be continued to `request.bars`, with the tracks that it drops and adds."""
    kept = _prompt(piece, request, vocabulary)
    bars = request.bars or kept.bars + vocabulary.settings.bars
    if bars < kept.bars:
        raise UsageError(
            f"bars is {bars}, but {kept.bars} are kept of the piece; ask for more, or keep fewer "
            "with prompt_bars"
        )
    draft = _extended(kept, bars, request, vocabulary)
    if draft.is_done:
        raise UsageError(
            f"the piece has {kept.bars} bars already and no track is added; ask for more bars, "
            "or say what to fill"
        )
    return draft


def opened(piece: Piece, request: Request, vocabulary: Vocabulary, seed: int) -> Draft:
    """Return a piece with the bars opened that `request` fills, or that `seed` chose to vary."""
    of_all_bars = {request.bars, request.prompt_bars} <= {None, piece.bars}
    if not of_all_bars or request.instruments or request.drop:
        raise UsageError(
            f"filling keeps the {piece.bars} bars and the tracks of the piece; leave out bars, "
            "prompt_bars, instruments and drop"
        )
    if request.vary is None:
        codes = [parse_instrument(name) for name in request.fill_tracks]
        holes = cells_named(piece, request.fill_bars, codes)
    else:
        holes = _some_cells(piece, request.vary, seed)
    return replace(open_bars(piece, holes), levels=_levels(piece, request, vocabulary))


def harmonised(piece: Piece, request: Request, vocabulary: Vocabulary) -> Draft:
    """Return the voice that `request` keeps of a piece, everything around it to be written."""
    kept = around_voice(piece, request, vocabulary)
    return _extended(kept, kept.bars, request, vocabulary)


def _some_cells(piece: Piece, share: float, seed: int) -> BoolArray:
    shape = (len(piece.tracks), piece.bars)
    count = max(1, round(share * shape[0] * shape[1]))
    numbers = np.arange(shape[0] * shape[1], dtype=np.uint64)
    order = np.argsort(scramble(song_words([seed], _VARYING) + numbers), kind="stable")
    cells = np.zeros(len(numbers), np.bool_)
    cells[order[:count]] = True
    return cells.reshape(shape)


def _prompt(piece: Piece, request: Request, vocabulary: Vocabulary) -> Piece:
    """Return what is kept of a piece, and the tracks to add, still empty."""
    bars = piece.bars if request.prompt_bars is None else request.prompt_bars
    if bars > piece.bars:
        raise UsageError(f"prompt_bars is {bars}, but the piece has {piece.bars} bars; keep fewer")
    dropped = {parse_instrument(name) for name in request.drop}
    cells_named(piece, (), sorted(dropped))
    kept = [until_step(t, bars * piece.steps_per_bar) for t in piece.tracks]
    kept = [track for track in kept if track.instrument not in dropped and len(track)]
    if request.instruments is not None:
        added = [parse_instrument(name) for name in request.instruments]
        for code in set(VOICES).intersection(added) & {track.instrument for track in kept}:
            name = instrument_name(code)
            raise UsageError(f"{name} is to be added, but is kept of the piece; give --drop {name}")
    else:
        added = _missing(piece, kept, vocabulary)
    if not kept and not added:
        raise UsageError("nothing of the piece is kept; keep a track or more bars of it")
    empty = [Track(code, _NOTHING, _NOTHING, _NOTHING) for code in added]
    return replace(piece, bars=bars, tracks=(*kept, *empty))


def _missing(piece: Piece, kept: Sequence[Track], vocabulary: Vocabulary) -> list[int]:
    """Return what a piece lacks of the instruments that all training music has, if it has some."""
    ensemble = [parse_instrument(name) for name in vocabulary.settings.ensemble]
    held = {track.instrument for track in kept}
    is_alike = any(track.instrument in ensemble for track in piece.tracks)
    return [code for code in ensemble if code not in held] if is_alike else []


def _extended(piece: Piece, bars: int, request: Request, vocabulary: Vocabulary) -> Draft:
    """Return the draft of a piece with more bars; a track without a note is all to be written."""
    holes = np.zeros((len(piece.tracks), bars), np.bool_)
    holes[:, piece.bars :] = True
    holes[[not len(track) for track in piece.tracks]] = True
    return Draft(replace(piece, bars=bars), holes, _levels(piece, request, vocabulary))


def _levels(piece: Piece, request: Request, vocabulary: Vocabulary) -> dict[int, int | None]:
    return {
        index: request.density_of(track.instrument, vocabulary)
        for index, track in enumerate(piece.tracks)
    }


def write(
    drawer: Drawer,
    drafts: Sequence[Draft],
    seeds: Sequence[int],
    request: Request,
    vocabulary: Vocabulary,
) -> list[Piece]:
    """Write drafts to their end, window by window, all songs of a batch side by side."""
    now = list(drafts)
    attributes = request.attribute_ids(vocabulary) or ()
    stage = 1
    while True:
        left = [song for song, draft in enumerate(now) if not draft.is_done]
        if not left:
            return [draft.piece for draft in now]
        sheets = [
            next_sheet(
                now[song], vocabulary, drawer.max_tokens, attributes, full_bars=request.full_bars
            )
            for song in left
        ]
        guide = SheetGuide(vocabulary, sheets, drawer.max_tokens)
        places = np.array(
            [
                place_of(request, sheet.first_bar, now[song].piece.bars, vocabulary)
                for song, sheet in zip(left, sheets, strict=True)
            ]
        )
        rows = drawer.draw(guide, [seeds[song] for song in left], stage, places)
        for song, sheet, tokens in zip(left, sheets, rows, strict=True):
            now[song] = now[song].filled(sheet, tokens, vocabulary)
        stage += 1
