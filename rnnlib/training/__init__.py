"""The training loop, and what makes a run repeatable, resumable and shareable among processes."""

from rnnlib.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
)
from rnnlib.training.loop import History, TrainingDiverged, detach, train, warmup_cosine
from rnnlib.training.processes import average_gradients, own_share, run_processes
from rnnlib.training.progress import progress_bar

__all__ = [
    "CheckpointError",
    "History",
    "TrainingDiverged",
    "average_gradients",
    "detach",
    "load_checkpoint",
    "own_share",
    "progress_bar",
    "run_processes",
    "save_checkpoint",
    "seed_everything",
    "train",
    "warmup_cosine",
]
