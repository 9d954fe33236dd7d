"""The portrait of a network's states shows what the network does."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rnnlib import tiny
from rnnlib.figures import portraits
from rnnlib.numpy_nets import rnn


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def tiny_step(held: float, scale: float = 1.0):
    p = tiny.parameters()
    p.W_h *= scale
    return lambda states: rnn.step(p, np.full((len(states), 1), held), states)


def shades(axes):
    """How many regions of different shade there are."""
    return len(np.unique(axes.collections[0].get_array()))


def circles(axes):
    return [line.get_xydata() for line in axes.lines if line.get_marker() == "o"]


@pytest.mark.parametrize(("held", "scale", "regions"), [(0, 1, 2), (-2, 1, 1), (0, 0.5, 1)])
def test_regions_are_those_that_lead_to_different_ends(held, scale, regions):
    axes = portraits.phase_portrait(tiny_step(held, scale))
    assert shades(axes) == regions
    (ends,) = circles(axes)
    assert len(ends) == regions
    assert np.allclose(tiny_step(held, scale)(ends), ends, atol=1e-3)


def test_arrows_point_to_the_next_state_and_the_shade_tells_where_it_ends():
    axes = portraits.phase_portrait(tiny_step(0.0))
    arrows = next(c for c in axes.collections if hasattr(c, "U"))
    tails = np.stack([arrows.X, arrows.Y], -1)
    moves = np.stack([arrows.U, arrows.V], -1)
    assert np.allclose(tails + 3 * moves, tiny_step(0.0)(tails))
    grid = np.asarray(axes.collections[0].get_array()).reshape(161, 161)
    assert grid[0, 160] != grid[160, 0]  # "on" is lower right, "off" upper left


def test_path_and_repelling_points_are_drawn():
    path = [(0.0, 0.0), (0.5, -0.5)]
    axes = portraits.phase_portrait(tiny_step(0.0), path=path, unstable=[(0.067, 0.066)])
    assert len(circles(axes)) == 2
    assert any(np.array_equal(line.get_xydata(), path) for line in axes.lines)


def test_a_map_that_does_not_settle_is_refused():
    with pytest.raises(ValueError, match="steps: expected enough for every state to settle"):
        portraits.phase_portrait(lambda states: states[:, ::-1] * np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="step: expected at most 4 settled states"):
        portraits.phase_portrait(np.copy)
    with pytest.raises(ValueError, match="step: expected states"):
        portraits.phase_portrait(lambda states: states[:, :1])
