"""Two networks of the same size that read tokens: one recurrent, one a small Transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnlib.layers import LSTM, RNN

KINDS = ("RNN", "LSTM", "Transformer")


def sinusoids(steps: int, d: int) -> Tensor:
    """Return the position encodings of Vaswani et al. (2017, section 3.5), (T, 1, d)."""
    angles = torch.arange(steps)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, None]


class Reader(nn.Module):
    """Tokens in, scores at every step out.

    Args:
        kind: one of `KINDS`.
        V: how many tokens there are.
        classes: how many scores a step has.
        d: width of embeddings, and of the Transformer (two blocks, norm first, four heads).
        layers: blocks of the Transformer. The recurrent networks have one layer in one or two
            directions, of the width that gives as many parameters.
        directions: 1 (a step has seen what came before it) or 2 (a step has seen everything).
    """

    def __init__(
        self, kind: str, V: int, classes: int, d: int = 32, layers: int = 2, directions: int = 1
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, d)
        self.kind, self.causal, width = kind, directions == 1, d
        if kind == "Transformer":
            block = nn.TransformerEncoderLayer(d, 4, 4 * d, dropout=0.0, norm_first=True)
            self.transformer = nn.TransformerEncoder(
                block, layers, nn.LayerNorm(d), enable_nested_tensor=False
            )
        else:
            H = equal_width(kind, d, layers, directions)
            cell = {"RNN": RNN, "LSTM": LSTM}[kind]
            self.recurrent = cell(d, H, bidirectional=directions == 2)
            width = directions * H
        self.readout = nn.Linear(width, classes)

    def forward(self, *tokens: Tensor) -> Tensor:
        """Score every step: one or several tokens a step, each (T, B), to (T, B, classes)."""
        x = sum((self.embedding(token) for token in tokens), torch.zeros(()))
        if self.kind == "Transformer":
            T, _, d = x.shape
            mask = nn.Transformer.generate_square_subsequent_mask(T) if self.causal else None
            x = self.transformer(x + sinusoids(T, d), mask, is_causal=self.causal)
        else:
            x, _ = self.recurrent(x)
        scores: Tensor = self.readout(x)
        return scores

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def equal_width(kind: str, d: int, layers: int, directions: int) -> int:
    """Return the units that give a recurrent layer about the parameters of the blocks."""
    goal = layers * (12 * d * d + 13 * d) + 2 * d
    gates = {"RNN": 1, "LSTM": 4}[kind]
    return min(range(1, 20 * d), key=lambda H: abs(directions * gates * H * (H + d + 2) - goal))
