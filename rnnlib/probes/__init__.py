"""Instruments that measure a model: gradient against lag, Jacobians, operations and memory.

Every probe of a torch model asks only for the sequence-model contract,
`model(x, state=None, lengths=None) -> (outputs, state)` with time-major `x` of shape (T, B, D).
"""

from rnnlib.probes.cell_path import CellPaths, cell_paths
from rnnlib.probes.execution import Execution, watch
from rnnlib.probes.jacobians import (
    product_norms,
    singular_values,
    spectral_radius,
    state_jacobians,
)
from rnnlib.probes.lag import gradient_by_lag, memory_horizon, recall_by_lag
from rnnlib.probes.memory import peak_bytes, saved_bytes
from rnnlib.probes.operations import (
    Operations,
    backward_multiply_adds,
    count_operations,
    forward_multiply_adds,
    layer_multiply_adds,
    real_time_multiply_adds,
    truncated_multiply_adds,
)
from rnnlib.probes.scaling import fitted_exponent

__all__ = [
    "CellPaths",
    "Execution",
    "Operations",
    "backward_multiply_adds",
    "cell_paths",
    "count_operations",
    "fitted_exponent",
    "forward_multiply_adds",
    "gradient_by_lag",
    "layer_multiply_adds",
    "memory_horizon",
    "peak_bytes",
    "product_norms",
    "real_time_multiply_adds",
    "recall_by_lag",
    "saved_bytes",
    "singular_values",
    "spectral_radius",
    "state_jacobians",
    "truncated_multiply_adds",
    "watch",
]
