"""The experiment on truncated gradients: its task, its schemes, its optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments import truncated_bptt as experiment
from rnnlib.numpy_nets import rnn


@pytest.fixture
def segment():
    random = np.random.default_rng(0)
    p = rnn.initialise(1, experiment.HIDDEN, 1, seed=0)
    x, d = random.choice([-1.0, 1.0], (2, experiment.SEGMENT, 3, 1))
    h_0 = random.normal(size=(3, experiment.HIDDEN))
    y, h = rnn.forward(p, x, h_0)
    return p, x, d, h_0, h, (y - d) / d.size


@pytest.mark.parametrize(("scheme", "depth"), [("chunks", 32), ("windows", 32)])
def test_an_uncut_gradient_is_the_full_one(segment, scheme, depth):
    p, x, d, h_0, h, dy = segment
    coins = np.random.default_rng(0)
    ours, last = experiment.gradient(scheme, depth, p, x, d, h_0, coins)
    np.testing.assert_allclose(ours.W_h, rnn.backward(p, x, h, dy).parameters.W_h, atol=1e-12)
    np.testing.assert_array_equal(last, h[-1])


def test_chunks_carry_the_state_and_reset_does_not(segment):
    p, x, d, h_0, h, dy = segment
    coins = np.random.default_rng(0)
    chunks, _ = experiment.gradient("chunks", 8, p, x, d, h_0, coins)
    expected = rnn.backward_truncated(p, x, h, dy, every=8, depth=8).parameters
    np.testing.assert_array_equal(chunks.W_h, expected.W_h)
    reset, last = experiment.gradient("reset", 8, p, x, d, h_0, coins)
    parts = []
    for start in range(0, 32, 8):
        part = slice(start, start + 8)
        y, states = rnn.forward(p, x[part])
        parts.append(rnn.backward(p, x[part], states, (y - d[part]) / d.size).parameters.W_h)
    np.testing.assert_allclose(reset.W_h, sum(parts), atol=1e-12)
    assert not last.any()


def test_the_random_cut_keeps_each_step_with_the_right_probability(segment, monkeypatch):
    p, x, d, h_0, *_ = segment
    seen = {}
    monkeypatch.setattr(
        rnn,
        "backward_randomised",
        lambda *a, keep, generator: seen.update(keep=keep) or rnn.backward(*a),
    )
    experiment.gradient("random", 4, p, x, d, h_0, np.random.default_rng(0))
    assert seen["keep"] == 0.75  # the length of the journey is geometric with mean 1 / (1 - keep)


def test_targets_are_the_signs_of_lag_steps_ago():
    class Delay:  # a network would have to be this one
        b = np.zeros(experiment.HIDDEN)

    def forward(p, x, h_0=None):
        y = np.concatenate([np.zeros((6, *x.shape[1:])), x[:-6]])
        return y, np.zeros((len(x) + 1, x.shape[1], experiment.HIDDEN))

    original, rnn.forward = rnn.forward, forward
    try:
        y, _, d = experiment.tested(Delay(), lag=6, seed=1)
    finally:
        rnn.forward = original
    np.testing.assert_array_equal(y, d)


def test_an_untrained_network_guesses_but_holds_the_sign():
    results = experiment.run(seed=60, scheme="chunks", lag=6, depth=2, updates=0)
    assert 0.4 < results["accuracy"] < 0.6
    assert results["readable_before"] == results["readable_after"] > 0.9
    assert experiment.readable(rnn.initialise(1, experiment.HIDDEN, 1, 60, scale=0.01), 30) < 0.6


def test_training_learns_what_lies_within_reach():
    assert experiment.run(seed=60, scheme="chunks", lag=1, depth=8, updates=200)["accuracy"] > 0.95


def test_adam_is_torchs_after_clipping():
    p = rnn.initialise(1, 3, 1, seed=1)
    theirs = [torch.tensor(array.copy(), requires_grad=True) for _, array in p.items()]
    optimiser = torch.optim.Adam(theirs, lr=experiment.LEARNING_RATE)
    ours, random = experiment.Adam(p), np.random.default_rng(0)
    for scale in (0.1, 10.0, 1.0):
        gradient = p.copy()
        for (_, array), tensor in zip(gradient.items(), theirs, strict=True):
            array[...] = scale * random.normal(size=array.shape)
            tensor.grad = torch.tensor(array.copy())
        torch.nn.utils.clip_grad_norm_(theirs, experiment.CLIP)
        optimiser.step()
        ours.update(p, gradient)
    for (name, array), tensor in zip(p.items(), theirs, strict=True):
        np.testing.assert_allclose(array, tensor.detach(), atol=1e-6, err_msg=name)


def test_an_unknown_scheme_is_refused(segment):
    p, x, d, h_0, *_ = segment
    with pytest.raises(ValueError, match="scheme"):
        experiment.gradient("half", 4, p, x, d, h_0, np.random.default_rng(0))
