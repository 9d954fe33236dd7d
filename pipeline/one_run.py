"""One recorded run in a process of its own: one thread, nothing left over from another run.

python -m pipeline.one_run experiments.adding '{"seed": 0, "length": 50}' result.json
python -m pipeline.one_run experiments.weights.names - names.safetensors
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save

from rnnlib.records import encode
from rnnlib.training.checkpoint import write_atomically


def main(module_name: str, arguments: str, output: Path) -> None:
    """Run `run(**arguments)`, or `train()` for weights, and write what it returns."""
    torch.set_num_threads(1)
    module = importlib.import_module(module_name)
    start = time.perf_counter()
    if arguments == "-":
        state, results = module.train()
        weights = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
        write_atomically(output.with_suffix(".safetensors"), weights)
    else:
        results = module.run(**json.loads(arguments))
    if not isinstance(results, dict) or not results:
        raise TypeError(f"{module_name} must return its results by name, not {results!r:.80}")
    content = {
        "seconds": round(time.perf_counter() - start, 3),
        "results": {name: encode(value) for name, value in results.items()},
    }
    write_atomically(output, json.dumps(content, allow_nan=False).encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
