"""Keep one voice of a piece and compose the others; or keep all, and add words to one."""

from dataclasses import replace

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.infill import InfillState, empty_track, until_step
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.song_request import Request
from megatron_music.score.general_midi import find_instrument, instrument_title
from megatron_music.score.instruments import (
    BASS,
    DRUMS,
    SOPRANO,
    TENOR,
    VOICES,
    parse_instrument,
)
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import Vocabulary

_LOWEST_MEDIANS = ((SOPRANO, 60), (TENOR, 52), (BASS, 0))
"""The voices that a tune may be taken as, with the lowest median pitch of each."""


def kept_voice(prompt: Prompt, voice: str, vocabulary: Vocabulary) -> tuple[int, int]:
    """Return the track that `voice` names, and the instrument that the model takes it for.

    "Lead=SOPRANO" names both. "SOPRANO" is the first track of that name, or the only one of the
    piece; "" is the only track, or the only one that the model knows. A track with an instrument
    that the model does not know gets a voice of its choir by its pitches. Raises UsageError where
    there is no such track.
    """
    ensemble = ensemble_of(vocabulary)
    codes = [track.instrument for track in prompt.piece.tracks]
    source, _, name = voice.rpartition("=")
    wanted: int | None = None
    if source:
        place, wanted = prompt.find(source)[0], find_instrument(name)
    elif not name:
        known = [place for place, one in enumerate(codes) if one in ensemble]
        only = [places for places in (range(len(codes)), known) if len(places) == 1]
        if not only:
            example = prompt.names[0] or instrument_title(codes[0])
            raise UsageError(
                f"which track is to be kept? The piece has {prompt.titles()}; name one, as in "
                f'--voice "{example}"'
            )
        place = only[0][0]
    elif found := prompt.look_up(name):
        place = found[0]
    elif len(codes) == 1:
        place, wanted = 0, find_instrument(name)
    else:
        place = prompt.find(name)[0]
    if wanted is None:
        wanted = codes[place]
        if ensemble and wanted not in ensemble and wanted != DRUMS:
            middle = float(np.median(prompt.piece.tracks[place].pitch))
            fitting = [one for one, lowest in _LOWEST_MEDIANS if middle >= lowest]
            wanted = next((one for one in fitting if one in ensemble), ensemble[0])
    if (wanted == DRUMS) != (codes[place] == DRUMS):
        raise UsageError(
            f"{prompt.title(place)} cannot be taken as {instrument_title(wanted)}: drums have no "
            "pitches; name another track"
        )
    return place, wanted


def ensemble_of(vocabulary: Vocabulary) -> list[int]:
    """Return the instruments of all training pieces; empty where pieces differ."""
    return [parse_instrument(name) for name in vocabulary.settings.ensemble]


def around_voice(
    prompt: Prompt, request: Request, vocabulary: Vocabulary
) -> tuple[Piece, tuple[int | None, ...]]:
    """Return the voice that a request keeps of a piece, followed by empty tracks to compose.

    These have the requested instruments, else those of all training music, else those of the
    piece's other tracks, which they replace. The second value is the piece's track of each, None
    for a new one. Raises UsageError where nothing is kept or nothing is to be composed.
    """
    for other in ("drop", "fill_bars", "fill_tracks", "vary"):
        if getattr(request, other):
            raise UsageError(f"harmonising composes all but one voice anew; leave out `{other}`")
    piece = prompt.piece
    place, code = kept_voice(prompt, request.voice or "", vocabulary)
    bars = piece.bars if request.prompt_bars is None else request.prompt_bars
    if bars > piece.bars or request.bars not in (None, bars):
        raise UsageError(
            f"harmonising keeps the {piece.bars} bars of the piece; leave out `bars`, or keep "
            "fewer with `prompt_bars`"
        )
    kept = replace(until_step(piece.tracks[place], int(piece.bar_starts[bars])), instrument=code)
    name = instrument_title(code)
    if not len(kept):
        raise UsageError(f"{name} has no note in the first {bars} bars; keep more of them")
    added = _around(prompt, place, code, request, vocabulary)
    others = {i: one.instrument for i, one in enumerate(piece.tracks) if i != place}
    sources: list[int | None] = [place]
    for one in added:
        source = next((i for i, instrument in others.items() if instrument == one), None)
        sources.append(source)
        if source is not None:
            del others[source]
    empty = map(empty_track, added)
    return replace(piece, bars=bars, tracks=(kept, *empty)), tuple(sources)


def _around(
    prompt: Prompt, place: int, code: int, request: Request, vocabulary: Vocabulary
) -> list[int]:
    """Return the instruments to compose around a voice."""
    name, ensemble = instrument_title(code), ensemble_of(vocabulary)
    tracks = prompt.piece.tracks
    if request.instruments is not None:
        added = [find_instrument(one) for one in request.instruments]
    elif ensemble and code == DRUMS:
        raise UsageError(
            f"{name} have no pitches to harmonise; give a piece with a tune, or name its track as "
            "`voice`"
        )
    elif ensemble and code not in ensemble:
        known = ", ".join(map(instrument_title, ensemble))
        raise UsageError(
            f"this model composes {known}, not {name}; give "
            f'`voice` as "{name}={vocabulary.settings.ensemble[0]}" to take it as one of them'
        )
    elif ensemble:
        added = [one for one in ensemble if one != code]
    else:
        added = sorted(track.instrument for i, track in enumerate(tracks) if i != place)
    if code in VOICES and code in added:
        raise UsageError(f"{name} is kept of the piece; leave it out of the instruments")
    if not added:
        raise UsageError(
            f"nothing to compose around {name}; say which instruments, as in --instrument piano"
        )
    return added


def to_be_sung(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> tuple[InfillState, int]:
    """Return a piece without its dropped tracks, and the index of the track to be sung.

    No bar is to be written. The track that is sung is the one that the request calls its voice; it
    loses the words that it has. Raises UsageError where there is none.
    """
    place, code = kept_voice(prompt, request.voice or "", vocabulary)
    dropped = {track for name in request.drop for track in prompt.find(name)}
    tracks = prompt.piece.tracks
    kept = tuple(i for i, track in enumerate(tracks) if i not in dropped and len(track))
    if place not in kept or code == DRUMS:
        why = "is dropped" if place in dropped else "has no note to sing"
        raise UsageError(f"{prompt.title(place)} {why}; name another track as `voice`")
    melody = replace(tracks[place], instrument=code, syllables=None)
    piece = replace(prompt.piece, tracks=tuple(melody if i == place else tracks[i] for i in kept))
    left_out = sorted(set(range(len(tracks))).difference(kept))
    holes = np.zeros((len(kept), piece.bars), np.bool_)
    return InfillState(piece, holes, {}, kept, tuple(left_out)), kept.index(place)
