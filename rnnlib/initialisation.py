"""Initial weights of recurrent layers: what decides how far a gradient gets before training.

The functions change a layer of `rnnlib` or of `torch.nn` in place, and return it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

from rnnlib import checks

SCHEMES = ("default", "orthogonal", "identity")

Layer = TypeVar("Layer", bound=nn.RNNBase)


@torch.no_grad()
def initialise_recurrent(
    layer: Layer, scheme: str, scale: float = 1.0, generator: Generator | None = None
) -> Layer:
    """Set the recurrent matrices of a layer, in place, by a named scheme.

    "default" draws all weights and biases anew as `torch.nn` does, uniform between -1/√H and
    1/√H. "orthogonal" draws W_hh uniformly among the matrices with W_hh W_hhᵀ = I, which keep the
    length of a state (Saxe, McClelland and Ganguli 2014). "identity" sets W_hh = I, which with
    relu makes the IRNN (Le, Jaitly and Hinton 2015). The last two also set all biases to zero
    and leave the input weights as they are. Where a layer has gates, each gate's own (H, H) block
    is set so. In the end `scale` multiplies W_hh; in the orthogonal and the identity scheme it is
    the spectral radius.

    Args:
        layer: RNN, GRU or LSTM of `rnnlib` or `torch.nn`, of any number of layers and directions.
        scheme: "default", "orthogonal" or "identity".
        scale: factor on the recurrent matrices, positive.
        generator: source of the random numbers; torch's global one if left out.

    Returns:
        The same layer.

    Raises:
        TypeError: `layer` is no recurrent layer, or `scale` is no number.
        InputError: `scheme` is unknown, `scale` is not positive and finite, or the layer projects
            its state (`proj_size`), so that its recurrent matrices are not square.
    """
    if not isinstance(layer, nn.RNNBase):
        raise TypeError(
            f"layer must be an RNN, GRU or LSTM of rnnlib or torch.nn; got {type(layer).__name__}"
        )
    checks.choice("scheme", scheme, SCHEMES)
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise TypeError(f"scale must be a number; got {scale!r}")
    if not 0 < scale < math.inf:
        raise checks.InputError(f"scale must be positive and finite; got {scale}")
    if layer.proj_size:
        raise checks.InputError(
            f"layer must have square recurrent matrices; got one with proj_size={layer.proj_size}"
        )
    if scheme == "default":
        bound = 1 / math.sqrt(layer.hidden_size)
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    else:
        for name, parameter in layer.named_parameters():
            if name.startswith("bias"):
                parameter.zero_()
        for block in _recurrent_blocks(layer):
            if scheme == "identity":
                nn.init.eye_(block)
            else:
                nn.init.orthogonal_(block, generator=generator)
    for block in _recurrent_blocks(layer):
        block.mul_(scale)
    return layer


def _recurrent_blocks(layer: nn.RNNBase) -> Iterator[Tensor]:
    """Yield the (H, H) recurrent matrices, views of the weights: one a gate, layer, direction."""
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            yield from parameter.split(layer.hidden_size)
