"""What one iteration costs in floating point operations: three formulas, each by its name.

They hold for a GPT with a dense GELU MLP of width 4h and a tied head. B is the global batch in
sequences, s the sequence length in tokens, l the layers, h the width, V the padded vocabulary.
A multiplication and an addition count as two operations. At s = 4096 and h = 1024 the first is
1.67 times the last: a utilisation without its formula's name is meaningless.
"""

from dataclasses import dataclass

from megatron_music.config import Recipe

VOCABULARY_MULTIPLE = 128
"""The vocabulary is padded to a multiple of this in every layout."""


@dataclass(frozen=True)
class Shape:
    """The numbers that decide the cost: sequences, tokens, layers, width, padded vocabulary.

    `attended_tokens` is the s of attention's term: where attention stays inside documents, the mean
    length of a token's document; None for whole sequences.
    """

    global_batch_size: int
    seq_length: int
    num_layers: int
    hidden_size: int
    padded_vocab_size: int
    attended_tokens: float | None = None

    @property
    def blocks(self) -> float:
        """B s l h^2: tokens times the squared width, over all layers."""
        tokens = self.global_batch_size * self.seq_length
        return float(tokens * self.num_layers * self.hidden_size**2)


def padded_vocab_size(vocabulary_size: int) -> int:
    """Return the next multiple of 128, for any tensor parallel size.

    So losses and checkpoints do not depend on the layout.
    """
    return -(-vocabulary_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def recipe_shape(recipe: Recipe, vocabulary_size: int) -> Shape:
    """Return the shape of a recipe over a vocabulary of this many tokens (unpadded)."""
    return Shape(
        global_batch_size=recipe.train.global_batch_size,
        seq_length=recipe.model.seq_length,
        num_layers=recipe.model.num_layers,
        hidden_size=recipe.model.hidden_size,
        padded_vocab_size=padded_vocab_size(vocabulary_size),
    )


def equation3(shape: Shape) -> float:
    """Return hardware FLOPs of an iteration with full activation recomputation.

    Equation 3 of arXiv 2104.04473: `96 B s l h^2 (1 + s/(6h) + V/(16 l h))`.
    """
    s, l, h, v = _letters(shape)  # noqa: E741 - the paper's letters
    return 96 * shape.blocks * (1 + s / (6 * h) + v / (16 * l * h))


def model(shape: Shape) -> float:
    """Return model FLOPs of an iteration, attention counted in full.

    `72 B s l h^2 (1 + s/(6h) + V/(12 l h))`: no recomputation, logits counted three times.
    """
    s, l, h, v = _letters(shape)  # noqa: E741 - the paper's letters
    return 72 * shape.blocks * (1 + s / (6 * h) + v / (12 * l * h))


def model_causal(shape: Shape) -> float:
    """Return model FLOPs of an iteration, causal attention counted by half.

    `72 B s l h^2 (1 + s/(12h) + V/(12 l h))`, as Megatron counts since core 0.12.
    """
    s, l, h, v = _letters(shape)  # noqa: E741 - the paper's letters
    return 72 * shape.blocks * (1 + s / (12 * h) + v / (12 * l * h))


def _letters(shape: Shape) -> tuple[float, int, int, int]:
    s = shape.seq_length if shape.attended_tokens is None else shape.attended_tokens
    return s, shape.num_layers, shape.hidden_size, shape.padded_vocab_size
