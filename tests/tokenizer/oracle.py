"""The grammar of mmmtrack in Python, a rule at a time: what its kernels are compared with."""

from collections import Counter
from functools import partial

from megatron_music.errors import TokenError
from megatron_music.score.instruments import VOICES
from megatron_music.score.words import LONGEST_SYLLABLE_BYTES
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.vocabulary import PITCHES, Kind, Vocabulary
from tests.tokenizer.oracle_position import METRE, TEMPO, Phase, Position


class OracleWalker:
    """Follow the tokens of one piece, knowing at each point why a token may not come next.

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
        self._rules = {
            Kind.NOTE_ON: self._bad_note_on,
            Kind.NOTE_OFF: self._bad_note_off,
            Kind.TIME_DELTA: self._bad_delta,
            Kind.INST: self._bad_instrument,
            Kind.DENSITY: self._bad_density,
            Kind.METRE: partial(self._bad_change, METRE),
            Kind.TEMPO: partial(self._bad_change, TEMPO),
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
        if None not in self.position.now:
            return "TRACK_START"
        return ("METRE", "TEMPO")[self.position.now.index(None)]

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
        for mark, has, now in zip(
            ("METRE", "TEMPO"), (v.has_metres, v.has_tempos), at.now, strict=True
        ):
            if has and now is not None:
                return f"{v.tokens[token]} after {mark}; attributes come first"
        if token <= self.position.attribute:
            return f"{self.vocabulary.tokens[token]} is out of order or repeated"
        if self.plan.attributes is not None and [token] != self._attributes_due(self.position)[:1]:
            return f"{self.vocabulary.tokens[token]} was not asked for, or not yet"
        return self._unaffordable(token)

    def _bad_change(  # noqa: C901 (a rule a line)
        self, which: int, value: int
    ) -> str | None:
        """Say why METRE or TEMPO cannot be told at the head, or before the bar that comes now."""
        at, v, plan = self.position, self.vocabulary, self.plan
        token, now, due = (v.metre, v.tempo)[which] + value, at.now[which], at.due(which)
        name, kind = v.tokens[token], ("METRE", "TEMPO")[which]
        if at.phase not in (Phase.HEAD, Phase.BETWEEN_BARS) or any(at.changed[which:]):
            return self._misplaced(token)
        asked = (plan.metre, plan.tempo)[which]
        if asked not in (None, value):
            return f"{name}, but {(v.metres, v.tempi)[which][asked or 0]} was asked for"
        at_head = at.phase is Phase.HEAD
        if which == METRE and at_head and v.has_tempos and at.now[TEMPO] is not None:
            return f"{name} after TEMPO; METRE comes first"
        if which == TEMPO and at_head and at.now[METRE] is None:
            return f"{name} before METRE"
        if which == TEMPO and at.due(METRE) is not None:
            return f"{name} before METRE, which comes first"
        if at_head:
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
        for which, first in enumerate((v.metre, v.tempo)):
            if (due := at.due(which)) is not None:
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
        if any(at.changed):
            name = "METRE" if at.changed[METRE] else "TEMPO"
            return f"TRACK_END after {name}; expected BAR_START"
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
