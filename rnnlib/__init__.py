"""rnnlib: the small library under the textbook *Recurrent Neural Networks, Measured*.

`rnnlib.RNN`, `rnnlib.LSTM` and `rnnlib.GRU` are drop-in for those of `torch.nn`. Everything else
is reached through the rooms: `rnnlib.cells`, `rnnlib.probes`, `rnnlib.data` and so on.
"""

from importlib import import_module
from types import ModuleType

from rnnlib import cells, checks, kernels, layers
from rnnlib.layers import GRU, LSTM, RNN

__version__ = "0.1.0"

# Imported on first use, so that `import rnnlib` stays light (figures would bring in matplotlib).
_ROOMS = (
    "attention",
    "claims",
    "data",
    "decoding",
    "figures",
    "initialisation",
    "metrics",
    "numpy_nets",
    "probes",
    "records",
    "seq2seq",
    "tiny",
    "training",
    "transformer",
)

__all__ = ["GRU", "LSTM", "RNN", "cells", "checks", "kernels", "layers", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"rnnlib.{name}")
    raise AttributeError(f"module 'rnnlib' has no attribute {name!r}")
