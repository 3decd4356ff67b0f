"""The vectorised elementary functions: accuracy over the whole range, special values, SIMD, CUDA twins, cache."""

import ast
import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from mpmath import mp
from numba import njit

from primeattn._runtime import devices
from primeattn._runtime import elementary as el
from primeattn._runtime.elementary import arrays, constants, payne_hanek, polynomials
from primeattn._runtime.jit import MATH

ROOT = Path(__file__).parents[1]
INF, NAN = math.inf, math.nan
DTYPES = (np.float32, np.float64)

# Largest error in units in the last place of the exact result, as docs/theory/elementary.md promises.
BOUNDS = {"sin": 1.0, "cos": 1.0, "exp": 1.0, "expm1": 1.5, "log": 1.0, "tanh": 2.0, "sigmoid": 2.0, "atan2": 2.0}
UNARY = [name for name in BOUNDS if name != "atan2"]

NUMPY = {
    "sin": np.sin,
    "cos": np.cos,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.exp(-np.logaddexp(0, -x)),
}
EXACT = {
    **{name: getattr(mpmath, name) for name in ("sin", "cos", "exp", "expm1", "log", "tanh", "atan2")},
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


def owner(name):
    return getattr(arrays, name.upper())


def computed(name, *x):
    out = np.empty_like(x[0])
    owner(name)(out.size, *x, out)
    return out


def all_binades(dtype, n, rng):
    """Both signs, log-uniform from the smallest subnormal to the largest number."""
    integer = np.int32 if dtype == np.float32 else np.int64
    largest = np.finfo(dtype).max.view(integer)
    return rng.integers(1, largest, n, integer, endpoint=True).view(dtype) * rng.choice([-1, 1], n).astype(dtype)


def samples(name, dtype, n, rng):
    """All binades, and the places where this function is hard."""
    wide = (rng.standard_normal(n) * rng.choice([0.3, 3, 30], n)).astype(dtype)
    hard = {
        "sin": np.rint(2 ** rng.uniform(0, 30 if dtype == np.float64 else 17, n)) * (math.pi / 2),
        "log": 1 + rng.standard_normal(n) * 2.0 ** rng.uniform(-50, -2, n),
        "exp": rng.uniform(*(-746, 710) if dtype == np.float64 else (-104, 89), n),
    }
    hard["cos"], hard["expm1"], hard["sigmoid"] = hard["sin"], hard["exp"], hard["exp"]
    chosen = np.concatenate([all_binades(dtype, n, rng), wide, hard.get(name, wide).astype(dtype)])
    return np.abs(chosen) if name == "log" else chosen


def ulps(got, exact, dtype):
    """|got - exact| in units in the last place; ``exact`` is a list of mpmath numbers."""
    info = np.finfo(dtype)
    worst, where = 0.0, -1
    for i, (g, e) in enumerate(zip(got.tolist(), exact, strict=True)):
        if abs(e) > float(info.max):
            assert g == math.copysign(INF, e)
            continue
        exponent = max(mpmath.mag(e) - 1, info.minexp) if e else info.minexp
        error = abs(mpmath.mpf(g) - e) / mpmath.mpf(2) ** (exponent - info.nmant)
        if error > worst:
            worst, where = float(error), i
    return worst, where


@pytest.mark.parametrize("name", UNARY)
def test_float64_error_over_the_whole_range(name, rng):
    x = samples(name, np.float64, 1200, rng)
    with mp.workprec(1300 if name in ("sin", "cos") else 200):
        exact = [EXACT[name](mpmath.mpf(v)) for v in x.tolist()]
        worst, where = ulps(computed(name, x), exact, np.float64)
    assert worst <= BOUNDS[name], (worst, x[where])


@pytest.mark.parametrize("name", UNARY)
def test_float32_error_over_a_million_bit_patterns(name, rng):
    stride = 2**32 // 1_000_003 | 1
    x = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], samples(name, np.float32, 100_000, rng)])
    with np.errstate(all="ignore"):
        exact = NUMPY[name](x.astype(np.float64))  # wrong by 2**-29 of a float32 unit
        nearest = exact.astype(np.float32)
        spacing = np.spacing(np.where(np.isfinite(nearest), np.abs(nearest), np.float32(1))).astype(np.float64)
        got = computed(name, x)
        error = np.abs(got - exact) / spacing
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    beyond = np.isinf(nearest)
    np.testing.assert_array_equal(got[beyond], nearest[beyond])
    error[beyond | np.isnan(exact)] = 0
    assert error.max() <= BOUNDS[name], (error.max(), x[error.argmax()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_atan2_error(dtype, rng):
    n = 1500
    y = np.concatenate([all_binades(dtype, n, rng), rng.standard_normal(n).astype(dtype)])
    x = np.concatenate([all_binades(dtype, n, rng), rng.standard_normal(n).astype(dtype)])
    with np.errstate(over="ignore"):
        x[: n // 2] = y[: n // 2] * rng.uniform(0.1, 10, n // 2).astype(dtype)  # one binade, any scale
    x[np.isinf(x)] = 1
    least = np.finfo(dtype).smallest_subnormal * np.arange(1, 12, dtype=dtype)  # 1.5 of them is not a number
    y, x = np.concatenate([y, np.repeat(least, 11)]), np.concatenate([x, -np.tile(least, 11)])
    with mp.workprec(200):
        exact = [mpmath.atan2(mpmath.mpf(b), mpmath.mpf(a)) for b, a in zip(y.tolist(), x.tolist(), strict=True)]
        worst, where = ulps(computed("atan2", y, x), exact, dtype)
    assert worst <= BOUNDS["atan2"], (worst, y[where], x[where])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sincos_next_to_multiples_of_half_pi(dtype):
    """Where the result is smallest, the reduction has to be right to more digits than x has."""
    top = 30 if dtype == np.float64 else 17
    n = np.unique(np.concatenate([np.arange(1, 600), np.rint(2.0 ** np.linspace(9, top, 1000))])).astype(int)
    with mp.workprec(200):
        x = np.array([float(int(k) * mp.pi / 2) for k in n]).astype(dtype)
        for name in ("sin", "cos"):
            exact = [EXACT[name](mpmath.mpf(v)) for v in x.tolist()]
            worst, where = ulps(computed(name, x), exact, dtype)
            assert worst <= BOUNDS[name], (name, worst, x[where])


HUGE = {
    np.float64: [1e22, sys.float_info.max, 6381956970095103 * 2.0**797, 2.0**30, np.nextafter(2.0**30, 0), 2.0**1023],
    np.float32: [2.0**17, np.nextafter(np.float32(2**17), np.float32(0)), 16367173 * 2.0**72, 3.4028235e38, 1e22],
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_sincos_of_huge_angles(dtype, rng):
    """Among them 6381956970095103 * 2**797, the float64 nearest to a multiple of pi/2 (2**-61 away)."""
    low, high = (30, 1023) if dtype == np.float64 else (17, 127)
    x = np.concatenate([HUGE[dtype], 2.0 ** rng.uniform(low, high, 500)]).astype(dtype)
    sine, cosine = np.empty_like(x), np.empty_like(x)
    arrays.SINCOS(x.size, x, sine, cosine)
    with mp.workprec(1300):
        for name, got in (("sin", sine), ("cos", cosine)):
            exact = [EXACT[name](mpmath.mpf(v)) for v in x.tolist()]
            worst, where = ulps(got, exact, dtype)
            assert worst <= BOUNDS[name], (name, worst, x[where])


def test_the_error_is_measured():
    """A result two units off is seen as two units off, in normal and in subnormal numbers."""
    x = np.array([1.0, 1e-310])
    wrong = np.nextafter(np.nextafter(x, 2), 2)
    assert ulps(wrong, [mpmath.mpf(v) for v in x.tolist()], np.float64)[0] == 2.0
    for name in UNARY:
        point = np.array([0.75])
        got = np.nextafter(np.nextafter(np.nextafter(computed(name, point), 9), 9), 9)
        with mp.workprec(200):
            assert ulps(got, [EXACT[name](mpmath.mpf(0.75))], np.float64)[0] > BOUNDS[name]


SPECIAL = {
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (710.0, INF), (-750.0, 0.0), (1e300, INF)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (NAN, NAN), (-100.0, -1.0), (710.0, INF)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN), (-1e-44, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (30.0, 1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN), (50.0, 1.0)],
}


def same(got, wanted):
    return (
        math.isnan(got) if math.isnan(wanted) else got == wanted and math.copysign(1, got) == math.copysign(1, wanted)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, dtype):
    with np.errstate(over="ignore"):
        x = np.array([v for v, _ in SPECIAL[name]]).astype(dtype)
    for v, got, (_, wanted) in zip(x, computed(name, x).tolist(), SPECIAL[name], strict=True):
        assert same(got, wanted), (v, got, wanted)
        assert same(float(getattr(el, name)(v)), wanted)  # the scalar, called from Python


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers_go_in_and_come_out(dtype):
    tiny, least = np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    x = np.array([least, -least, tiny / 4, -tiny])
    for name in ("sin", "tanh", "expm1"):
        np.testing.assert_array_equal(computed(name, x), x)
    low = np.array([-744.0 if dtype == np.float64 else -103.0], dtype)
    assert 0 < computed("exp", low)[0] < 4 * least
    assert computed("log", np.array([least], dtype))[0] == pytest.approx(
        math.log(2) * (-1074 if dtype is DTYPES[1] else -149)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_atan2_special_cases_are_those_of_ieee(dtype):
    values = [0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, *np.finfo(dtype).max * np.array([1, -1]), np.finfo(dtype).tiny]
    y, x = (v.ravel().astype(dtype) for v in np.meshgrid(values, values))
    got, wanted = computed("atan2", y, x), np.arctan2(y, x)
    np.testing.assert_allclose(got, wanted, rtol=2 * np.finfo(dtype).eps)  # two units
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(wanted)[~np.isnan(got)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_is_nan_beyond_its_range_and_equal_within(dtype):
    limit = constants.near_limit(dtype(1))
    for x in (dtype(1.5), np.nextafter(limit, dtype(0))):
        assert el.sincos_near(x) == el.sincos(x)
    for x in (limit, dtype(INF), dtype(NAN), -limit):
        assert all(math.isnan(v) for v in el.sincos_near(x))
    x = np.full(40, limit / 2, dtype)
    assert not el.all_near(x, 0, 40)
    assert el.all_near(np.nextafter(x, dtype(0)), 0, 40)
    x[:7] = 0
    assert el.all_near(x, 0, 7)


def test_one_far_angle_changes_no_other():
    """A block with a far angle takes the scalar loop: the same numbers come out of both loops."""
    x = np.linspace(-40, 40, 2000)
    near = [np.empty_like(x), np.empty_like(x)]
    arrays.SINCOS(x.size, x, *near)
    x[700] = 1e22
    far = [np.empty_like(x), np.empty_like(x)]
    arrays.SINCOS(x.size, x, *far)
    others = np.arange(x.size) != 700
    for a, b in zip(near, far, strict=True):
        np.testing.assert_allclose(a[others], b[others], rtol=0, atol=2**-53)  # contraction may differ
    assert far[0][700] == pytest.approx(-0.8522008497671888, rel=1e-15)  # sin 1e22, known to many a libm's authors


def has_wide_fma():
    features = llvm.get_host_cpu_features()
    return features.get("fma", False) or "aarch64" in llvm.get_default_triple()


@pytest.mark.skipif(not has_wide_fma(), reason="no fused multiply-add on this processor: nothing to vectorise with")
@pytest.mark.parametrize("name", ["sincos", *BOUNDS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loop_is_vectorised(name, dtype):
    """Packed fused multiply-adds, no gather: seen in the optimised LLVM code, whatever the clock says."""
    loop = njit(owner(name).cpu.py_func, **MATH)  # compiled here: code from the disk cache cannot be inspected
    loop(0, 8, *(np.ones(8, dtype) for _ in owner(name).signature))
    code = loop.inspect_llvm(loop.signatures[0])
    kind = "float" if dtype == np.float32 else "double"
    assert re.search(rf"<\d+ x {kind}> @llvm\.fma", code), "no packed arithmetic"
    assert "masked.gather" not in code
    assert "masked.scatter" not in code


def test_digits_and_constants():
    with mp.workprec(1400):
        fraction = 2 / mp.pi
        for digit in payne_hanek.DIGITS[2:].tolist():
            fraction *= 2**24
            assert digit == int(fraction)
            fraction -= digit
    with mp.workprec(400):
        for table, exact in (
            (constants.half_pi, mp.pi / 2),
            (constants.quarter_pi, mp.pi / 4),
            (constants.log2, mp.log(2)),
        ):
            for dtype in DTYPES:
                parts = [dtype(v) for v in table(dtype(1))]
                if table is not constants.quarter_pi:
                    assert parts.pop(0) == dtype(float(1 / exact))
                rest = exact
                for part in parts:
                    assert part == dtype(mp.nstr(rest, 30))
                    rest -= mpmath.mpf(float(part))


def test_coefficients_are_those_of_the_script():
    specification = importlib.util.spec_from_file_location("minimax", ROOT / "scripts" / "minimax.py")
    minimax = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(minimax)
    written = {}
    for node in ast.parse(Path(polynomials.__file__).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            written[node.name] = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
    assert len(written) == 2 * len(minimax.FITS)
    for name, (function, weight, low, high, *degrees) in minimax.FITS.items():
        for dtype, degree in zip(DTYPES, degrees, strict=True):
            found = minimax.fit(function, weight, mpmath.mpf(low), high, degree)
            made = {abs(float(str(dtype(float(c))))) for c in found}
            assert made == written[f"_{name}{np.finfo(dtype).bits}"]


def test_a_second_process_hits_the_cache(tmp_path):
    code = (
        "import numpy as np\n"
        "from primeattn._runtime.elementary import arrays\n"
        "x = np.array([1e22, 0.5]); s = np.empty(2); c = np.empty(2)\n"
        "arrays.SINCOS(2, x, s, c); arrays.EXP(2, x, c)\n"
        "loops = arrays.SINCOS.cpu, arrays.EXP.cpu\n"
        "print(sum(sum(f.stats.cache_hits.values()) for f in loops), s[0])\n"
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""}
    runs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    first, second = (run.stdout.split() for run in runs)
    assert (first[0], second[0]) == ("0", "2")
    assert first[1] == second[1]
    assert float(first[1]) == pytest.approx(math.sin(1e22), rel=1e-15)


@pytest.mark.cudasim
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # in the simulator NumPy's scalars overflow where a GPU's do
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_twins(dtype):
    cuda = devices.cuda()
    x = np.array([0.3, -2.0, 7.5, -0.0, 3e5, 1e22, 80.0, INF, NAN, 1e-40], dtype)
    for name in UNARY:
        out = cuda.to_device(np.zeros_like(x))
        owner(name)(x.size, cuda.to_device(x), out)
        with np.errstate(all="ignore"):
            wanted = NUMPY[name](x.astype(np.float64)).astype(dtype)
        # two units for us, one and a half for NumPy's own and the rounding
        np.testing.assert_allclose(out.copy_to_host(), wanted, rtol=3.5 * np.finfo(dtype).eps, err_msg=name)
    angles = np.array([0.3, -2.0, 3e5, 1e22], dtype)
    sine, cosine = (cuda.to_device(np.zeros_like(angles)) for _ in range(2))
    arrays.SINCOS(angles.size, cuda.to_device(angles), sine, cosine)
    square = sine.copy_to_host().astype(np.float64) ** 2 + cosine.copy_to_host().astype(np.float64) ** 2
    np.testing.assert_allclose(square, 1, rtol=4 * np.finfo(dtype).eps)  # one unit in each, squared
    out = cuda.to_device(np.zeros_like(x))
    arrays.ATAN2(x.size, cuda.to_device(x), cuda.to_device(x[::-1].copy()), out)
    np.testing.assert_allclose(out.copy_to_host(), np.arctan2(x, x[::-1]), rtol=3.5 * np.finfo(dtype).eps)
