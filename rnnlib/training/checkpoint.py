"""Checkpoints: written whole or not at all, loaded without running code, random state included."""

from __future__ import annotations

import io
import os
import pickle
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read."""


def seed_everything(seed: int) -> None:
    """Seed the global random generators of Python, NumPy (the legacy one) and torch.

    Args:
        seed: From 0 to 2³² - 1.

    Raises:
        ValueError: The seed is out of range or not an integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, not {seed!r}")
    random.seed(seed)
    np.random.seed(seed)  # the legacy generator: other people's code draws from it
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of every global random generator, in tensors and plain containers."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put every global random generator where `random_state` found it."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it holds the old content or the new one, never a part.

    Raises:
        OSError: The content cannot be written; an old file is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave the new name with no content
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_checkpoint(path: Path | str, content: dict[str, Any]) -> None:
    """Write tensors and plain containers to a file that `load_checkpoint` reads.

    Raises:
        CheckpointError: The file cannot be written (full disk, no permission); the checkpoint that
            was there before is left as it was.
    """
    write_checkpoint(path, serialise(content))


def serialise(content: dict[str, Any]) -> bytes:
    """Return the bytes of a checkpoint, so that what changes later does not change it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write_checkpoint(path: Path | str, content: bytes) -> None:
    """Write what `serialise` returned; errors as in `save_checkpoint`."""
    path = Path(path)
    try:
        write_atomically(path, content)
    except OSError as error:
        kept = " (the one before is kept)" if path.exists() else ""
        raise CheckpointError(f"cannot write checkpoint {path}: {error.strerror}{kept}") from error


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. A file that would run code is refused.

    Raises:
        CheckpointError: The file is missing, damaged, or holds more than tensors and plain
            containers.
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):  # torch writes checksums, but does not read them
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise CheckpointError(f"checkpoint {path} is damaged: {damaged} has changed")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot read checkpoint {path}: {error.strerror or error}"
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it is damaged, or holds more than tensors and plain "
            "containers, and so could run code"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # whatever a reader runs into where bytes are not what they were
        raise CheckpointError(f"checkpoint {path} is damaged: {error!r}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint {path} holds a {type(content).__name__}, not a dict")
    return content
