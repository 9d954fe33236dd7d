"""Initial weights of recurrent layers: what decides how far a gradient gets before training.

`initialise_recurrent` sets the recurrent matrices; `initialise_gate_bias` and
`chrono_initialise` set how far the gates of an LSTM or a GRU stand open.

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


GATES = {
    nn.LSTM: {"input": 0, "forget": 1, "output": 3},  # place among torch's blocks i, f, g, o
    nn.GRU: {"reset": 0, "update": 1},  # r, z, n
}

Gated = TypeVar("Gated", nn.LSTM, nn.GRU)


@torch.no_grad()
def initialise_gate_bias(layer: Gated, gate: str, bias: float) -> Gated:
    """Set the bias of one gate, in place, in all layers and directions.

    A large bias opens a gate from the start, so that an LSTM's forget gate or a GRU's update gate
    keeps the old state (Gers, Schmidhuber and Cummins 2000; Jozefowicz, Zaremba and Sutskever
    2015 advise a forget bias of 1 or 2). In `torch.nn` the update gate z multiplies the OLD
    state, as the forget gate does: a positive bias keeps it. Where z multiplies the new one
    (Chung et al. 2014), the same effect needs a negative bias.

    `torch.nn` has two biases a gate, bias_ih and bias_hh, and adds them. Filling both with 1
    therefore gives a bias of 2. This function sets the sum: bias_ih becomes `bias`, bias_hh zero.

    Args:
        layer: LSTM or GRU of `rnnlib` or `torch.nn`, of any number of layers and directions.
        gate: "input", "forget" or "output" of an LSTM; "reset" or "update" of a GRU.
        bias: the effective bias, what the gate's sigmoid receives if nothing else comes in.

    Returns:
        The same layer.

    Raises:
        TypeError: `layer` has no gates, or `bias` is no number.
        InputError: the layer has no such gate or no biases, or `bias` is not finite.
    """
    if isinstance(bias, bool) or not isinstance(bias, int | float):
        raise TypeError(f"bias must be a number; got {bias!r}")
    if not math.isfinite(bias):
        raise checks.InputError(f"bias must be finite; got {bias}")
    for b_ih, b_hh in _gate_biases(layer, gate):
        b_ih.fill_(bias)
        b_hh.zero_()
    return layer


@torch.no_grad()
def chrono_initialise(layer: Gated, longest: int, generator: Generator | None = None) -> Gated:
    """Draw gate biases, in place, so that the units remember for different times.

    Chrono initialisation (Tallec and Ollivier 2018): the forget bias of each unit is log u with
    u uniform between 1 and `longest` - 1, and its input bias is -log u. A forget gate at σ(log u)
    loses 1/(1 + u) of the state a step: the times 1/(1 - f) spread uniformly from 2 to
    `longest`. A GRU has one gate for both: its update bias, which in `torch.nn` keeps the old
    state, is log u. As in `initialise_gate_bias`, the sum of torch's two biases is set.

    Args:
        layer: LSTM or GRU of `rnnlib` or `torch.nn`, of any number of layers and directions.
        longest: the longest time, in steps, that the task is expected to ask for; at least 3.
        generator: source of the random numbers; torch's global one if left out.

    Returns:
        The same layer.

    Raises:
        TypeError: `layer` has no gates, or `longest` is no whole number.
        InputError: `longest` is below 3, or the layer has no biases.
    """
    checks.positive_integer("longest", longest)
    if longest < 3:
        raise checks.InputError(f"longest must be at least 3 steps; got {longest}")
    keeping = "forget" if isinstance(layer, nn.LSTM) else "update"
    kept = []
    for b_ih, b_hh in _gate_biases(layer, keeping):
        b_ih.uniform_(1, longest - 1, generator=generator).log_()
        b_hh.zero_()
        kept.append(b_ih)
    if isinstance(layer, nn.LSTM):
        for log_u, (b_ih, b_hh) in zip(kept, _gate_biases(layer, "input"), strict=True):
            b_ih.copy_(-log_u)
            b_hh.zero_()
    return layer


def _gate_biases(layer: nn.RNNBase, gate: str) -> list[tuple[Tensor, Tensor]]:
    """Return one gate's (H,) pieces of bias_ih and bias_hh, views: a pair a layer, direction."""
    places = next((gates for kind, gates in GATES.items() if isinstance(layer, kind)), None)
    if places is None:
        raise TypeError(
            f"layer must be an LSTM or GRU of rnnlib or torch.nn; got {type(layer).__name__}"
        )
    checks.choice("gate", gate, tuple(places))
    if not layer.bias:
        raise checks.InputError("layer must have biases; got one with bias=False")
    pieces = {
        name: parameter.split(layer.hidden_size)[places[gate]]
        for name, parameter in layer.named_parameters()
        if name.startswith("bias")
    }
    return [
        (piece, pieces[name.replace("bias_ih", "bias_hh")])
        for name, piece in pieces.items()
        if name.startswith("bias_ih")
    ]
