"""One voice of a piece kept, all others to be composed around it."""

from dataclasses import replace

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.draft import until_step
from megatron_music.generate.request import Request
from megatron_music.score.instruments import DRUMS, VOICES, instrument_name, parse_instrument
from megatron_music.score.notes import IntArray, Piece, Track
from megatron_music.tokenizer.vocabulary import Vocabulary

_NOTHING: IntArray = np.zeros(0, np.int64)


def with_voice(piece: Piece, voice: str) -> Piece:
    """Return a piece with the track that `voice` names first, played by the voice it names.

    "SOPRANO" is the first track of that instrument, or the only one of the piece; "0=SOPRANO" the
    first of instrument 0, as the soprano. Raises UsageError where there is no such track.
    """
    source, _, name = voice.rpartition("=")
    code = parse_instrument(name)
    held = [track.instrument for track in piece.tracks]
    wanted = parse_instrument(source) if source else code
    if wanted not in held and not (source or len(held) > 1):
        wanted = held[0]
    if wanted not in held:
        names = ", ".join(dict.fromkeys(map(instrument_name, held)))
        raise UsageError(
            f"the piece has no track {instrument_name(wanted)}; it has {names}: name one of them "
            f"as voice, or give {instrument_name(held[0])}={instrument_name(code)} to take it as "
            f"{instrument_name(code)}"
        )
    if (wanted == DRUMS) != (code == DRUMS):
        raise UsageError(
            f"{instrument_name(wanted)} cannot be taken as {instrument_name(code)}: drums have no "
            "pitches; name another track"
        )
    place = held.index(wanted)
    others = (*piece.tracks[:place], *piece.tracks[place + 1 :])
    return replace(piece, tracks=(replace(piece.tracks[place], instrument=code), *others))


def around_voice(piece: Piece, request: Request, vocabulary: Vocabulary) -> Piece:
    """Return the voice that a request keeps of a piece, and behind it what to compose, empty.

    These are the instruments asked for, else those of all training music, else those of the
    piece's other tracks. Raises UsageError where nothing is kept or nothing is to compose.
    """
    _refuse_others(request)
    kept, *others = with_voice(piece, request.voice or "").tracks
    bars = piece.bars if request.prompt_bars is None else request.prompt_bars
    if bars > piece.bars or request.bars not in (None, bars):
        raise UsageError(
            f"harmonising keeps the {piece.bars} bars of the piece; leave out bars, or keep fewer "
            "with prompt_bars"
        )
    kept = until_step(kept, bars * piece.steps_per_bar)
    name = instrument_name(kept.instrument)
    if not len(kept):
        raise UsageError(f"{name} has no note in the first {bars} bars; keep more of them")
    ensemble = [parse_instrument(one) for one in vocabulary.settings.ensemble]
    if request.instruments is not None:
        added = [parse_instrument(one) for one in request.instruments]
    elif ensemble and kept.instrument not in ensemble:
        raise UsageError(
            f"this model composes {', '.join(vocabulary.settings.ensemble)}, not {name}; give "
            f"{name}={vocabulary.settings.ensemble[0]} as voice to take it as one of them"
        )
    else:
        added = ensemble or sorted(track.instrument for track in others)
        added = [code for code in added if code != kept.instrument or not ensemble]
    if kept.instrument in VOICES and kept.instrument in added:
        raise UsageError(f"{name} is kept of the piece; leave it out of the instruments")
    if not added:
        raise UsageError(f"nothing to compose around {name}; say which instruments")
    empty = (Track(code, _NOTHING, _NOTHING, _NOTHING) for code in added)
    return replace(piece, bars=bars, tracks=(kept, *empty))


def _refuse_others(request: Request) -> None:
    for name in ("drop", "fill_bars", "fill_tracks", "vary"):
        if getattr(request, name):
            raise UsageError(f"harmonising composes all but one voice anew; leave out {name}")
