"""Pictures of the study: shared scales, what is drawn is what was given, refusals."""

import doctest

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import primeattn as pa
from primeattn import plot
from primeattn.plot import of_spheres, of_study, style


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(scope="module")
def depth():
    return pa.study.dynamics_of("uniform", tokens=6, runs=3, depth=12, rng=0)


def test_profiles_share_axes_and_carry_their_own_curve():
    axes = plot.kernel_profiles({"softmax": np.exp, "uniform": lambda z: 1.0}, limit=2, figure=Figure())
    assert {ax.get_xlim() for ax in axes} == {(-2.0, 2.0)}
    assert len({ax.get_ylim() for ax in axes}) == 1
    own = [next(line for line in ax.lines if line.get_color() == style.ACCENT) for ax in axes]
    np.testing.assert_allclose(own[0].get_ydata(), np.exp(own[0].get_xdata() - 2))
    np.testing.assert_allclose(own[1].get_ydata(), 1)


def test_profiles_take_scores_of_the_study():
    score = pa.study.symbolic.score("expressive")
    (ax,) = plot.kernel_profiles({"expressive": score}, figure=Figure())
    line = next(line for line in ax.lines if line.get_color() == style.ACCENT)
    z = line.get_xdata()
    np.testing.assert_allclose(line.get_ydata(), z**2 / (1 + z**2) / 0.9)


def test_spectra_share_one_scale_and_count_what_is_negative():
    spectra = {"holds": [5.0, 1e-17, 1.0], "fails": [-2.0, 10.0, -1.0]}
    axes = plot.gram_spectra(spectra, figure=Figure())
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert [ax.texts[0].get_text() for ax in axes] == ["none below 0", "2 below 0"]
    assert axes[1].texts[0].get_color() == style.ACCENT
    counted = plot.gram_spectra(spectra, bounds={"fails": 1.5}, figure=Figure())
    assert counted[1].texts[0].get_text() == "1 below 0"


def test_unused_panels_are_hidden():
    figure = Figure()
    axes = plot.gram_spectra({str(k): [1.0] for k in range(5)}, columns=4, figure=figure)
    assert len(axes) == 5
    assert [ax.get_visible() for ax in figure.axes] == [True] * 5 + [False] * 3


def test_order_by_layer_draws_medians_and_ranges(ax, depth):
    plot.order_by_layer({"one": depth}, ax=ax)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), np.median(depth.R, axis=1))
    assert len(ax.collections) == 1  # the range
    assert ax.get_legend() is None
    many = plot.order_by_layer({str(k): depth for k in range(8)}, ax=Figure().subplots(), of="diameter")
    assert len({(line.get_color(), str(line.get_linestyle())) for line in many.lines}) == 8
    assert not many.collections
    assert len(many.get_legend().get_texts()) == 8


def test_a_state_of_rest_is_filled_if_it_attracts():
    def field(x, y):
        return x - x**3, -y

    ax = plot.phase_portrait(field, (-2, 2), (-1, 1), ax=Figure().subplots(), rest=[(1, 0), (0, 0)], names=("u", "v"))
    dots = [c for c in ax.collections if isinstance(c, PathCollection) and len(c.get_facecolor())]
    assert [to_hex(dot.get_facecolor()[0]) for dot in dots] == [style.ACCENT, "#ffffff"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["u′ = 0", "v′ = 0"]
    drawn = plot.phase_portrait(field, (-2, 2), (-1, 1), ax=Figure().subplots(), paths=[np.array([[0, 0], [1, 1]])])
    assert any(line.get_color() == style.ACCENT for line in drawn.lines)


def test_an_orbit_begins_where_the_vector_is_and_what_is_behind_is_pale(ax):
    turn = pa.quaternion.from_axis_angle(np.array([0.0, 0.0, 1.0]), np.linspace(0, np.pi, 40))
    plot.quaternion_orbits({"half a turn": turn}, ax=ax, view=(0.0, 0.0))
    start, end = (c.get_offsets()[0] for c in ax.collections)
    np.testing.assert_allclose(start, [0, 0], atol=1e-12)  # towards the eye
    np.testing.assert_allclose(end, [0, 0], atol=1e-12)  # and away from it
    assert ax.collections[0].get_alpha() == 1.0
    assert ax.collections[1].get_alpha() == 0.5
    near, far = (line for line in ax.lines if line.get_color() == style.ACCENT)
    assert near.get_alpha() > far.get_alpha()
    # both sides together draw the way without a gap
    assert (~np.isnan(near.get_xdata()) | ~np.isnan(far.get_xdata())).all()


def test_token_paths_show_first_and_last(depth):
    ax = plot.token_paths(depth, run=2, ax=Figure().subplots(), view=(0.0, 0.0))
    first, last = (np.asarray(c.get_offsets()) for c in ax.collections)
    np.testing.assert_allclose(first, depth.x[0, 2][:, 1:], atol=1e-12)
    np.testing.assert_allclose(last, depth.x[-1, 2][:, 1:], atol=1e-12)
    plot.token_paths(depth, ax=Figure().subplots())


def test_refusals(ax, depth):
    with pytest.raises(ValueError, match="profiles is empty"):
        plot.kernel_profiles({})
    with pytest.raises(ValueError, match="nothing is 0 or NaN for all scores"):
        plot.kernel_profiles({"nothing": lambda z: 0 * z}, figure=Figure())
    with pytest.raises(ValueError, match="spectra is empty"):
        plot.gram_spectra({})
    with pytest.raises(ValueError, match="depths is empty"):
        plot.order_by_layer({}, ax=ax)
    with pytest.raises(ValueError, match="of is 'entropy': one of 'R', 'energy'"):
        plot.order_by_layer(depth, ax=ax, of="entropy")
    with pytest.raises(ValueError, match=r"an orbit has shape \(3,\)"):
        plot.quaternion_orbits([1.0, 0, 0], ax=ax)
    with pytest.raises(ValueError, match="three numbers that are not all 0"):
        plot.quaternion_orbits([[1.0, 0, 0, 0]], vector=(0, 0, 0), ax=ax)
    flat = pa.study.dynamics_of("uniform", tokens=3, width=2, depth=1, rng=0)
    with pytest.raises(ValueError, match="tokens are in sphere with 2 coordinates: pass space='sphere' and width=3"):
        plot.token_paths(flat, ax=ax)


def test_examples():
    for module in (of_study, of_spheres):
        assert doctest.testmod(module).failed == 0
