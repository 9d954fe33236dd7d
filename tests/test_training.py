"""The training loop: repeatable to the bit, resumable, safe to load, and loud when it diverges."""

from __future__ import annotations

import os
import pickle
import random
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlib import training
from rnnlib.training import checkpoint as checkpoints
from rnnlib.training import loop, progress


class Reader(nn.Module):
    """A small recurrent model with dropout, so that the global random state matters."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 5)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs, state = self.rnn(x, state)
        return self.head(self.dropout(outputs)), state


def batches(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Seven batches an epoch, each (T=4, B=3, D=2) with targets (4, 3, 1)."""
    for _ in range(7):
        x = torch.randn(4, 3, 2, generator=generator)
        yield x, x.sum(-1, keepdim=True).cumsum(0)


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.mse_loss(model(batch[0])[0], batch[1])


def stateful_loss(model: nn.Module, batch: tuple[Tensor, Tensor], state: Tensor | None):
    # Python's and NumPy's generators take part, so a resume that forgets them is found out.
    noise = random.random() + np.random.rand()
    outputs, state = model(batch[0], state)
    return functional.mse_loss(outputs, batch[1] + noise), state


def setting(**options):
    """A fresh model, optimizer and schedule, and arguments for `train`."""
    training.seed_everything(3)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    return model, dict(
        batches=batches,
        loss_of=stateful_loss,
        optimizer=optimizer,
        schedule=training.warmup_cosine(optimizer, 40, warmup=5),
        carry_state=True,
        clip=1.0,
        seed=5,
        evaluate=lambda model: loss_of(model, next(batches(torch.Generator().manual_seed(1)))),
        evaluate_every=6,
        **options,
    )


def same_bits(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("interrupted_at", [1, 7, 10, 14, 18, 25])
def test_a_resumed_run_gives_the_same_bits(tmp_path: Path, interrupted_at: int) -> None:
    model, options = setting(updates=30)
    whole = training.train(model, **options)

    path = tmp_path / "run.pt"
    killed, options = setting(updates=30, checkpoint=path, checkpoint_every=3)
    count = 0

    def dies(*arguments):
        nonlocal count
        count += 1
        if count > interrupted_at:
            raise KilledError
        return stateful_loss(*arguments)

    with pytest.raises(KilledError):
        training.train(killed, **{**options, "loss_of": dies})

    again, options = setting(updates=30, checkpoint=path, checkpoint_every=3, resume=True)
    training.seed_everything(99)  # the resume must not depend on what was drawn meanwhile
    history = training.train(again, **options)
    assert same_bits(model, again)
    assert history == whole and history.step == 30 and history.stopped == "updates"


def test_a_run_can_be_prolonged(tmp_path: Path) -> None:
    model, options = setting(updates=30)
    whole = training.train(model, **options)
    path = tmp_path / "run.pt"
    first, options = setting(updates=12, checkpoint=path)
    training.train(first, **options)
    second, options = setting(updates=30, checkpoint=path, resume=True)
    assert training.train(second, **options) == whole
    assert same_bits(model, second)


@pytest.mark.parametrize("forgotten", ["python", "numpy", "torch", "order", "optimizer", "state"])
def test_the_resume_test_would_notice(tmp_path: Path, forgotten: str) -> None:
    """Each part of a checkpoint matters: without it, the bits differ."""
    model, options = setting(updates=20)
    training.train(model, **options)
    path = tmp_path / "run.pt"
    first, options = setting(updates=10, checkpoint=path)
    training.train(first, **options)
    content = training.load_checkpoint(path)
    fresh, options = setting(updates=20, checkpoint=path, resume=True)
    if forgotten in content["random"]:
        training.seed_everything(99)
        content["random"][forgotten] = checkpoints.random_state()[forgotten]
    elif forgotten == "order":
        content["order"]["index"] = 0
    elif forgotten == "optimizer":
        content["optimizer"] = options["optimizer"].state_dict()
    else:
        content["state"] = None
    training.save_checkpoint(path, content)
    training.train(fresh, **options)
    assert not same_bits(model, fresh)


def test_evaluating_more_often_changes_no_weight() -> None:
    often, options = setting(updates=15)

    def draws(model: nn.Module) -> float:
        assert not model.training and not torch.is_grad_enabled()
        return random.random() + float(torch.rand(())) + np.random.rand()

    training.train(often, **{**options, "evaluate": draws, "evaluate_every": 1})
    never, options = setting(updates=15)
    training.train(never, **{**options, "evaluate": None})
    assert same_bits(often, never)


def test_training_learns_and_records_every_update() -> None:
    model, options = setting(updates=200)
    options.update(loss_of=loss_of, carry_state=False, schedule=None)
    history = training.train(model, **options)
    assert len(history.losses) == len(history.gradient_norms) == len(history.learning_rates) == 200
    assert np.mean(history.losses[-20:]) < 0.5 * np.mean(history.losses[:20])
    assert [e["step"] for e in history.evaluations] == [*range(6, 200, 6), 200]
    assert len(set(history.learning_rates)) == 1


def test_the_gradient_is_clipped_and_its_own_norm_recorded() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def slope_30(model: nn.Module, batch: Tensor) -> Tensor:
        return 30 * model(batch).sum()

    history = training.train(
        model, lambda g: [torch.ones(1, 1)], slope_30, optimizer, updates=2, clip=0.5
    )
    assert history.gradient_norms == [30.0, 30.0]
    assert model.weight.item() == pytest.approx(-1.0, abs=1e-5)


def test_without_clip_the_update_is_whole() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    training.train(
        model, lambda g: [torch.ones(1, 1)], lambda m, x: 30 * m(x).sum(), optimizer, updates=1
    )
    assert model.weight.item() == -30


def test_the_schedule_rises_and_falls() -> None:
    model, options = setting(updates=40)
    rates = training.train(model, **options).learning_rates
    assert rates[:5] == pytest.approx([0.004, 0.008, 0.012, 0.016, 0.02])
    assert rates[5] == pytest.approx(0.02) and rates[22] == pytest.approx(0.0104, abs=1e-3)
    assert rates[-1] < 1e-4 and rates[5:] == sorted(rates[5:], reverse=True)


def test_early_stopping_gives_back_the_best_weights(tmp_path: Path) -> None:
    model, options = setting(updates=30)
    figures = iter([5.0, 3.0, 4.0, 3.0, 3.5, 1.0])
    kept = []

    def evaluate(model: nn.Module) -> float:
        kept.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(figures)

    path = tmp_path / "run.pt"
    options.update(evaluate=evaluate, evaluate_every=2, patience=3, checkpoint=path)
    history = training.train(model, **options)
    assert history.stopped == "no improvement" and history.step == 10
    assert all(torch.equal(v, kept[1][k]) for k, v in model.state_dict().items())
    again, options = setting(updates=30, checkpoint=path, resume=True, patience=3)
    assert training.train(again, **options) == history  # a finished run stays finished
    assert same_bits(model, again)


def test_training_stops_when_solved() -> None:
    model, options = setting(updates=30)
    options.update(evaluate=lambda m: {"accuracy": 0.9}, stop_when=lambda e: e["accuracy"] > 0.8)
    history = training.train(model, **options)
    assert history.stopped == "solved" and history.step == 6
    assert history.evaluations == [{"step": 6, "accuracy": 0.9}]


def test_the_state_is_carried_detached_and_reset_each_epoch() -> None:
    seen = []

    def watch(model: nn.Module, batch: tuple[Tensor, Tensor], state: Tensor | None):
        seen.append(state)
        outputs, state = model(batch[0], state)
        assert state.requires_grad
        return functional.mse_loss(outputs, batch[1]), state

    model, options = setting(updates=16)
    training.train(model, **{**options, "loss_of": watch})
    assert [i for i, state in enumerate(seen) if state is None] == [0, 7, 14]
    assert all(not state.requires_grad for state in seen if state is not None)
    assert all(state.abs().sum() > 0 for state in seen if state is not None)


def test_detach_takes_containers_and_refuses_the_rest() -> None:
    h = torch.ones(2, requires_grad=True)
    state = training.detach((h, [h, {"c": h}], None))
    assert state[2] is None and state[1][1]["c"].requires_grad is False
    assert torch.equal(state[0], h)
    with pytest.raises(TypeError, match="state must be tensors in tuples, lists or dicts, not set"):
        training.detach({1.0})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_stops_training_and_keeps_the_checkpoint(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "run.pt"
    model, options = setting(updates=30, checkpoint=path, checkpoint_every=4)
    calls = 0

    def breaks(*arguments):
        nonlocal calls
        calls += 1
        loss, state = stateful_loss(*arguments)
        return (loss * bad if calls == 10 else loss), state

    with pytest.raises(training.TrainingDiverged) as caught:
        training.train(model, **{**options, "loss_of": breaks})
    assert caught.value.step == 10
    assert not np.isfinite(caught.value.loss) and not np.isfinite(caught.value.gradient_norm)
    for words in (
        "update 10",
        "loss",
        "gradient norm",
        "the update before",
        "after update 8 is kept",
    ):
        assert words in str(caught.value)
    content = training.load_checkpoint(path)
    assert len(content["history"]["losses"]) == 8
    assert all(v.isfinite().all() for v in content["model"].values())
    assert all(p.isfinite().all() for p in model.parameters())


def test_an_infinite_gradient_under_a_finite_loss_stops_training() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(training.TrainingDiverged, match=r"update 1: loss 0, gradient norm inf"):
        training.train(
            model,
            lambda g: [torch.zeros(1, 1) + 1],
            lambda m, x: m(x).abs().sqrt().sum() if m(x).item() else (m(x) * 1e38 * 10).sum(),
            optimizer,
            updates=1,
        )


def test_weights_that_blew_up_never_reach_the_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e38)
    path = tmp_path / "run.pt"
    with pytest.raises(training.TrainingDiverged, match="a weight is NaN or infinite"):
        training.train(
            model,
            lambda g: [torch.full((1, 1), 1e3)],
            lambda m, x: m(x).sum(),
            optimizer,
            updates=5,
            checkpoint=path,
            checkpoint_every=1,
        )
    assert training.load_checkpoint(path)["model"]["weight"].isfinite().all()


def test_finite_weights_with_an_infinite_loss_do_not_replace_a_good_checkpoint(
    tmp_path: Path,
) -> None:
    """The third update leaves weights that are finite, and useless: its checkpoint must wait."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    slopes = iter([1.0, 1.0, 1e30, 1.0, 1.0])
    path = tmp_path / "run.pt"
    with pytest.raises(training.TrainingDiverged, match=r"update 4.*after update 2 is kept"):
        training.train(
            model,
            lambda g: [torch.ones(1, 1)],
            lambda m, x: next(slopes) * m(x).sum() + 0 * m(x).square().sum(),
            optimizer,
            updates=5,
            checkpoint=path,
            checkpoint_every=1,
        )
    assert model.weight.isfinite().all()
    assert training.load_checkpoint(path)["model"]["weight"].abs().item() < 10


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("through", ["torch", "pickle"])
def test_loading_a_checkpoint_runs_no_code(tmp_path: Path, through: str) -> None:
    trace, path = tmp_path / "trace", tmp_path / "run.pt"
    content = {"model": Malicious(f"touch {trace}")}
    if through == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(training.CheckpointError, match="refused"):
        training.load_checkpoint(path)
    assert not trace.exists()


def test_strange_checkpoints_are_clear_errors(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(training.CheckpointError, match="cannot read checkpoint"):
        training.load_checkpoint(path)
    model, options = setting(updates=3, checkpoint=path)
    training.train(model, **options)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(training.CheckpointError, match=r"run\.pt"):
        training.load_checkpoint(path)
    path.write_text("hello")
    with pytest.raises(training.CheckpointError, match="is damaged"):
        training.load_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(training.CheckpointError, match="holds a list, not a dict"):
        training.load_checkpoint(path)
    torch.save({"model": {}}, path)
    with pytest.raises(training.CheckpointError, match="does not fit this training"):
        training.train(model, **{**options, "resume": True})


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    model, options = setting(updates=3, checkpoint=path)
    training.train(model, **options)
    options["schedule"] = None
    with pytest.raises(training.CheckpointError, match="one run has a schedule"):
        training.train(model, **{**options, "resume": True})


def test_a_changed_bit_in_a_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    weight = torch.full((500,), 7.25)
    training.save_checkpoint(path, {"weight": weight})
    content = bytearray(path.read_bytes())
    place = content.find(weight.numpy().tobytes())
    assert place > 0
    content[place + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(training.CheckpointError, match="is damaged"):
        training.load_checkpoint(path)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    model, options = setting(updates=3, checkpoint=path)
    training.train(model, **{**options, "schedule": None})
    options |= {"optimizer": torch.optim.SGD(model.parameters(), 0.1), "schedule": None}
    with pytest.raises(training.CheckpointError, match="another kind of optimizer"):
        training.train(model, **{**options, "updates": 5, "resume": True})


def test_an_optimizer_of_another_model_is_refused() -> None:
    _, options = setting(updates=3)
    with pytest.raises(ValueError, match="optimizer must hold parameters of model"):
        training.train(Reader(), **options)


def test_resuming_a_finished_run_says_why_it_ended(tmp_path: Path) -> None:
    model, options = setting(updates=3, checkpoint=tmp_path / "run.pt")
    training.train(model, **options)
    history = training.train(model, **{**options, "resume": True})
    assert (history.step, history.stopped) == (3, "updates")


@pytest.mark.parametrize("failure", ["write", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    path = tmp_path / "run.pt"
    training.save_checkpoint(path, {"step": 1})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    target = "fsync" if failure == "write" else "replace"
    monkeypatch.setattr(checkpoints.os, target, full)
    with pytest.raises(training.CheckpointError, match=r"No space left.*the one before is kept"):
        training.save_checkpoint(path, {"step": 2})
    monkeypatch.undo()
    assert training.load_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_an_unwritable_path_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(training.CheckpointError, match="cannot write checkpoint"):
        training.save_checkpoint(tmp_path / "file" / "run.pt", {"step": 1})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"updates": 0}, ValueError, "updates must be a positive integer, not 0"),
        ({"evaluate_every": 0}, ValueError, "evaluate_every must be"),
        ({"checkpoint_every": True}, ValueError, "checkpoint_every must be"),
        ({"patience": -1}, ValueError, "patience must be"),
        ({"clip": 0.0}, ValueError, "clip must be a positive number, not 0.0"),
        ({"clip": float("nan")}, ValueError, "clip must be a positive number"),
        ({"evaluate": None, "patience": 2}, ValueError, "need evaluate"),
        ({"resume": True}, ValueError, "resume needs checkpoint"),
        ({"patience": 1, "monitor": "bits"}, ValueError, "monitor 'bits' is not evaluated"),
        ({"batches": lambda g: []}, ValueError, "an epoch without a batch"),
        ({"loss_of": lambda m, b, s: (torch.ones(2), s)}, ValueError, r"without axes, not \(2,\)"),
        ({"loss_of": lambda m, b, s: (1.0, s)}, ValueError, "without axes, not float"),
    ],
)
def test_wrong_arguments_are_named(options: dict, error: type, words: str) -> None:
    model, defaults = setting(updates=6)
    with pytest.raises(error, match=words):
        training.train(model, **{**defaults, **options})


def test_plateau_schedules_are_refused() -> None:
    model, options = setting(updates=6)
    options["schedule"] = torch.optim.lr_scheduler.ReduceLROnPlateau(options["optimizer"])
    with pytest.raises(TypeError, match="ReduceLROnPlateau"):
        training.train(model, **options)
    with pytest.raises(ValueError, match="warmup must be from 0 to below updates=5, not 5"):
        training.warmup_cosine(options["optimizer"], 5, warmup=5)


def test_seed_everything_repeats_every_generator() -> None:
    def draw() -> tuple[float, float, float]:
        training.seed_everything(8)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw() == draw()
    for seed in (-1, 2**32, True, 1.5):
        with pytest.raises(ValueError, match="seed must be an integer"):
            training.seed_everything(seed)


def test_progress_is_silent_under_test_and_shown_on_wish(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = setting(updates=6)
    training.train(model, **options)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RNNLIB_PROGRESS", "1")
    model, options = setting(updates=6)
    training.train(model, **options, description="reading")
    shown = capsys.readouterr()
    assert shown.out == "" and "\rreading" in shown.err and "6/6" in shown.err


@pytest.mark.parametrize(
    ("environment", "terminal", "notebook", "shown"),
    [
        ({}, True, False, True),
        ({}, False, True, True),
        ({}, False, False, False),
        ({"RNNLIB_PROGRESS": "0"}, True, True, False),
        ({"RNNLIB_PROGRESS": "1"}, False, False, True),
        ({"TQDM_DISABLE": "1"}, True, True, False),
        ({"PYTEST_VERSION": "8"}, True, True, False),  # the kernel of a notebook under nbval
    ],
)
def test_the_bar_is_there_for_people(
    monkeypatch: pytest.MonkeyPatch, environment: dict, terminal: bool, notebook: bool, shown: bool
) -> None:
    for name in ("RNNLIB_PROGRESS", "TQDM_DISABLE", "PYTEST_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(progress.sys, "stderr", types.SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setattr(progress, "_in_notebook", lambda: notebook)
    assert progress._somebody_watches() is shown


def one_update_of_a_share(save_to: str) -> dict[str, Tensor]:
    """Train on this process's share of a batch; runs in its own process."""
    torch.manual_seed(torch.distributed.get_rank())  # different weights, until they are broadcast
    model = Reader().eval().double()
    x, targets = next(batches(torch.Generator().manual_seed(0)))
    x, targets = (torch.cat([v, -v], 1).double() for v in (x, targets))
    share = training.own_share(x, 1), training.own_share(targets, 1)
    assert share[0].shape == (4, 3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.dropout.p = 0.0
    history = training.train(
        model, lambda g: [share], loss_of, optimizer, updates=2, checkpoint=save_to
    )
    return {**model.state_dict(), "losses": torch.tensor(history.losses, dtype=torch.float64)}


def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    first, second = training.run_processes(2, one_update_of_a_share, str(tmp_path / "shared.pt"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    model = Reader().double()
    model.dropout.p = 0.0
    x, targets = next(batches(torch.Generator().manual_seed(0)))
    whole = tuple(torch.cat([v, -v], 1).double() for v in (x, targets))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = training.train(model, lambda g: [whole], loss_of, optimizer, updates=2)
    for name, value in model.state_dict().items():
        assert torch.allclose(first[name], value, rtol=0, atol=1e-14), name
    assert first["losses"].tolist() == pytest.approx(history.losses, abs=1e-14)
    assert (tmp_path / "shared.pt").exists()


def test_shares_must_be_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnlib.training.processes.processes", lambda: 2)
    with pytest.raises(ValueError, match="a batch of 3 does not divide among 2 processes"):
        training.own_share(torch.ones(2, 3), 1)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        training.run_processes(0, one_update_of_a_share)


def test_the_data_order_finds_its_place_without_global_random_numbers() -> None:
    order = loop._DataOrder(batches, seed=2)
    seen = [next(order) for _ in range(17)]
    assert [starts for _, starts in seen] == [i % 7 == 0 for i in range(17)]
    assert not torch.equal(seen[0][0][0], seen[7][0][0])
    copy = loop._DataOrder(batches, seed=0)
    copy.load_state_dict(order.state_dict())
    assert torch.equal(next(order)[0][0], next(copy)[0][0])
