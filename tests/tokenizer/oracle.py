"""The grammar of mmmtrack in Python, a rule at a time: what its kernels are compared with."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from megatron_music.errors import TokenError
from megatron_music.score.instruments import INSTRUMENT_COUNT, VOICES
from megatron_music.score.words import LONGEST_SYLLABLE_BYTES
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, PITCHES, Kind, Vocabulary
from tests.tokenizer.oracle_position import Phase, Position

BoolArray = npt.NDArray[np.bool_]


class OracleWalker:
    """Follow the tokens of one piece, knowing at each point which may come next.

    With a plan, a token is legal only if the plan can still be met after it: whatever is chosen
    among the legal ones, the piece ends as asked and within `max_tokens`, provided that
    `max_tokens` is at least `min_tokens_left` at the start.
    """

    def __init__(self, vocabulary: Vocabulary, plan: Plan | None = None) -> None:
        self.vocabulary = vocabulary
        self.plan = plan or Plan()
        self.tokens: list[int] = []
        full_voices = self.plan.single_voices and self.plan.full_bars
        self.position = Position(vocabulary, self.plan.bars, full_voices)
        self._tracks = self.plan.track_count or 0
        self._wanted = Counter(self.plan.instruments or ())
        self._levels = dict(self.plan.densities)
        self._instrument = 0
        self._marks = range(vocabulary.piece_start, vocabulary.bar_end + 1)
        self._rules = {
            Kind.NOTE_ON: self._bad_note_on,
            Kind.NOTE_OFF: self._bad_note_off,
            Kind.TIME_DELTA: self._bad_delta,
            Kind.INST: self._bad_instrument,
            Kind.DENSITY: self._bad_density,
            Kind.METRE: self._bad_metre,
            Kind.TEMPO: self._bad_tempo,
            Kind.VELOCITY: self._bad_velocity,
            Kind.SYLLABLE: self._bad_syllable,
            Kind.ATTRIBUTE: self._bad_attribute,
            Kind.MARK: self._bad_mark,
        }

    @property
    def length(self) -> int:
        """Tokens taken so far."""
        return len(self.tokens)

    def _owed(self, position: Position) -> int:
        return position.min_tokens_left(self._tracks) + len(self._attributes_due(position))

    def _attributes_due(self, position: Position) -> list[int]:
        """Return the attributes asked for that do not stand at the head yet."""
        if position.phase not in (Phase.START, Phase.HEAD):
            return []
        return [token for token in self.plan.attributes or () if token > position.attribute]

    def advance(self, token: int) -> None:
        """Take the next token; raises TokenError with the reason if it is not legal."""
        reason = self.refusal(token)
        if reason is not None:
            raise TokenError(reason, self.length)
        kind, value = self.vocabulary.meanings[token]
        if kind is Kind.INST:
            self._instrument = value
            self._wanted[value] -= 1
        self.position.take(token)
        self.tokens.append(token)

    def allowed(self) -> BoolArray:
        """Return the legal next tokens as a mask over the vocabulary; none after the piece."""
        v, at = self.vocabulary, self.position
        mask = np.zeros(len(v), np.bool_)
        if at.phase is Phase.IN_BAR:
            self._allow_music(mask)
        elif at.phase is Phase.INSTRUMENT:
            codes: Iterable[int] = range(INSTRUMENT_COUNT)
            codes = codes if self.plan.instruments is None else (+self._wanted).keys()
            mask[[v.inst + code for code in codes]] = True
        elif at.phase is Phase.DENSITY:
            mask[v.density : v.density + DENSITY_LEVELS] = [
                self._bad_density(level) is None for level in range(DENSITY_LEVELS)
            ]
        elif at.phase is Phase.HEAD:
            mask[v.attribute :] = [self.refusal(t) is None for t in range(v.attribute, len(v))]
        if at.phase in (Phase.HEAD, Phase.BETWEEN_BARS):
            mask[v.metre : v.syllable] = [
                self.refusal(token) is None for token in range(v.metre, v.syllable)
            ]
        for mark in self._marks:
            mask[mark] = self.refusal(mark) is None
        return mask

    def _allow_music(self, mask: BoolArray) -> None:
        """Mark the notes, velocities and times that are legal in a bar."""
        v, sounding = self.vocabulary, self.position.sounding
        silent = next((pitch for pitch in range(PITCHES) if pitch not in sounding), None)
        if silent is not None and self.refusal(v.note_on + silent) is None:
            mask[v.note_on : v.note_on + PITCHES] = True
            mask[[v.note_on + pitch for pitch in sounding]] = False
        mask[v.velocity : v.tempo] = [
            self.refusal(token) is None for token in range(v.velocity, v.tempo)
        ]
        mask[v.syllable : v.attribute] = [
            self._bad_syllable(part) is None for part in range(v.attribute - v.syllable)
        ]
        for pitch in sounding:
            mask[v.note_off + pitch] = self.refusal(v.note_off + pitch) is None
        room = self.position.bar_steps - self.position.step_in_bar
        # Times within the bar are as good as each other; reaching the barline is different.
        for first, last in ((1, room - 1), (room, room)):
            if 0 < first <= last and not self._bad_delta(first):
                mask[v.time_delta + first : v.time_delta + last + 1] = True

    # -- the rules: a reason to refuse, or None ---------------------------------------------

    def refusal(self, token: int) -> str | None:
        """Say why a token is not legal here; None if it is."""
        if not 0 <= token < len(self.vocabulary):
            return f"id {token} is outside the vocabulary of {len(self.vocabulary)} tokens"
        kind, value = self.vocabulary.meanings[token]
        return self._rules[kind](value)

    def _misplaced(self, token: int) -> str:
        phase = self.position.phase
        expected = {
            Phase.START: "PIECE_START",
            Phase.HEAD: self._expected_at_head(),
            Phase.INSTRUMENT: "INST",
            Phase.DENSITY: "DENSITY",
            Phase.BETWEEN_BARS: "BAR_START or TRACK_END",
            Phase.IN_BAR: "NOTE_ON"
            if self.position.announced
            else "NOTE_ON, NOTE_OFF, TIME_DELTA or BAR_END",
            Phase.BETWEEN_TRACKS: "TRACK_START or PIECE_END",
            Phase.END: "nothing more",
        }[phase]
        name = self.vocabulary.tokens[token]
        return f"{name} is not legal {phase.value}; expected {expected}"

    def _expected_at_head(self) -> str:
        at = self.position
        untold = [name for name, of in (("METRE", at.metre), ("TEMPO", at.tempo)) if of is None]
        return untold[0] if untold else "TRACK_START"

    def _bad_note_on(self, pitch: int) -> str | None:
        token = self.vocabulary.note_on + pitch
        if self.position.phase is not Phase.IN_BAR:
            return self._misplaced(token)
        if pitch in self.position.sounding:
            return f"NOTE_ON={pitch} while {pitch} is sounding; expected its NOTE_OFF first"
        if self.vocabulary.has_velocities and self.position.velocity is None:
            return f"NOTE_ON={pitch} before the VELOCITY of the bar's first note"
        return self._bad_beginning(f"NOTE_ON={pitch}") or self._unaffordable(token)

    def _bad_beginning(self, name: str) -> str | None:
        """Say why no note can begin here."""
        if self.position.step_in_bar == self.position.bar_steps:
            return f"{name} after the last step of the bar; expected it in the next bar"
        if self._sings_already():
            return f"{name} while the voice sings {min(self.position.sounding)}"
        return None

    def _sings_already(self) -> bool:
        single = self.plan.single_voices and self._instrument in VOICES
        return single and bool(self.position.sounding)

    def _bad_velocity(self, level: int) -> str | None:
        at, token = self.position, self.vocabulary.velocity + level
        name = self.vocabulary.tokens[token]
        if at.phase is not Phase.IN_BAR or at.announced:
            return self._misplaced(token)
        if level == at.velocity:
            return f"{name} again; a VELOCITY is told where it changes"
        if len(at.sounding) == PITCHES:
            return f"{name} while all pitches are sounding"
        lowest, highest = self.plan.velocities or (level, level)
        if not lowest <= level <= highest:
            asked = f"{self.vocabulary.velocity_of(lowest)}..{self.vocabulary.velocity_of(highest)}"
            return f"{name}, but {asked} was asked for"
        return self._bad_beginning(name) or self._unaffordable(token)

    def _bad_syllable(self, part: int) -> str | None:
        at, token = self.position, self.vocabulary.syllable + part
        name = self.vocabulary.tokens[token]
        if at.sung is None:
            return f"{name} where no syllable is sung; it stands right after its NOTE_ON"
        text = self.vocabulary.spelling.lengths_bytes[part]
        if not text and not at.sung:
            return f"{name} before the text of its syllable"
        if text and at.sung + text > LONGEST_SYLLABLE_BYTES:
            return f"{name} after {at.sung} bytes of its syllable, which would have more than 32"
        return self._unaffordable(token)

    def _bad_note_off(self, pitch: int) -> str | None:
        at = self.position
        if at.phase is not Phase.IN_BAR or at.announced:
            return self._misplaced(self.vocabulary.note_off + pitch)
        if pitch not in at.sounding:
            return f"NOTE_OFF={pitch} while {pitch} is not sounding; expected its NOTE_ON before"
        if not self.position.step_in_bar:
            return (
                f"NOTE_OFF={pitch} at step 0; a note that ends on a barline ends in the bar before"
            )
        if at.sounding[pitch] == at.step:
            return f"NOTE_OFF={pitch} at the step of its NOTE_ON; expected a TIME_DELTA between"
        # A voice that sings up to each barline owes another note; else an end only saves tokens.
        return self._unaffordable(self.vocabulary.note_off + pitch) if at.is_full else None

    def _bad_delta(self, steps: int) -> str | None:
        at, bar = self.position, self.position.bar_steps
        token = self.vocabulary.time_delta + steps
        if at.phase is not Phase.IN_BAR or at.announced:
            return self._misplaced(token)
        room = bar - self.position.step_in_bar
        if steps > room:
            return f"TIME_DELTA={steps} with {room} of {bar} steps left in the bar"
        if steps == room and not at.notes and self.position.in_last_bar:
            return f"TIME_DELTA={steps} would leave the track without a note"
        if steps == room and at.is_full and not at.sounding:
            return f"TIME_DELTA={steps} while the voice is silent would leave the bar not full"
        return self._unaffordable(token)

    def _bad_instrument(self, code: int) -> str | None:
        token = self.vocabulary.inst + code
        if self.position.phase is not Phase.INSTRUMENT:
            return self._misplaced(token)
        if self.plan.instruments is not None and self._wanted[code] <= 0:
            return f"{self.vocabulary.tokens[token]} was not asked for, or not so often"
        return None

    def _bad_density(self, level: int) -> str | None:
        if self.position.phase is not Phase.DENSITY:
            return self._misplaced(self.vocabulary.density + level)
        asked = self._levels.get(self._instrument, level)
        return None if level == asked else f"DENSITY={level}, but {asked} was asked for"

    def _bad_attribute(self, token: int) -> str | None:
        if self.position.phase is not Phase.HEAD:
            return self._misplaced(token)
        v, at = self.vocabulary, self.position
        for mark, is_told in (
            ("METRE", v.has_metres and at.metre is not None),
            ("TEMPO", v.has_tempos and at.tempo is not None),
        ):
            if is_told:
                return f"{v.tokens[token]} after {mark}; attributes come first"
        if token <= self.position.attribute:
            return f"{self.vocabulary.tokens[token]} is out of order or repeated"
        if self.plan.attributes is not None and [token] != self._attributes_due(self.position)[:1]:
            return f"{self.vocabulary.tokens[token]} was not asked for, or not yet"
        return self._unaffordable(token)

    def _bad_metre(self, metre: int) -> str | None:
        at, token = self.position, self.vocabulary.metre + metre
        name = self.vocabulary.tokens[token]
        if at.phase not in (Phase.HEAD, Phase.BETWEEN_BARS) or at.changed or at.tempo_changed:
            return self._misplaced(token)
        if self.plan.metre not in (None, metre):
            return f"{name}, but {self.vocabulary.metres[self.plan.metre or 0]} was asked for"
        if self.vocabulary.has_tempos and at.phase is Phase.HEAD and at.tempo is not None:
            return f"{name} after TEMPO; METRE comes first"
        return self._bad_change(token, metre, at.metre, at.metre_due)

    def _bad_tempo(self, tempo: int) -> str | None:
        at, token = self.position, self.vocabulary.tempo + tempo
        name = self.vocabulary.tokens[token]
        if at.phase not in (Phase.HEAD, Phase.BETWEEN_BARS) or at.tempo_changed:
            return self._misplaced(token)
        if self.plan.tempo not in (None, tempo):
            return f"{name}, but {self.vocabulary.tempi[self.plan.tempo or 0]} was asked for"
        if at.phase is Phase.HEAD and at.metre is None:
            return f"{name} before METRE"
        if at.metre_due is not None:
            return f"{name} before METRE, which comes first"
        return self._bad_change(token, tempo, at.tempo, at.tempo_due)

    def _bad_change(self, token: int, value: int, now: int | None, due: int | None) -> str | None:
        """Say why METRE or TEMPO cannot be told at the head, or before the bar that comes now."""
        at = self.position
        name = self.vocabulary.tokens[token]
        kind = name.partition("=")[0]
        if at.phase is Phase.HEAD:
            if now is not None:
                return f"{name} after another {kind}; expected {self._expected_at_head()}"
            if missing := self._attributes_due(at):
                return f"{name} before {self.vocabulary.tokens[missing[0]]}"
            return self._unaffordable(token)
        if not at.bar or at.bar == at.piece_bars:
            return f"{name} where no bar changes; a track's first bar has the {kind} of the head"
        if value == now:
            return f"{name} again; a {kind} is told where it changes"
        if at.tracks > 1 and due != value:
            return f"{name} before bar {at.bar + 1}, unlike in the first track"
        return self._unaffordable(token)

    def _bad_mark(self, token: int) -> str | None:
        v = self.vocabulary
        rules = {
            (Phase.START, v.piece_start): None,
            (Phase.HEAD, v.track_start): self._bad_first_track,
            (Phase.BETWEEN_BARS, v.bar_start): self._bad_bar_start,
            (Phase.BETWEEN_BARS, v.track_end): self._bad_track_end,
            (Phase.IN_BAR, v.bar_end): self._bad_bar_end,
            (Phase.BETWEEN_TRACKS, v.track_start): self._bad_next_track,
            (Phase.BETWEEN_TRACKS, v.piece_end): self._bad_piece_end,
        }
        key = (self.position.phase, token)
        if key not in rules:
            return self._misplaced(token)
        rule = rules[key]
        return (rule and rule()) or self._unaffordable(token)

    def _bad_first_track(self) -> str | None:
        due = self._attributes_due(self.position)
        if due:
            return f"TRACK_START before {self.vocabulary.tokens[due[0]]}"
        expected = self._expected_at_head()
        return None if expected == "TRACK_START" else f"TRACK_START before {expected}"

    def _bad_bar_start(self) -> str | None:
        if self.position.bar == self.position.piece_bars:
            return f"BAR_START after bar {self.position.bar}; all tracks must have as many bars"
        v, at = self.vocabulary, self.position
        for first, due in ((v.metre, at.metre_due), (v.tempo, at.tempo_due)):
            if due is not None:
                name = v.tokens[first + due]
                return f"BAR_START of bar {at.bar + 1} before {name}, as in the first track"
        return None

    def _bad_bar_end(self) -> str | None:
        at = self.position
        if at.announced:
            return self._misplaced(self.vocabulary.bar_end)
        if self.position.in_last_bar and at.sounding:
            return f"BAR_END of the last bar while {min(at.sounding)} is sounding"
        if self.position.in_last_bar and not at.notes:
            return "BAR_END of the last bar of a track without a note"
        room = at.bar_steps - at.step_in_bar
        if at.is_full and room and not at.sounding:
            return f"BAR_END while the voice is silent, {room} steps before the barline"
        return None

    def _bad_track_end(self) -> str | None:
        at = self.position
        if at.changed or at.tempo_changed:
            return f"TRACK_END after {'METRE' if at.changed else 'TEMPO'}; expected BAR_START"
        if at.sounding:
            return f"TRACK_END while {min(at.sounding)} is sounding"
        if not at.bar or (at.piece_bars is not None and at.bar < at.piece_bars):
            return f"TRACK_END after {at.bar} of {at.piece_bars or 'at least 1'} bars"
        return None if at.notes else "TRACK_END of a track without a note"

    def _bad_next_track(self) -> str | None:
        if self.position.tracks == self.plan.track_count:
            return f"TRACK_START after all the {self.position.tracks} tracks asked for"
        return None

    def _bad_piece_end(self) -> str | None:
        missing = self._tracks - self.position.tracks
        return f"PIECE_END with {missing} of the tracks asked for missing" if missing > 0 else None

    def _unaffordable(self, token: int) -> str | None:
        limit = self.plan.max_tokens
        if limit is None or self.length + 1 + self._owed(self.position.after(token)) <= limit:
            return None
        name = self.vocabulary.tokens[token]
        return f"{name} would not leave room to finish within {limit} tokens"
