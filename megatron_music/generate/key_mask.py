"""Music kept to a key: notes outside its scale are not begun."""

import numpy as np
import torch
from transformers import LogitsProcessor

from megatron_music.generate.key import Key
from megatron_music.score.instruments import DRUMS, INSTRUMENT_COUNT
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

_STRENGTH = 2.0
"""How many times over the notes of a scale are weighed by how well they fit its key.

Of 12 songs of bach-tiny in C major and 12 in E minor, `key_of` finds that key in 5 and 3 by the
mask alone, in 10 and 4 at strength 1, in 11 and 7 at strength 2.
"""


class KeyProcessor(LogitsProcessor):  # type: ignore[misc]
    """Begin no note outside a key's scale, where another token is legal; drums have no key.

    Of the scale's notes, the tonic and those close to it become likelier; that a note begins stays
    as likely as it was. Applied after the grammar's mask. Bars that are written after the tracks
    belong to the tracks that hid them, in order.
    """

    def __init__(self, key: Key, vocabulary: Vocabulary, songs: int) -> None:
        pitches = np.arange(PITCHES) % 12
        favour = np.where(key.scale[pitches], _STRENGTH * np.log(key.weights[pitches]), -np.inf)
        self._favour = torch.from_numpy(favour)
        self._notes = slice(vocabulary.note_on, vocabulary.note_on + PITCHES)
        self._inst = vocabulary.inst
        self._hides = vocabulary.ids.get("FILL_IN", -1)
        self._fills = vocabulary.ids.get("FILL_START", -1)
        self._taken = 0
        self._instruments = [0] * songs
        self._hidden: list[list[int]] = [[] for _ in range(songs)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Weigh scores [songs, vocabulary] of notes, and mask those outside the scale."""
        rows = input_ids[:, self._taken :].tolist()
        self._taken = input_ids.shape[1]
        for song, tokens in enumerate(rows):
            for token in tokens:
                if self._inst <= token < self._inst + INSTRUMENT_COUNT:
                    self._instruments[song] = token - self._inst
                elif token == self._hides:
                    self._hidden[song].append(self._instruments[song])
                elif token == self._fills and self._hidden[song]:
                    self._instruments[song] = self._hidden[song].pop(0)
        pitched = torch.tensor([code != DRUMS for code in self._instruments])
        favour = torch.where(pitched[:, None], self._favour[None], 0.0).to(scores)
        notes = scores[:, self._notes]
        weighed = notes + favour
        lost = notes.logsumexp(dim=1, keepdim=True) - weighed.logsumexp(dim=1, keepdim=True)
        masked = scores.clone()
        masked[:, self._notes] = weighed + lost.nan_to_num(nan=0.0, posinf=0.0)
        # Where no note of the scale is legal, as when all of them sound, the grammar's mask stays.
        possible = torch.isfinite(masked).any(dim=1, keepdim=True)
        return torch.where(possible, masked, scores)
