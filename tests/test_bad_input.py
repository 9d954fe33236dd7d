"""Wrong input is refused at the door: the message names the argument, what came, what was expected.

Every refusal that torch.nn raises too is of a type that a program catching torch's also catches.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnnlib
from rnnlib import checks, layers
from rnnlib.cells import CellLayer
from rnnlib.numpy_nets import gru, lstm, rnn

KINDS = ("RNN", "GRU", "LSTM")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_backend = pytest.mark.parametrize("backend", layers.BACKENDS)


def state(kind, *shape, **options):
    h = torch.zeros(shape, **options)
    return (h, h) if kind == "LSTM" else h


CALLS = {
    "one dimension": (lambda layer, k: layer(torch.zeros(3)), r"input .*\(T, B, 3\); got \(3,\)"),
    "four dimensions": (lambda layer, k: layer(torch.zeros(2, 2, 2, 3)), r"\(T, B, 3\); got"),
    "input size": (lambda layer, k: layer(torch.zeros(5, 2, 4)), r"\(T, B, 3\); got \(5, 2, 4\)"),
    "input size, single": (lambda layer, k: layer(torch.zeros(5, 4)), r"\(T, 3\); got \(5, 4\)"),
    "input dtype": (
        lambda layer, k: layer(torch.zeros(5, 2, 3, dtype=torch.float64)),
        r"input has dtype torch.float64, but the weights have torch.float32",
    ),
    "input integer": (
        lambda layer, k: layer(torch.zeros(5, 2, 3, dtype=torch.long)),
        r"input has dtype torch.int64",
    ),
    "input device": (
        lambda layer, k: layer(torch.zeros(5, 2, 3, device="meta")),
        r"input is on meta, but the weights are on cpu",
    ),
    "no time step": (lambda layer, k: layer(torch.zeros(0, 2, 3)), r"at least one time step"),
    "no time step, single": (lambda layer, k: layer(torch.zeros(0, 3)), r"at least one time step"),
    "state batch": (
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 5, 4)),
        r"hx.* must have shape \(1, 2, 4\); got \(1, 5, 4\)",
    ),
    "state width": (
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 2, 3)),
        r"hx.* \(1, 2, 4\); got \(1, 2, 3\)",
    ),
    "state layers": (
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 2, 2, 4)),
        r"hx.* \(1, 2, 4\); got \(2, 2, 4\)",
    ),
    "state without batch": (
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 4)),
        r"hx.* \(1, 2, 4\); got \(1, 4\)",
    ),
    "state with batch, single": (
        lambda layer, k: layer(torch.zeros(5, 3), state(k, 1, 1, 4)),
        r"hx.* \(1, 4\); got \(1, 1, 4\)",
    ),
    "state dtype": (
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 2, 4, dtype=torch.float64)),
        r"hx.* has dtype torch.float64",
    ),
    "state device": (
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 2, 4, device="meta")),
        r"hx.* is on meta",
    ),
    "packed width": (
        lambda layer, k: layer(pack_padded_sequence(torch.zeros(5, 2, 4), [5, 2])),
        r"input.data must have shape \(N, 3\); got \(7, 4\)",
    ),
}


@pytest.mark.parametrize("case", CALLS)
@every_kind
@every_backend
def test_a_wrong_call_is_refused_as_torch_refuses_it(kind, case, backend):
    call, message = CALLS[case]
    with pytest.raises((ValueError, RuntimeError), match=message) as refusal:
        call(getattr(rnnlib, kind)(3, 4, backend=backend), kind)
    try:
        call(getattr(nn, kind)(3, 4), kind)
    except (ValueError, RuntimeError) as theirs:
        kinds = (ValueError, RuntimeError, NotImplementedError)
        caught = next(k for k in kinds if isinstance(theirs, k))
        assert caught is NotImplementedError or isinstance(refusal.value, caught)


PACKED = pack_padded_sequence(torch.zeros(5, 2, 3), [5, 2])
VARIANTS = {
    "packed dtype": (
        {},
        lambda layer, k: layer(PackedSequence(PACKED.data.double(), PACKED.batch_sizes)),
        r"input has dtype torch.float64, but the weights have torch.float32",
    ),
    "packed device": (
        {},
        lambda layer, k: layer(PackedSequence(PACKED.data.to("meta"), PACKED.batch_sizes)),
        r"input is on meta, but the weights are on cpu",
    ),
    "packed state": (
        {},
        lambda layer, k: layer(PACKED, state(k, 1, 3, 4)),
        r"hx.* must have shape \(1, 2, 4\); got \(1, 3, 4\)",
    ),
    "state of one of two directions": (
        {"bidirectional": True},
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 2, 4)),
        r"hx.* must have shape \(2, 2, 4\); got \(1, 2, 4\)",
    ),
    "state of one of two layers": (
        {"num_layers": 2},
        lambda layer, k: layer(torch.zeros(5, 2, 3), state(k, 1, 2, 4)),
        r"hx.* must have shape \(2, 2, 4\); got \(1, 2, 4\)",
    ),
    "state with the batch first": (  # batch_first does not turn the state, in torch neither
        {"num_layers": 3, "batch_first": True},
        lambda layer, k: layer(torch.zeros(2, 5, 3), state(k, 2, 3, 4)),
        r"hx.* must have shape \(3, 2, 4\); got \(2, 3, 4\)",
    ),
    "no time step, batch first": (
        {"batch_first": True},
        lambda layer, k: layer(torch.zeros(2, 0, 3)),
        r"at least one time step; got shape \(2, 0, 3\), where dimension 1 is time",
    ),
    "lengths, batch first": (
        {"batch_first": True},
        lambda layer, k: layer(torch.zeros(2, 5, 3), lengths=[3, 6]),
        r"from 1 to 5.*lengths\[1\] is 6",
    ),
    "step dtype": (
        {},
        lambda layer, k: layer.step(torch.zeros(2, 3, dtype=torch.float64)),
        r"input has dtype torch.float64",
    ),
    "step device": (
        {},
        lambda layer, k: layer.step(torch.zeros(2, 3, device="meta")),
        r"input is on meta",
    ),
    "step state without layers": (
        {},
        lambda layer, k: layer.step(torch.zeros(2, 3), state(k, 2, 4)),
        r"hx.* must have shape \(1, 2, 4\); got \(2, 4\)",
    ),
}


@pytest.mark.parametrize("case", VARIANTS)
@every_kind
@every_backend
def test_wrong_calls_of_other_forms_are_refused(kind, case, backend):
    options, call, message = VARIANTS[case]
    layer = getattr(rnnlib, kind)(3, 4, backend=backend, **options)
    with pytest.raises(checks.InputError, match=message):
        call(layer, kind)


@every_kind
@every_backend
@pytest.mark.parametrize("name", ["weight_ih_l1", "weight_hh_l0", "bias_hh_l1"])
def test_weights_of_mixed_dtypes_are_refused(kind, backend, name):
    layer = getattr(rnnlib, kind)(3, 4, num_layers=2, backend=backend)
    setattr(layer, name, nn.Parameter(getattr(layer, name).detach().double()))
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.zeros(5, 2, 3))


@every_kind
@every_backend
def test_weights_on_another_device_than_the_input_are_refused(kind, backend):
    layer = getattr(rnnlib, kind)(3, 4, backend=backend).to("meta")
    with pytest.raises(checks.InputError, match="input is on cpu, but the weights are on meta"):
        layer(torch.zeros(5, 2, 3))


@every_kind
@every_backend
@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([5, 0], checks.InputError, r"from 1 to 5.*lengths\[1\] is 0"),
        ([-1, 5], checks.InputError, r"from 1 to 5.*lengths\[0\] is -1"),
        ([5, 6], checks.InputError, r"from 1 to 5.*lengths\[1\] is 6"),
        ([5], checks.InputError, r"shape \(2,\), one for each sequence; got \(1,\)"),
        ([[5, 2]], checks.InputError, r"shape \(2,\).*got \(1, 2\)"),
        (5, checks.InputError, r"shape \(2,\).*got \(\)"),
        (torch.tensor([5.0, 2.0]), TypeError, r"must be integers; got torch.float32"),
        ([True, True], TypeError, r"must be integers; got torch.bool"),
        ("52", TypeError, r"tensor or list of integers; got str"),
    ],
)
def test_wrong_lengths_are_refused(kind, backend, lengths, error, message):
    with pytest.raises(error, match=message):
        getattr(rnnlib, kind)(3, 4, backend=backend)(torch.zeros(5, 2, 3), lengths=lengths)


@every_kind
@every_backend
def test_what_cannot_go_together_is_refused(kind, backend):
    layer = getattr(rnnlib, kind)(3, 4, backend=backend)
    x = torch.zeros(5, 2, 3)
    s = state(kind, 1, 2, 4)
    with pytest.raises(checks.InputError, match="hx and state are two names for one argument"):
        layer(x, s, state=s)
    with pytest.raises(checks.InputError, match="PackedSequence has its own"):
        layer(pack_padded_sequence(x, [5, 2]), lengths=[5, 2])
    with pytest.raises(checks.InputError, match="lengths needs a batch"):
        layer(x[:, 0], lengths=[5])
    for sizes in ([], [0], [2, 3], [3, 3], [3, 0, 2]):
        packed = PackedSequence(torch.zeros(5, 3), torch.tensor(sizes, dtype=torch.int64))
        with pytest.raises(checks.InputError, match=r"input.batch_sizes must be positive"):
            layer(packed)


@every_kind
@every_backend
def test_wrong_types_are_refused(kind, backend):
    layer = getattr(rnnlib, kind)(3, 4, backend=backend)
    x = torch.zeros(5, 2, 3)
    with pytest.raises(TypeError, match="input must be a tensor or a PackedSequence; got list"):
        layer(x.tolist())
    with pytest.raises(TypeError, match=r"hx.* must be a"):
        layer(x, 0.0)
    if kind == "LSTM":
        with pytest.raises(TypeError, match=r"hx of an LSTM must be a pair of tensors"):
            layer(x, torch.zeros(1, 2, 4))
        with pytest.raises(checks.InputError, match=r"pair \(h, c\); got 1 members"):
            layer(x, (torch.zeros(1, 2, 4),))
        with pytest.raises(checks.InputError, match=r"hx\[1\] \(c\) must have shape \(1, 2, 4\)"):
            layer(x, (torch.zeros(1, 2, 4), torch.zeros(1, 2, 5)))
    else:
        with pytest.raises(TypeError, match="hx must be a tensor; got tuple"):
            layer(x, (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))


@every_kind
@every_backend
def test_wrong_steps_are_refused(kind, backend):
    layer = getattr(rnnlib, kind)(3, 4, backend=backend)
    for shape in ((3,), (2, 4), (1, 2, 3)):
        message = re.escape(f"x_t must have shape (B, 3); got {shape}")
        with pytest.raises(checks.InputError, match=message):
            layer.step(torch.zeros(shape))
    with pytest.raises(checks.InputError, match=r"\(1, 2, 4\); got \(1, 3, 4\)"):
        layer.step(torch.zeros(2, 3), layer.initial_state(3))
    with pytest.raises(checks.InputError, match="batch_size must be at least 1; got 0"):
        layer.initial_state(0)
    with pytest.raises(TypeError, match=r"batch_size must be an integer; got 2.5"):
        layer.initial_state(2.5)


@every_kind
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1; got 0"),
        ({"hidden_size": -4}, ValueError, "hidden_size must be at least 1; got -4"),
        ({"num_layers": 0}, ValueError, "num_layers must be at least 1; got 0"),
        ({"hidden_size": 4.0}, TypeError, "hidden_size must be an integer; got 4.0"),
        ({"input_size": "3"}, TypeError, "input_size must be an integer; got '3'"),
        ({"num_layers": True}, TypeError, "num_layers must be an integer; got True"),
        ({"dropout": 1.5}, ValueError, "dropout"),
        ({"dropout": -0.1}, ValueError, "dropout"),
        ({"bias": 1}, TypeError, "bias"),
        ({"batch_first": "yes"}, TypeError, "batch_first"),
        ({"proj_size": 2}, ValueError, "proj_size must be 0.*got 2"),
        ({"backend": "quick"}, ValueError, "backend must be one of 'auto', 'loop'.*got 'quick'"),
        ({"backend": None}, ValueError, "backend must be one of.*got None"),
    ],
)
def test_wrong_options_are_refused(kind, options, error, message):
    with pytest.raises(error, match=message):
        getattr(rnnlib, kind)(**({"input_size": 3, "hidden_size": 4} | options))


def test_an_unknown_nonlinearity_is_refused():
    with pytest.raises(ValueError, match="nonlinearity must be one of 'tanh', 'relu'; got 'cube'"):
        rnnlib.RNN(3, 4, nonlinearity="cube")


def test_a_backend_that_was_set_wrongly_later_is_refused():
    layer = rnnlib.GRU(3, 4)
    layer.backend = "quick"
    with pytest.raises(checks.InputError, match="backend must be one of"):
        layer(torch.zeros(5, 2, 3))


def test_dropout_that_can_do_nothing_warns_like_torch():
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1"):
        rnnlib.LSTM(3, 4, dropout=0.5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_cell_layer_refuses_wrong_input(cell):
    layer = CellLayer(cell, 3, 4)
    x = torch.zeros(5, 2, 3)
    with pytest.raises(checks.InputError, match="cell must be one of"):
        CellLayer("grew", 3, 4)
    with pytest.raises(checks.InputError, match="hidden_size must be at least 1"):
        CellLayer(cell, 3, 0)
    with pytest.raises(checks.InputError, match=r"x must have shape \(T, B, 3\)"):
        layer(x[0])
    with pytest.raises(checks.InputError, match="at least one time step"):
        layer(x[:0])
    with pytest.raises(checks.InputError, match="dtype"):
        layer(x.double())
    with pytest.raises(checks.InputError, match="from 1 to 5"):
        layer(x, lengths=[1, 9])
    with pytest.raises(checks.InputError, match=r"state.* must have shape \(2, 4\)"):
        layer(x, layer.initial_state(3))
    with pytest.raises(checks.InputError, match=r"x_t must have shape \(B, 3\)"):
        layer.step(x)
    with pytest.raises(TypeError, match="state"):
        layer(x, 1.0)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "lstm_peepholes"])
def test_cell_layer_refuses_states_and_lengths_that_do_not_fit(cell):
    layer = CellLayer(cell, 3, 4)
    x = torch.zeros(5, 2, 3)
    has_cell = cell.startswith("lstm")

    def state(last):  # whose last tensor (c, where there is one) is the wrong one
        return (torch.zeros(2, 4), last) if has_cell else last

    for wrong, message in (
        (torch.zeros(1, 4), r"must have shape \(2, 4\); got \(1, 4\)"),  # would be broadcast
        (torch.zeros(4), r"must have shape \(2, 4\); got \(4,\)"),
        (torch.zeros(2, 4, dtype=torch.float64), "has dtype torch.float64"),
        (torch.zeros(2, 4, device="meta"), "is on meta, but the weights are on cpu"),
    ):
        for run in (lambda s: layer(x, s), lambda s: layer.step(x[0], s)):
            with pytest.raises(checks.InputError, match=message):
                run(state(wrong))
    other_kind = torch.zeros(2, 4) if has_cell else (torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(TypeError, match="state"):
        layer(x, other_kind)
    for wrong in (x.long(), x.double(), x.to("meta")):
        with pytest.raises(checks.InputError, match="but the weights"):
            layer(wrong)
    for lengths, error in (([5], ValueError), ([5, 0], ValueError), ([5.0, 1.0], TypeError)):
        with pytest.raises(error, match="lengths"):
            layer(x, lengths=lengths)


@pytest.mark.parametrize("module", [rnn, lstm, gru])
def test_numpy_networks_refuse_what_would_be_broadcast_or_is_empty(module):
    p = module.initialise(3, 4, 2, seed=0)
    x = np.zeros((5, 2, 3))
    for wrong in (x[:0], x[:, :0], x[:, :, :2], x[0], np.zeros((5, 2, 1))):
        with pytest.raises(ValueError, match=r"^x: expected shape"):
            module.forward(p, wrong)
    for wrong in (np.zeros((1, 4)), np.zeros(4), np.zeros((2, 1))):
        with pytest.raises(ValueError, match=r"^h_0: expected shape \(2, 4\)"):
            module.forward(p, x, wrong)


def test_input_errors_are_caught_like_torchs():
    assert issubclass(checks.InputError, ValueError)
    assert issubclass(checks.InputError, RuntimeError)
