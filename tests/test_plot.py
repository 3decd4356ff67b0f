"""Figures: what is drawn is what was given; nothing global is touched; refusals say what to do."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

import primeattn as pa
from primeattn import plot
from primeattn.plot import files, style


@pytest.fixture
def ax():
    return Figure().subplots()


def test_score_map_blanks_the_diagonal_and_keeps_the_rest(ax, rng):
    matrix = rng.random((5, 5))
    shown = plot.score_map(matrix, ax=ax, colorbar=False).images[0].get_array()
    assert shown.mask.tolist() == np.eye(5, dtype=bool).tolist()
    np.testing.assert_array_equal(shown.data, matrix)
    whole = plot.score_map(matrix, ax=Figure().subplots(), diagonal=True, colorbar=False).images[0].get_array()
    assert not np.ma.getmaskarray(whole).any()


def test_score_map_names_each_run_of_equal_labels_once(ax):
    plot.score_map(np.eye(6), ax=ax, labels=["a", "a", "a", "b", "b", "b"], colorbar=False)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks().tolist() == [1.0, 4.0]


def test_a_dataarray_brings_its_labels(ax):
    xarray = pytest.importorskip("xarray")
    data = xarray.DataArray(np.eye(2), dims=("text", "other"), coords={"text": ["one", "two"]})
    plot.score_map(data, ax=ax, colorbar=False)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two"]


def test_score_maps_share_one_scale():
    axes = plot.score_maps({"small": np.full((3, 3), 0.1), "large": np.full((3, 3), 0.7)}, figure=Figure())
    assert {ax.images[0].get_clim() for ax in axes} == {(0.0, 0.7)}


def test_off_diagonal_limits_ignore_the_diagonal_nan_and_outliers_on_request(rng):
    matrix = rng.random((30, 30)) * 0.1
    np.fill_diagonal(matrix, 1.0)
    matrix[3, 4], matrix[0, 1] = np.nan, 0.9
    assert plot.off_diagonal_limits(matrix) == (0.0, 0.9)
    assert plot.off_diagonal_limits(matrix, quantile=0.99)[1] < 0.11
    assert plot.off_diagonal_limits(np.eye(1)) == (0.0, 1.0)
    assert plot.off_diagonal_limits(np.zeros((4, 4))) == (0.0, 1.0)
    assert plot.off_diagonal_limits() == (0.0, 1.0)


def test_mirror_map_takes_each_triangle_from_its_own_view(ax):
    shown = plot.mirror_map(np.full((3, 3), 0.2), np.full((3, 3), 0.8), ax=ax, marked=[(0, 2)]).images[0].get_array()
    assert shown.data[2, 0] == 0.2
    assert shown.data[0, 2] == 0.8
    assert [text.get_text() for text in ax.texts] == ["1"]


def test_spectrum_colours_only_what_is_below_the_bound(ax):
    plot.spectrum([3.0, 1.0, -1e-17, -0.4], ax=ax)
    ink, accent = (points.get_offsets()[:, 1].tolist() for points in ax.collections[:2])
    assert ink == [3.0, 1.0, -1e-17]
    assert accent == [-0.4]


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [-1.0], [1e-300, 1e300]])
def test_spectrum_of_awkward_values_draws(values):
    figure = Figure()
    plot.spectrum(values, ax=figure.subplots())
    figure.canvas.draw() if hasattr(figure.canvas, "draw") else None


def test_components_stack(ax):
    plot.components({"a": [0.1, 0.2], "b": [0.3, 0.4]}, ax=ax)
    assert [round(bar.get_x(), 12) for bar in ax.patches] == [0, 0, 0.1, 0.2]


def test_counts_mark_the_median(ax):
    plot.counts([1, 2, 9], ax=ax)
    assert "median 2" in ax.texts[0].get_text()
    plot.counts([], ax=Figure().subplots())


def test_rank_frequency_sorts_and_drops_zeros(ax):
    plot.rank_frequency([1, 0, 7, 3], ax=ax)
    assert ax.lines[0].get_ydata().tolist() == [7, 3, 1]
    plot.rank_frequency([0, 0], ax=Figure().subplots())


def test_phases_stand_where_the_amplitudes_point():
    states = pa.PrimeStates.from_dicts([{2: 1.0, 3: 0.5j}, {}])
    ax = plot.phases(states, 0, ax=Figure().subplots(subplot_kw={"projection": "polar"}))
    np.testing.assert_allclose(
        ax.collections[-1].get_offsets(), [[0, 1], [np.pi / 2, 0.5]], atol=1e-12
    )  # atan2's rounding
    plot.phases(states, -1, ax=Figure().subplots(subplot_kw={"projection": "polar"}))
    with pytest.raises(IndexError, match="batch of 2 states"):
        plot.phases(states, 2)


def test_sparsity_of_states():
    left, right = plot.sparsity(pa.PrimeStates.random(20, 5, rng=0), figure=Figure())
    assert left.get_ylabel() == "states"
    assert right.get_xscale() == "log"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.score_map(np.zeros(3)), "two axes"),
        (lambda: plot.score_map(np.eye(3), labels=["a"]), "1 entries for 3 rows"),
        (lambda: plot.score_maps({}), "at least one map"),
        (lambda: plot.mirror_map(np.eye(2), np.eye(3)), "equal square maps"),
        (lambda: plot.components({}), "at least one component"),
        (lambda: plot.components({"a": [1], "b": [1, 2]}), "one value per pair"),
        (lambda: plot.agreement([1], [1, 2]), "the same pairs"),
    ],
)
def test_refusals(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_without_matplotlib_the_error_is_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "primeattn\[report\]"'):
        plot.score_map(np.eye(2))


def test_import_does_not_load_matplotlib_and_drawing_on_axes_does_not_load_pyplot():
    code = (
        "import sys, numpy as np, primeattn.plot as plot; first = 'matplotlib' in sys.modules;"
        "from matplotlib.figure import Figure; plot.score_map(np.eye(3), ax=Figure().subplots());"
        "print(first, 'matplotlib.pyplot' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]


def test_svg_follows_the_theme_and_is_the_same_every_time():
    def draw(figure):
        plot.lines([1, 2, 4], {"a": [1, 2, 3], "b": [3, 2, 1]}, ax=figure.subplots(), accent="a")

    text = files.svg(draw, 4, 3, name="x", alt='less < "more"')
    assert text == files.svg(draw, 4, 3, name="x", alt='less < "more"')
    assert "var(--accent)" in text
    assert not any(getattr(style, name) in text for name in ("INK", "ACCENT", "MUTED"))
    assert 'aria-label="less &lt; &quot;more&quot;"' in text
    assert "font-family: var(--sans)" in text
    assert "DejaVu" not in text


def test_pixels_are_one_a_cell_and_averaged_when_there_are_too_many(rng):
    import base64
    import io

    from matplotlib import image

    def decoded(uri):
        return image.imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])), format="png")

    cells = decoded(files.pixels(np.ones((7, 7)), (0, 1)))
    assert cells.shape == (7, 7, 4)
    assert (cells[..., 3].diagonal() == 0).all()  # transparent: not a pair
    matrix = rng.random((50, 50))
    assert decoded(files.pixels(matrix, (0, 1), largest=20)).shape == (17, 17, 4)
    flat = decoded(files.pixels(np.full((50, 50), 0.5), (0, 1), largest=20))
    assert (flat == flat[0, 0]).all()  # the blank diagonal must not darken the mean


def test_names_from_data_are_no_formulas():
    """Unbalanced braces after a dollar sign: Matplotlib would stop at them when it draws."""
    name = "$x_{ a$"
    figure = Figure()
    top, bottom = figure.subplots(2, 4)
    plot.score_map(np.eye(2), ax=top[0], labels=[name, "b"])
    plot.mirror_map(np.eye(2), np.eye(2), ax=top[1], labels=[name, "b"], names=(name, name))
    plot.components({name: [1.0]}, ax=top[2], labels=[name])
    plot.agreement([1.0], [1.0], ax=top[3], names=(name, name))
    plot.lines([1.0, 2.0], {name: [1.0, 2.0]}, ax=bottom[0], accent=name)
    plot.counts([1, 2], ax=bottom[1], title="$x_1$")  # words of the caller may be
    figure.draw_without_rendering()
    maps = plot.score_maps({name: np.eye(2)}, figure=Figure())
    maps[0].figure.draw_without_rendering()
    assert maps[0].get_title(loc="left") == name


def test_pictures_of_the_report_hold_no_formulas():
    def draw(figure):
        figure.subplots().set_title("$x_{ a$")

    assert files.png(draw, 2, 2).startswith(b"\x89PNG")
    assert "$x_{ a$" in files.svg(draw, 2, 2, name="x", alt="a title with a dollar sign")


@pytest.mark.filterwarnings("error")
def test_letters_without_a_glyph_are_no_warning():
    def draw(figure):
        figure.subplots().set_title("日本")

    assert files.png(draw, 2, 2).startswith(b"\x89PNG")
    assert "日本" in files.svg(draw, 2, 2, name="x", alt="a title in Japanese")


def test_labels_of_phases_keep_apart():
    states = pa.PrimeStates.random(1, 64, rng=0)
    figure = Figure(figsize=(3.8, 3.8), layout="constrained")
    ax = plot.phases(states, ax=figure.subplots(subplot_kw={"projection": "polar"}), title="a state")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in [*ax.texts, *ax.get_xticklabels()]]
    assert 3 <= len(ax.texts) <= 12
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_a_tone_belongs_to_a_name_in_every_figure():
    figure = Figure()
    ax, other = figure.subplots(1, 2)
    plot.lines([1, 2], {"a": [1, 2], "b": [2, 1]}, ax=ax, tones={"a": 0, "b": 3, "c": 1})
    plot.lines([1, 2], {"b": [2, 1]}, ax=other, tones={"b": 3})
    assert ax.lines[0].get_color() == style.ACCENT
    assert ax.lines[1].get_color() == other.lines[0].get_color() == style.tone(3)
    assert len({style.tone(k) for k in range(len(style.TONES))}) == len(style.TONES)
    assert style.ACCENT not in {style.tone(k) for k in range(1, 40)}


# Machado, Oliveira and Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009), table 1, severity 1, on linear RGB
_EYES = {
    "normal": np.eye(3),
    "no long cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no middle cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no short cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def _lab(color, eye):
    """CIE L*a*b* (D65) of a colour as such an eye sees it; a distance of 2 is just visible side by side."""
    c = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    seen = np.clip(np.asarray(eye) @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = np.asarray(to_xyz) @ seen / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


_TONES = "accent", "ink", "blue", "green", "violet", "brown"


def _page_tones(theme):
    """The tones of the report's page, in order: its light theme is that of all figures."""
    css = (Path(pa.__file__).parent / "report" / "page.css").read_text()
    root = css.split(":root")[1 + theme]
    return [re.search(rf"--{name}: (#[0-9a-f]{{6}})", root)[1] for name in _TONES]


def _nearest(colors, eye):
    seen = [_lab(color, eye) for color in colors]
    return min(float(np.linalg.norm(a - b)) for k, a in enumerate(seen) for b in seen[:k])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eye", _EYES)
def test_tones_stay_apart_for_every_eye(theme, eye):
    tones = _page_tones(theme)
    if not theme:
        assert tuple(tones) == style.TONES
    assert _nearest(tones, _EYES[eye]) > 20  # ten times what can just be seen
    # the test is alive: blue and violet of one lightness meet without middle cones
    assert _nearest(["#2b6ca3", "#7b4fa3"], _EYES["no middle cones"]) < 2


def test_a_scale_says_that_values_lie_beyond_it():
    figure = Figure()
    ax = plot.score_map([[1.0, 0.2], [0.2, 1.0]], ax=figure.subplots(), diagonal=True)
    assert ax.images[0].colorbar.extend == "max"
    ax = plot.score_map([[1.0, 0.2], [0.2, 1.0]], ax=Figure().subplots(), diagonal=True, limits=(0, 1))
    assert ax.images[0].colorbar.extend == "neither"


def test_circles_of_a_state_are_named(ax):
    states = pa.PrimeStates.from_dicts([{2: 0.8, 3: 0.6j}])
    ax = plot.phases(states, ax=Figure().subplots(subplot_kw={"projection": "polar"}))
    assert len(ax.get_yticks()) >= 2
    assert [float(text.get_text()) for text in ax.get_yticklabels()] == pytest.approx(list(ax.get_yticks()))


# --- oscillators ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble():
    """Three couplings at once, phases kept."""
    model = pa.Kuramoto(np.linspace(-1, 1, 12), coupling=[0.5, 3.0, 1.5])
    return pa.simulate(model, (0, 4), samples=9, save_theta=True, rng=0)


def test_trajectory_draws_what_there_is(ensemble):
    axes = plot.trajectory(ensemble, run=1, theory=0.9, figure=Figure())
    assert [ax.get_title(loc="left") for ax in axes] == ["Order parameter", "Phases at t = 4", "Phases in time"]
    for line, R in zip(axes[0].lines, ensemble.R, strict=False):
        np.testing.assert_array_equal(line.get_ydata(), R)
    assert axes[0].lines[3].get_ydata() == [0.9, 0.9]
    assert axes[1].texts[-1].get_text() == f"R = {ensemble.R[1, -1]:.2f}"
    np.testing.assert_allclose(axes[2].images[0].get_array(), np.mod(ensemble.theta[1].T, 2 * np.pi))
    single = pa.simulate(pa.Kuramoto(np.linspace(-1, 1, 12)), (0, 4), samples=9, rng=0)
    assert plot.trajectory(single, figure=Figure()).shape == (2,)
    with pytest.raises(ValueError, match="pass save_theta=True"):
        plot.raster(single, ax=Figure().subplots())


def test_many_runs_are_drawn_as_bands(ax):
    runs = pa.simulate(pa.Kuramoto(np.linspace(-1, 1, 12)), (0, 1), runs=20, samples=4, rng=0)
    plot.order_parameter(runs, ax=ax)
    assert len(ax.collections) == 2
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.median(runs.R, axis=0))


def test_synchronization_sorts_and_averages(ax, ensemble):
    plot.synchronization(ensemble, ax=ax, theory=lambda K: K / 4, critical=1.0)
    theory, _, simulated = ax.lines
    np.testing.assert_allclose(theory.get_ydata(), theory.get_xdata() / 4)
    assert simulated.get_xdata().tolist() == [0.5, 1.5, 3.0]
    np.testing.assert_allclose(simulated.get_ydata(), ensemble.R[[0, 2, 1], 4:].mean(axis=1))


def test_synchronization_of_a_sweep_with_directions_and_runs(ax):
    xarray = pytest.importorskip("xarray")
    R = np.arange(24.0).reshape(2, 3, 4) / 24
    sweep = xarray.Dataset(
        {"R_mean": (("direction", "run", "coupling"), R)},
        {"direction": ["forward", "backward"], "coupling": [0.0, 1.0, 2.0, 3.0]},
    )
    plot.synchronization(sweep, ax=ax)
    for line, part in zip(ax.lines, R, strict=True):
        np.testing.assert_allclose(line.get_ydata(), np.median(part, axis=0))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["forward", "backward"]
    with pytest.raises(ValueError, match="one named coupling is wanted"):
        plot.synchronization(sweep.rename(coupling="K"), ax=ax)
    with pytest.raises(ValueError, match="R or R_mean is wanted"):
        plot.synchronization(sweep.rename(R_mean="x"), ax=ax)


def test_runs_without_samples_draw():
    from primeattn.dynamics import Trajectory

    full = pa.simulate(pa.Kuramoto([0.0, 1.0]), (0, 1), samples=2, rng=0, save_theta=True)
    empty = Trajectory(**(vars(full) | {"t": full.t[:0], "theta": full.theta[:0], "observables": {"R": full.R[:0]}}))
    assert plot.trajectory(empty, figure=Figure()).shape == (3,)
