"""LSTM layers on top of each other, with what a deep stack may need: used by `depth`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlib import cells
from rnnlib.layers import LSTM


class DeepStack(nn.Module):
    """Layers of H units that read each other's outputs.

    Args:
        H: width of the input and of every layer.
        layers: how many.
        residual: add to each layer's output what it has read.
        normalise: bring what each layer reads to mean 0 and variance 1 (Ba et al., 2016).
        dropout: probability of a zero in the outputs of a layer, on the way up.
        recurrent_dropout: probability of a zero in a layer's state h, on the way to the next step.
        new_masks: draw those zeros anew at each step, in place of once a sequence (Gal and
            Ghahramani, 2016).
    """

    def __init__(
        self,
        H: int,
        layers: int,
        *,
        residual: bool = False,
        normalise: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        new_masks: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LSTM(H, H) for _ in range(layers))
        norms = [nn.LayerNorm(H) if normalise else nn.Identity() for _ in range(layers + 1)]
        self.norms = nn.ModuleList(norms)
        self.residual, self.dropout = residual, dropout
        self.recurrent_dropout, self.new_masks = recurrent_dropout, new_masks

    def forward(self, x: Tensor) -> Tensor:
        """Run all layers: (T, B, H) to (T, B, H)."""
        for norm, layer in zip(self.norms, self.layers, strict=False):
            output = self.run_layer(layer, norm(x))
            output = functional.dropout(output, self.dropout, self.training)
            x = x + output if self.residual else output
        return self.norms[-1](x)

    def run_layer(self, layer: Any, x: Tensor) -> Tensor:
        """Run one layer, in training with dropout inside the recurrence."""
        if not self.training or self.recurrent_dropout == 0:
            return layer(x)[0]  # dropout scales what it keeps: without it, nothing changes
        (weights,) = layer.all_weights
        h = c = torch.zeros_like(x[0])
        ones, outputs = torch.ones_like(h), []
        mask = functional.dropout(ones, self.recurrent_dropout)
        for x_t in x:
            h, c = cells.lstm(x_t, (h * mask, c), *weights)
            outputs.append(h)
            if self.new_masks:
                mask = functional.dropout(ones, self.recurrent_dropout)
        return torch.stack(outputs)
