"""Check a request before composing; surprising results need the user's confirmation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.from_prompt import start_from_prompt
from megatron_music.generate.harmonise import ensemble_of, kept_voice
from megatron_music.generate.infill import InfillState
from megatron_music.generate.prompt import Prompt, read_prompt
from megatron_music.generate.song_key import FITTING_SHARE, key_of, parse_key
from megatron_music.generate.song_request import Request
from megatron_music.generate.training_data import training_instruments
from megatron_music.score.audio import LONGEST_MINUTES
from megatron_music.score.general_midi import instrument_title, numbered_title
from megatron_music.score.instruments import DRUMS, VOICES
from megatron_music.score.metre import COMMON_TIME, SIXTEENTHS, parse_metre
from megatron_music.tokenizer.vocabulary import Vocabulary

_SHOWN = 8
_MOST_SHARED = 0.1
"""The share of a voice's notes that may begin while another note of it sounds."""


def prepared(
    path: Path | None,
    request: Request,
    vocabulary: Vocabulary,
    data: Path | None,
    *,
    confirmed: bool = False,
) -> Prompt | None:
    """Return the prompt, None without one; raises UsageError for what needs a confirmation.

    These are instruments that the model never met (by its training `data`), bars in a metre that
    it does not compose in, chords in a voice and a prompt in another key. With `confirmed` they
    are accepted.
    """
    request.levels_of_velocity(vocabulary)
    request.refuse_unsung(vocabulary)
    if path is None:
        request.refuse_without_piece()
        if not confirmed:
            codes = list(request.codes(vocabulary) or ())
            _refuse_unknown(codes, training_instruments(data, vocabulary))
        asked = request.codes(vocabulary)
        if request.key is not None and asked is not None and set(asked) == {DRUMS}:
            raise UsageError(
                f"drums have no key (asked for {parse_key(request.key)}); leave out --key"
            )
        return None
    prompt = _read(path, request, vocabulary)
    odd = _odd_bars(prompt, request, vocabulary)
    if odd:
        if not confirmed:
            barlines = prompt.bars
            metres = sorted({barlines.metre(bar) for bar in odd}) if barlines else []
            named = f"bar {odd[0] + 1}" if len(odd) == 1 else f"bars {odd[0] + 1} to {odd[-1] + 1}"
            raise UsageError(
                f"{named} of {path} would be composed in {' and '.join(metres)}, and this model "
                f"composes in {', '.join(map(str, vocabulary.metres))}; choose other bars with "
                "--fill-bars, or give --yes to count four quarters as a bar throughout"
            )
        # With --yes four quarters are a bar throughout, as the message offered.
        prompt = _read(path, request, vocabulary, any_metre=True)
    state = _start(prompt, request, vocabulary)
    if not confirmed:
        _refuse_unknown_tracks(state, prompt, training_instruments(data, vocabulary), vocabulary)
        _refuse_chords(prompt, request, vocabulary)
        _refuse_another_key(state, request)
    return prompt


def _read(
    path: Path, request: Request, vocabulary: Vocabulary, *, any_metre: bool = False
) -> Prompt:
    prompt = read_prompt(path, vocabulary.settings.steps_per_quarter, any_metre, vocabulary.metres)
    if request.roles:
        prompt = prompt.assigned(request.roles)
    return prompt.as_named(ensemble_of(vocabulary))


def _start(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return the first song's state of a prompt under a request; raises UsageError."""
    request.refuse_with_piece()
    count = prompt.bar_count
    if request.fill_bars and max(request.fill_bars) > count:
        asked = f"{min(request.fill_bars)} to {max(request.fill_bars)}"
        one = str(request.fill_bars[0])
        asked = asked if len(request.fill_bars) > 1 else one
        raise UsageError(f"the piece has bars 1..{count} (got {asked}); choose among them")
    return start_from_prompt(prompt, prompt.on_grid(request), vocabulary, request.seeds[0])


def _odd_bars(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> list[int]:
    """Return the bars of the file, from 0, to be composed in a metre that the model lacks."""
    bars = prompt.bars
    if bars is None or all(map(bars.is_whole, range(bars.bars))):
        return []
    state = _start(prompt, request, vocabulary)
    if request.vary is not None:
        composed = set(range(bars.bars))
    else:
        grid = np.flatnonzero(state.holes.any(axis=0)).tolist()
        composed = set(map(bars.to_file, grid))
    return [
        bar
        for bar in sorted(composed)
        if not bars.is_whole(bar) and not (bar == 0 and bars.late[0])
    ]


def _refuse_unknown(codes: Sequence[int], learnt: frozenset[int] | None) -> None:
    """Raise UsageError for requested instruments that the training data do not have."""
    unknown = [] if learnt is None else sorted({code for code in codes if code not in learnt})
    if unknown:
        named = ", ".join(map(numbered_title, unknown))
        raise UsageError(
            f"this model never met {named}; it knows {_known(learnt)}: ask for one of these, or "
            "give --yes and it guesses"
        )


def _refuse_unknown_tracks(
    state: InfillState, prompt: Prompt, learnt: frozenset[int] | None, vocabulary: Vocabulary
) -> None:
    """Raise UsageError for tracks of instruments that the training data do not have."""
    if learnt is None:
        return
    tracks = list(zip(state.piece.tracks, state.sources, strict=True))
    _refuse_unknown([track.instrument for track, source in tracks if source is None], learnt)
    unknown = [
        source for track, source in tracks if source is not None and track.instrument not in learnt
    ]
    if not unknown:
        return
    ensemble = vocabulary.settings.ensemble
    tunes = [source for source in unknown if prompt.piece.tracks[source].instrument != DRUMS]
    if not tunes:
        example = ""
    elif len(ensemble) == len(prompt.names):
        example = f"--as {','.join(ensemble)}"
    else:
        name = prompt.names[tunes[0]]
        name = name if name and len(prompt.look_up(name)) == 1 else f"track {tunes[0] + 1}"
        known = instrument_title(min(learnt, key=_voices_first, default=0))
        example = f'--as "{name}={known}"'
    named = ", ".join(prompt.title(source) for source in unknown)
    raise UsageError(
        f"this model never met the instruments of {named}; it knows {_known(learnt)}: "
        + f"take tracks as what it knows, as in {example}, " * bool(example)
        + "leave them out with --drop, or give --yes and it guesses"
    )


def _known(learnt: frozenset[int] | None) -> str:
    titles = [instrument_title(code) for code in sorted(learnt or (), key=_voices_first)]
    return ", ".join(titles[:_SHOWN]) + ", ..." * (len(titles) > _SHOWN)


def _voices_first(code: int) -> tuple[bool, int]:
    return code not in VOICES, code


def remark(prompt: Prompt | None, request: Request, vocabulary: Vocabulary) -> str:
    """Return a remark for the user on which voice is kept, "" without one."""
    if prompt is None or request.voice is None:
        return ""
    place, code = kept_voice(prompt, request.voice, vocabulary)
    title, taken = prompt.title(place), instrument_title(code)
    return f"keeping {title}" + (f", taken as {taken}" if taken not in title else "")


def _refuse_chords(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> None:
    """Raise UsageError where the kept voice is a track with chords."""
    if request.voice is None:
        return
    place, code = kept_voice(prompt, request.voice, vocabulary)
    track = prompt.piece.tracks[place]
    ends = np.maximum.accumulate(track.end)
    shared = track.onset[1:] < ends[:-1]
    if code in VOICES and len(shared) and shared.mean() > _MOST_SHARED:
        raise UsageError(
            f"{prompt.title(place)} sounds several notes at once, {instrument_title(code)} sings "
            "one; give a track of one voice, or --yes"
        )


def _refuse_another_key(state: InfillState, request: Request) -> None:
    """Raise UsageError where the kept music is in another key than the one asked for."""
    if request.key is None:
        return
    key = parse_key(request.key)
    kept = replace(state.piece, tracks=tuple(one for one in state.piece.tracks if len(one)))
    share = key.share(kept)
    if share < FITTING_SHARE:
        raise UsageError(
            f"what is kept of the prompt sounds in {key_of(kept)}: {share:.0%} of it is of {key}; "
            "leave out --key, or give --yes to compose the new bars in it all the same"
        )


def refuse_long_audio(request: Request, prompt: Prompt | None, vocabulary: Vocabulary) -> None:
    """Raise UsageError, before composing, where the sound would be too long to render."""
    bars = request.song_bars or vocabulary.settings.bars
    metre = parse_metre(request.metre) if request.metre else COMMON_TIME
    quarters_a_bar = metre.sixteenths / SIXTEENTHS
    minutes = bars * quarters_a_bar / request.tempo
    if prompt is not None and prompt.source is not None and prompt.bars is not None:
        last = np.array([int(prompt.bars.starts[-1])])
        added = max(0, (request.bars or 0) - prompt.bar_count)
        tempo_bpm = request.tempo_bpm or max(10.0, prompt.source.score.tempo_bpm)
        plays_s = float(prompt.source.midi.seconds(last)[0])
        minutes = plays_s / 60 + added * quarters_a_bar / tempo_bpm
        bars = prompt.bar_count + added
    if minutes > LONGEST_MINUTES:
        raise UsageError(
            f"{bars} bars play for {minutes:.0f} minutes, {LONGEST_MINUTES} can be rendered; "
            "ask for fewer, or give --no-wav"
        )
