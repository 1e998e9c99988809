"""Muon for the matrices of the blocks, with Adam for all other weights.

A matrix moves along its momentum with all singular values made alike, which Adam's separate
scaling of each weight cannot do (Keller Jordan and others, 2024). It is done in blocks as wide as
an attention head: tensor parallelism never splits those, so every layout gives the same update
without communication, and their Gram matrices are small.
"""

from typing import Any

import torch

MOMENTUM = 0.95
STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd quintic that brings singular values near 1 within five steps."""
EPSILON = 1e-7

_BY_ROWS = ("linear_qkv.weight", "linear_fc1.weight", "c_proj.weight")
_BY_COLUMNS = ("linear_proj.weight", "linear_fc2.weight", "c_attn.weight", "c_fc.weight")
"""Matrices with heads along columns. Hugging Face's GPT-2 keeps its matrices transposed."""


def use_muon(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, head_width: int, ratio: float
) -> None:
    """Have an Adam update the matrices of the blocks with Muon.

    The model is Megatron's or Hugging Face's GPT-2. `ratio` is Muon's learning rate in units of
    the others'. Momentum is kept as `exp_avg`, so that checkpoints are those of Adam.
    """
    matrices: dict[torch.Tensor, bool] = {}
    for name, parameter in model.named_parameters():
        # In 16 bits the optimizer works on a copy in fp32.
        updated = getattr(parameter, "main_param", parameter)
        if name.endswith(_BY_ROWS + _BY_COLUMNS):
            matrices[updated] = name.endswith(_BY_COLUMNS)

    def step(this: torch.optim.Optimizer, *_: Any) -> None:
        updates = [
            (parameter, group["lr"] * ratio, group["weight_decay"])
            for group in this.param_groups
            for parameter in group["params"]
            if parameter in matrices and parameter.grad is not None
        ]
        if not updates:
            return
        for parameter, _rate, _decay in updates:
            moments: dict[str, torch.Tensor] = this.state[parameter]
            if not moments:
                moments.update(first_moments(parameter))
            moments["step"] += 1  # Megatron saves one count for all parameters
            momentum = moments["exp_avg"]
            momentum.lerp_(parameter.grad.to(momentum.dtype), 1 - MOMENTUM)

        def blocks(parameter: Any) -> torch.Tensor:
            momentum: torch.Tensor = this.state[parameter]["exp_avg"]
            ahead = momentum.lerp(parameter.grad.to(momentum.dtype), 1 - MOMENTUM)  # Nesterov's
            turned = ahead.t() if matrices[parameter] else ahead
            return turned.reshape(-1, head_width, turned.shape[1])

        # Of all matrices at once: alone, each has dozens of tiny products. Blocks are computed
        # twice, since together they would take as much memory as the matrices.
        grams = [of @ of.mT for of in (blocks(parameter) for parameter, _rate, _decay in updates)]
        roots = inverse_square_roots(torch.cat(grams))
        of_matrices = torch.split_with_sizes(roots, [len(gram) for gram in grams])
        for (parameter, rate, decay), root in zip(updates, of_matrices, strict=True):
            direction = (root @ blocks(parameter)).flatten(0, 1)
            parameter.mul_(1 - rate * decay)
            parameter.add_(direction.t() if matrices[parameter] else direction, alpha=-rate)
            parameter.grad = None  # done: Adam passes it over

    optimizer.register_step_pre_hook(torch.no_grad()(step))


def first_moments(parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the state that torch's Adam begins with for a parameter."""
    return {
        "step": torch.tensor(0.0, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def inverse_square_roots(grams: torch.Tensor) -> torch.Tensor:
    """Return for Gram matrices of blocks what makes the blocks' singular values near 1; [n, r, r].

    A block [r, c], r <= c, is multiplied by it from the left. Newton-Schulz on the Gram matrices
    alone: every iterate is a polynomial in them, times the block.
    """
    linear, cubic, quintic = COEFFICIENTS
    norms = grams.diagonal(dim1=1, dim2=2).sum(1).sqrt()[:, None, None] + EPSILON
    now = grams / norms.square()
    whole = linear * torch.eye(now.shape[-1], dtype=now.dtype, device=now.device)

    def polynomial(now: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(whole + cubic * now, now, now, alpha=quintic)

    product = factor = polynomial(now)
    for _ in range(STEPS - 1):  # all commute: they are polynomials in one Gram matrix
        now = factor @ now @ factor
        factor = polynomial(now)
        product = factor @ product
    return product / norms
