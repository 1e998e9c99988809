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
        for group in this.param_groups:
            rate = group["lr"] * ratio
            for parameter in group["params"]:
                if parameter in matrices and parameter.grad is not None:
                    moments: dict[str, torch.Tensor] = this.state[parameter]
                    if not moments:
                        moments.update(first_moments(parameter))
                    by_columns = matrices[parameter]
                    moments["step"] += 1  # Megatron saves one count for all parameters
                    direction = _direction(parameter.grad, moments, head_width, by_columns)
                    parameter.mul_(1 - rate * group["weight_decay"])
                    parameter.add_(direction, alpha=-rate)
                    parameter.grad = None  # done: Adam passes it over

    optimizer.register_step_pre_hook(torch.no_grad()(step))


def first_moments(parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the state that torch's Adam begins with for a parameter."""
    return {
        "step": torch.tensor(0.0, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def _direction(
    gradient: torch.Tensor, moments: dict[str, torch.Tensor], width: int, by_columns: bool
) -> torch.Tensor:
    """Take a gradient into the momentum; return the direction of the update, of its shape."""
    momentum = moments["exp_avg"].lerp_(gradient.to(moments["exp_avg"].dtype), 1 - MOMENTUM)
    ahead = gradient.lerp(momentum.to(gradient.dtype), MOMENTUM)  # Nesterov's
    turned = ahead.t() if by_columns else ahead
    blocks = orthogonalize(turned.reshape(-1, width, turned.shape[1]))
    direction = blocks.reshape(turned.shape)
    return (direction.t() if by_columns else direction).to(momentum.dtype)


def orthogonalize(blocks: torch.Tensor) -> torch.Tensor:
    """Return blocks [n, r, c], r <= c, with all their singular values near 1.

    Newton-Schulz on the Gram matrices [r, r] alone: every iterate is a polynomial in them, times
    the block that was given.
    """
    linear, cubic, quintic = COEFFICIENTS
    blocks = blocks / (blocks.flatten(1).norm(dim=1)[:, None, None] + EPSILON)
    gram = blocks @ blocks.mT
    whole = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    product, now = whole, gram
    for _ in range(STEPS):
        factor = linear * whole + cubic * now + quintic * now @ now
        product = factor @ product
        now = factor @ now @ factor  # all commute: they are polynomials in one Gram matrix
    return product @ blocks
