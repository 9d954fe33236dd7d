"""The training loop: one update after another until done, solved, no better, or diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from rnnlib.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    random_state,
    serialise,
    set_random_state,
    write_checkpoint,
)
from rnnlib.training.processes import average, average_gradients, broadcast_model, is_first
from rnnlib.training.progress import progress_bar

Batches = Callable[[torch.Generator], Iterable[Any]]
Evaluation = dict[str, float]


@dataclass
class History:
    """What happened in training, one entry an update (and one an evaluation).

    `gradient_norms` are those before clipping. Each evaluation holds the number of updates behind
    it as `step`. `stopped` is `"updates"`, `"solved"` or `"no improvement"`.
    """

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    stopped: str = ""

    @property
    def step(self) -> int:
        """The number of updates made."""
        return len(self.losses)


class TrainingDiverged(ArithmeticError):  # noqa: N818 (it names what happened)
    """The loss or the gradient is NaN or infinite; the last good checkpoint is kept.

    Attributes:
        step: The update that was refused, counted from 1.
        loss: Its loss.
        gradient_norm: Its gradient's norm, before clipping.
    """

    def __init__(self, step: int, loss: float, gradient_norm: float, advice: str = "") -> None:
        self.step, self.loss, self.gradient_norm = step, loss, gradient_norm
        super().__init__(
            f"training diverged at update {step}: loss {loss:.4g}, "
            f"gradient norm {gradient_norm:.4g}{advice}"
        )


def train(
    model: nn.Module,
    batches: Batches,
    loss_of: Callable[..., Any],
    optimizer: Optimizer,
    *,
    updates: int,
    seed: int = 0,
    clip: float | None = None,
    schedule: LRScheduler | None = None,
    carry_state: bool = False,
    evaluate: Callable[[nn.Module], Mapping[str, float] | float] | None = None,
    evaluate_every: int = 100,
    stop_when: Callable[[Evaluation], bool] | None = None,
    patience: int | None = None,
    monitor: str = "loss",
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 100,
    resume: bool = False,
    description: str = "training",
) -> History:
    """Train a model, in place.

    A resumed run gives the same bits as one that was never interrupted: weights, optimizer,
    schedule, random generators, carried state and the order of the data are all restored.

    Args:
        model: Any module; it is in training mode during updates, in evaluation mode in `evaluate`.
        batches: Called at the start of each epoch with a random generator; returns the epoch's
            batches. All its randomness must come from that generator.
        loss_of: `loss_of(model, batch)` returns the loss, a tensor without axes; with
            `carry_state`, `loss_of(model, batch, state)` returns the loss and the new state.
        optimizer: Holds the model's parameters.
        updates: How many updates to make in all, those before a resume included.
        seed: Seeds the generator that `batches` gets, and nothing else.
        clip: The largest gradient norm; a longer gradient is shortened to it.
        schedule: A learning-rate schedule over `optimizer`; it steps once an update.
        carry_state: Hand each batch's final state, detached, to the next batch of the epoch
            (truncated backpropagation through time). The first batch of an epoch gets None.
        evaluate: Measures the model without gradients: a loss, or several figures by name.
        evaluate_every: Updates between two evaluations; the last update is evaluated too.
        stop_when: Stops training when it returns True for an evaluation.
        patience: Stops after so many evaluations without a new lowest `monitor`, and then gives
            the model the weights of its best evaluation (also when training ends otherwise).
        monitor: The figure that `patience` watches; lower is better.
        checkpoint: A file to continue from, taken at the start, every `checkpoint_every` updates
            and at the end. It is written whole, once the next update has shown that it is good.
        checkpoint_every: Updates between two checkpoints.
        resume: Continue from `checkpoint` where it exists.
        description: What stands before the progress bar.

    Returns:
        The history, including that before a resume.

    Raises:
        TrainingDiverged: The loss, the gradient or a weight is NaN or infinite.
        CheckpointError: The checkpoint cannot be written, or does not fit this model.
        ValueError, TypeError: An argument does not fit; the message names it.
    """
    _check_counts(updates=updates, evaluate_every=evaluate_every, checkpoint_every=checkpoint_every)
    _check_counts(patience=1 if patience is None else patience)
    if clip is not None and not 0 < clip < math.inf:
        raise ValueError(f"clip must be a positive number, not {clip!r}")
    if isinstance(schedule, ReduceLROnPlateau):
        raise TypeError("schedule must step once an update, which ReduceLROnPlateau does not")
    if (stop_when or patience) and evaluate is None:
        raise ValueError("stop_when and patience need evaluate")
    if resume and checkpoint is None:
        raise ValueError("resume needs checkpoint, the file to continue from")
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in trained for p in model.parameters()):
        raise ValueError("optimizer must hold parameters of model; it holds none of them")
    run = _Run(model, optimizer, schedule, _DataOrder(batches, seed), checkpoint)
    if resume and checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint)
    else:
        broadcast_model(model)
        run.take_checkpoint()
    history, model_was_training = run.history, model.training
    model.train()
    with progress_bar(updates, description, history.step) as bar:
        while history.step < updates and not history.stopped:
            batch = run.next_batch()
            loss = run.update(batch, loss_of, clip, carry_state)
            bar.update()
            last = history.step == updates
            if evaluate is not None and (last or history.step % evaluate_every == 0):
                figures = _evaluate(model, evaluate)
                history.evaluations.append({"step": history.step, **figures})
                if patience and run.evaluations_since_best(figures, monitor) >= patience:
                    history.stopped = "no improvement"
                if stop_when is not None and stop_when(figures):
                    history.stopped = "solved"
            if last and not history.stopped:
                history.stopped = "updates"
            if history.stopped or history.step % checkpoint_every == 0:
                run.take_checkpoint()
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
    history.stopped = history.stopped or "updates"  # a resumed run may have had nothing left to do
    run.write_checkpoint()
    if run.best_weights is not None:
        model.load_state_dict(run.best_weights)
    model.train(model_was_training)
    return history


class _Run:
    """Everything that a training run changes, and so everything that a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler | None,
        order: _DataOrder,
        path: Path | str | None,
    ) -> None:
        self.model, self.optimizer, self.schedule, self.order = model, optimizer, schedule, order
        self.path = path
        self.taken: tuple[int, bytes] | None = None  # a checkpoint that waits to be written
        self.written_at: int | None = None
        self.history = History()
        self.state: Any = None
        self.best_weights: dict[str, Tensor] | None = None
        self.best_value, self.since_best = math.inf, 0
        self.random_state_to_restore: dict[str, Any] | None = None

    def next_batch(self) -> Any:
        batch, starts_epoch = next(self.order)
        if starts_epoch:
            self.state = None
        if self.random_state_to_restore is not None:
            # Only now: running through the epoch's earlier batches may have drawn numbers.
            set_random_state(self.random_state_to_restore)
            self.random_state_to_restore = None
        return batch

    def update(
        self, batch: Any, loss_of: Callable[..., Any], clip: float | None, carry_state: bool
    ) -> float:
        """Make one update and return its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        if carry_state:
            loss, state = loss_of(self.model, batch, self.state)
            self.state = detach(state)
        else:
            loss = loss_of(self.model, batch)
        if not isinstance(loss, Tensor) or loss.shape != ():
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss_of must return a tensor without axes, not {shape}")
        loss.backward()
        average_gradients(self.model)
        loss = average(loss.detach()).item()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(self.history.step + 1, loss, norm.item(), self._advice())
        self.write_checkpoint()
        if clip is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), clip, norm)
        history = self.history
        history.learning_rates.append(float(self.optimizer.param_groups[0]["lr"]))
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        history.losses.append(loss)
        history.gradient_norms.append(norm.item())
        return loss

    def evaluations_since_best(self, figures: Evaluation, monitor: str) -> int:
        """Keep the weights of a new best evaluation; return how long ago the best one was."""
        if monitor not in figures:
            raise ValueError(
                f"monitor {monitor!r} is not evaluated; there are {', '.join(figures)}"
            )
        if figures[monitor] < self.best_value:
            self.best_value, self.since_best = figures[monitor], 0
            self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
        else:
            self.since_best += 1
        return self.since_best

    def take_checkpoint(self) -> None:
        """Freeze this moment, unless a weight is NaN or infinite: then training has diverged.

        It is written only when the next update's loss and gradient are finite. Weights can be
        finite and yet give an infinite loss, and a good checkpoint must not make way for those.
        """
        history = self.history
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            loss, norm = (
                values[-1] if values else math.nan
                for values in (history.losses, history.gradient_norms)
            )
            raise TrainingDiverged(
                history.step, loss, norm, f": a weight is NaN or infinite{self._kept()}"
            )
        if self.path is None or not is_first():
            return
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "random": random_state(),
            "order": self.order.state_dict(),
            "state": self.state,
            "best": (self.best_weights, self.best_value, self.since_best),
            "history": asdict(history),
        }
        self.taken = history.step, serialise(content)

    def write_checkpoint(self) -> None:
        """Write the checkpoint that was taken last, if it is not written yet."""
        if self.taken is not None and self.path is not None:
            write_checkpoint(self.path, self.taken[1])
            self.written_at, self.taken = self.taken[0], None

    def load(self, path: Path | str) -> None:
        content = load_checkpoint(path)
        try:
            self.model.load_state_dict(content["model"])
            settings = [set(group) for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(content["optimizer"])
            for wanted, group in zip(settings, self.optimizer.param_groups, strict=True):
                if not wanted <= set(group):
                    missing = ", ".join(sorted(wanted - set(group)))
                    raise ValueError(f"it is of another kind of optimizer, without {missing}")
            if (self.schedule is None) != (content["schedule"] is None):
                raise ValueError("one run has a schedule, the other has none")
            if self.schedule is not None:
                self.schedule.load_state_dict(content["schedule"])
            self.order.load_state_dict(content["order"])
            self.best_weights, self.best_value, self.since_best = content["best"]
            self.history = History(**content["history"])
            self.state, self.random_state_to_restore = content["state"], content["random"]
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"checkpoint {path} does not fit this training: {error}"
            ) from error
        self.written_at = self.history.step
        if self.history.stopped == "updates":  # more updates may be wanted now
            self.history.stopped = ""

    def _advice(self) -> str:
        if not self.history.losses:
            return " (the first update: look at the data and the initial weights)"
        return (
            f" (the update before: loss {self.history.losses[-1]:.4g}, "
            f"gradient norm {self.history.gradient_norms[-1]:.4g}){self._kept()}"
        )

    def _kept(self) -> str:
        kept = self.written_at
        return "" if kept is None else f"; the checkpoint after update {kept} is kept"


class _DataOrder(Iterator[tuple[Any, bool]]):
    """Epoch after epoch of batches; knows its place, and finds it again by running up to it."""

    def __init__(self, batches: Batches, seed: int) -> None:
        self.batches = batches
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch_start, self.index = self.generator.get_state(), 0
        self.epoch: Iterator[Any] | None = None

    def __next__(self) -> tuple[Any, bool]:
        """Return a batch, and whether it is the first of its epoch."""
        if self.epoch is None:
            self.generator.set_state(self.epoch_start)
            self.epoch = iter(self.batches(self.generator))
            for _ in range(self.index):
                next(self.epoch, None)
        for batch in self.epoch:
            self.index += 1
            return batch, self.index == 1
        if self.index == 0:
            raise ValueError("batches gave an epoch without a batch")
        self.epoch, self.index = None, 0
        self.epoch_start = self.generator.get_state()
        return next(self)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch_start": self.epoch_start, "index": self.index}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch_start, self.index, self.epoch = state["epoch_start"], state["index"], None


def detach(state: Any) -> Any:
    """Cut a recurrent state off its history: the values stay, no gradient flows back.

    Args:
        state: None, a tensor, or tuples, lists and dicts of them.

    Raises:
        TypeError: The state holds anything else.
    """
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    if type(state) in (tuple, list):
        return type(state)(detach(part) for part in state)
    if type(state) is dict:
        return {name: detach(part) for name, part in state.items()}
    raise TypeError(f"state must be tensors in tuples, lists or dicts, not {type(state).__name__}")


def warmup_cosine(optimizer: Optimizer, updates: int, warmup: int = 0) -> LambdaLR:
    """Raise the learning rate linearly for `warmup` updates, then lower it to 0 along a cosine.

    Source: Loshchilov and Hutter, SGDR, equation 5 (one period, minimum 0).

    Args:
        optimizer: Its learning rates are the peak.
        updates: All updates, the warm-up included.
        warmup: Updates of the linear rise.

    Raises:
        ValueError: `updates` is not above `warmup`, or `warmup` is negative.
    """
    if not 0 <= warmup < updates:
        raise ValueError(f"warmup must be from 0 to below updates={updates}, not {warmup}")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (updates - warmup))))

    return LambdaLR(optimizer, factor)


def _evaluate(
    model: nn.Module, evaluate: Callable[[nn.Module], Mapping[str, float] | float]
) -> Evaluation:
    """Evaluate without gradients; what it draws at random does not change the training after it."""
    before = random_state()
    model.eval()
    with torch.no_grad():
        figures = evaluate(model)
    model.train()
    set_random_state(before)
    named = figures if isinstance(figures, Mapping) else {"loss": figures}
    return {name: float(value) for name, value in named.items()}


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
