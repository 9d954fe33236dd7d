"""How an LSTM's cell state passes gradients on: the direct path, and all paths together.

Since c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t, the product of the forget gates is often called the gradient
of the cell state. It is that of the direct path only: c_{t-1} also makes h_{t-1}, which feeds every
gate of step t (the first LSTM's learning rule cut those paths on purpose, see Hochreiter and
Schmidhuber 1997, appendix A.1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnlib.probes.prepare import check_inputs, measuring_copy

Array = NDArray[np.float64]


class CellPaths(NamedTuple):
    """The derivative ∂c_T / ∂c_0 of one sequence, and the forget gates on its way.

    Attributes:
        full: ∂c_T / ∂c_0 (H, H) over all paths.
        direct: the same with the paths through h cut (H, H).
        forget_product: f_1 ⊙ … ⊙ f_T (H,); `direct` is the diagonal matrix of it.
    """

    full: Array
    direct: Array
    forget_product: Array

    @property
    def ratio(self) -> float:
        """‖full‖₂ divided by ‖direct‖₂, the largest number of `forget_product`."""
        return float(np.linalg.norm(self.full, 2) / np.linalg.norm(self.direct, 2))


def cell_paths(layer: nn.LSTM, x: Tensor) -> CellPaths:
    """Differentiate the last cell state with respect to the first one, c_0 = 0 with h_0 = 0.

    Args:
        layer: LSTM of `rnnlib` or `torch.nn` with one layer and one direction, without
            projection. A copy of it is measured, in float64.
        x: inputs (T, 1, D): one sequence.

    Raises:
        TypeError: `layer` is not such an LSTM, or `x` is not floating-point.
        ValueError: `x` is not a single non-empty sequence of numbers that fit the layer.
    """
    fits = isinstance(layer, nn.LSTM) and layer.num_layers == 1
    if not fits or layer.bidirectional or layer.proj_size:
        raise TypeError(
            "layer: expected an LSTM of one layer and one direction without projection, got "
            f"{layer!r}"
        )
    check_inputs(x, batch=1)
    if x.shape[2] != layer.input_size:
        raise ValueError(f"x: expected D = {layer.input_size} numbers a step, got {x.shape[2]}")
    W_ih, W_hh, *b = (p.detach() for p in measuring_copy(layer).parameters())
    inputs = x.detach().double()[:, 0] @ W_ih.T + sum(b)  # (T, 4 H)
    gates: list[Tensor] = []

    def jacobian(cut: bool) -> Array:
        H = layer.hidden_size  # H copies of the sequence: row k carries back ∂c_T[k]
        c_0 = torch.zeros(H, H, dtype=torch.float64, device=inputs.device, requires_grad=True)
        c, h = c_0, torch.zeros_like(c_0)
        gates.clear()
        for a_t in inputs:
            i, f, g, o = (a_t + (h.detach() if cut else h) @ W_hh.T).chunk(4, 1)
            gates.append(f.detach().sigmoid()[0])
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        (gradient,) = torch.autograd.grad(c, c_0, torch.eye(H, dtype=c.dtype, device=c.device))
        return np.asarray(gradient.cpu().numpy())

    full, direct = (jacobian(cut) for cut in (False, True))
    return CellPaths(full, direct, torch.stack(gates).prod(0).cpu().numpy())
