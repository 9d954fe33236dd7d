"""Recorded experiments: results that took longer than a chapter may run.

`make experiments` runs `experiments/<name>.py` over its settings and seeds and writes one JSON
file a name; `make weights` trains `experiments/weights/<name>.py` once and writes a safetensors
file with a manifest. A chapter loads them here, plots them, and re-runs one short cell live.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

RECORDS = Path(__file__).resolve().parent / "_records"
WEIGHTS = Path(__file__).resolve().parent / "_weights"

Result = float | list[float]


class RecordError(ValueError):
    """A record is missing or badly written, or does not hold what was asked of it."""


@dataclass(frozen=True)
class Run:
    """One run of an experiment: a setting, a seed, what came out, seconds of processor time."""

    setting: Mapping[str, Any]
    seed: int
    seconds: float
    results: Mapping[str, Result]


@dataclass(frozen=True)
class Record:
    """All runs of one experiment, and what produced them."""

    experiment: str
    code_hash: str
    data_hash: str
    python: str
    torch: str
    total_seconds: float
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds, in ascending order."""
        return sorted({run.seed for run in self.runs})

    def select(self, **setting: Any) -> list[Run]:
        """Return the runs whose setting has these values, ordered by seed.

        Raises:
            RecordError: No run has them.
        """
        found = [run for run in self.runs if setting.items() <= run.setting.items()]
        if not found:
            known = sorted({json.dumps(run.setting, sort_keys=True) for run in self.runs})
            raise RecordError(
                f"record {self.experiment!r} has no run with {setting}; it has {', '.join(known)}"
            )
        return sorted(found, key=lambda run: run.seed)

    def values(self, name: str, **setting: Any) -> NDArray[np.float64]:
        """Return one result of the selected runs, one row a run: (runs,) or (runs, length).

        Raises:
            RecordError: No run has this setting, the result is unknown, or its lengths differ.
        """
        runs = self.select(**setting)
        for run in runs:
            if name not in run.results:
                known = f"it has {', '.join(run.results)}"
                raise RecordError(f"record {self.experiment!r} has no result {name!r}; {known}")
        if len({np.shape(run.results[name]) for run in runs}) > 1:
            raise RecordError(f"result {name!r} of {self.experiment!r} differs in length by run")
        return np.array([run.results[name] for run in runs], dtype=np.float64)


def load(name: str, folder: Path | None = None) -> Record:
    """Load the record of one experiment.

    Args:
        name: The experiment's module name in `experiments/`.
        folder: Where the records lie; by default those that come with the library.

    Raises:
        RecordError: There is no such record, or the file is damaged.
    """
    path = _existing(RECORDS if folder is None else folder, f"{name}.json", "record", "experiments")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["total_seconds"] = float(content["total_seconds"])
        content["runs"] = tuple(
            Run(**run | {"results": _decoded(run["results"])}) for run in content["runs"]
        )
        record = Record(**content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"record {path.name} is damaged: {error!r}") from error
    if record.experiment != name:
        raise RecordError(f"record {path.name} says that it is of {record.experiment!r}")
    if not record.runs:
        raise RecordError(f"record {path.name} has no runs")
    return record


def load_weights(name: str, folder: Path | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load trained weights and their manifest. Safetensors holds numbers only: no code runs.

    Args:
        name: The module name in `experiments/weights/`.
        folder: Where the weights lie; by default those that come with the library.

    Returns:
        A state dict for `load_state_dict`, and the manifest, whose `figures` say how good they are.

    Raises:
        RecordError: There are no such weights, or a file is damaged or not the one recorded.
    """
    folder = WEIGHTS if folder is None else folder
    path = _existing(folder, f"{name}.safetensors", "weights", "weights")
    try:
        manifest = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        manifest["figures"] = _decoded(manifest["figures"])
        recorded = manifest["sha256"]
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"the manifest of {path.name} is damaged: {error!r}") from error
    if recorded != file_hash(path):
        raise RecordError(f"weights {path.name} are not those of the manifest (sha256 differs)")
    return load_file(path), manifest


def _existing(folder: Path, name: str, kind: str, target: str) -> Path:
    """Return the path of a file, or raise RecordError that says which ones there are."""
    path = folder / name
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.glob(f"*{path.suffix}"))) or "none"
        raise RecordError(f"no {kind} {path.stem!r}: run `make {target}`; there are: {known}")
    return path


def _decoded(results: Mapping[str, Any]) -> dict[str, Result]:
    return {name: decode(value) for name, value in results.items()}


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode(value: Any) -> Any:
    """Write a result for JSON, which has no NaN and no infinity: they become their names.

    Raises:
        RecordError: It is neither a number nor a list of numbers.
    """
    if isinstance(value, (list, tuple)) and all(not isinstance(v, (list, tuple)) for v in value):
        return [encode(item) for item in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecordError(f"a result is a number or a list of numbers, not {value!r:.80}")
    return value if math.isfinite(value) else json.dumps(value)


def decode(value: Any) -> Result:
    """Read a result that `encode` wrote.

    Raises:
        ValueError: It is neither a number nor a list of numbers.
    """
    if isinstance(value, list):
        return [float(decode(item)) for item in value]  # type: ignore[arg-type]
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a result is a number or a list of numbers, not {value!r}")
    return value
