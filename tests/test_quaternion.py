"""Elementwise functions: against the naive oracle, the theorems, and the decided degenerate cases."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from primeattn import quaternion as q
from primeattn.quaternion._euler import SEQUENCES

from .naive import quaternion as naive

# Results have a dozen roundings, some amplified by cancellation between terms of size |a||b| or |log a|: 64 eps.
TOLERANCE = {np.float64: 64 * 2.0**-52, np.float32: 64 * 2.0**-23}

# name: component axes of each input
FUNCTIONS = {
    "multiply": (1, 1),
    "conjugate": (1,),
    "inverse": (1,),
    "norm": (1,),
    "normalize": (1,),
    "dot": (1, 1),
    "commutator": (1, 1),
    "exp": (1,),
    "log": (1,),
    "power": (1, 0),
    "slerp": (1, 1, 0),
    "rotate": (1, 1),
    "angular_distance": (1, 1),
    "to_matrix": (1,),
    "from_axis_angle": (1, 0),
}
WIDTH = {("rotate", 1): 3, ("from_axis_angle", 0): 3}


def draw(rng, name, lead, dtype=np.float64):
    """Inputs of a function whose leading shapes are ``lead``, one for each."""
    shapes = [
        (*shape, WIDTH.get((name, k), 4)) if core else shape
        for k, (shape, core) in enumerate(zip(lead, FUNCTIONS[name], strict=True))
    ]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_naive(name, dtype, rng):
    count = len(FUNCTIONS[name])
    for lead in ([()] * count, [(1,)] * count, [(5,)] * count, [(33,)] * count):
        inputs = draw(rng, name, lead, dtype)
        want = naive.rows(getattr(naive, name), FUNCTIONS[name], *(x.astype(np.float64) for x in inputs))
        got = getattr(q, name)(*inputs)
        assert got.dtype == dtype
        assert got.shape == want.shape
        scale = max(1.0, np.abs(want).max())
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("name", [name for name, cores in FUNCTIONS.items() if len(cores) > 1])
def test_broadcasting(name, rng):
    count = len(FUNCTIONS[name])
    for shapes in ([(), (6,)], [(6,), ()], [(2, 1), (3,)], [(2, 3), (1, 3)], [(0, 3), (3,)], [(1, 1), (2, 3)]):
        inputs = draw(rng, name, [shapes[k % 2] for k in range(count)])
        got = getattr(q, name)(*inputs)
        lead = np.broadcast_shapes(*shapes)
        assert got.shape[: len(lead)] == lead
        if got.size:
            want = naive.rows(getattr(naive, name), FUNCTIONS[name], *inputs)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out(name, rng):
    inputs = draw(rng, name, [(7,)] * len(FUNCTIONS[name]))
    function = getattr(q, name)
    want = function(*inputs)
    out = np.empty_like(want)
    assert function(*inputs, out=out) is out
    np.testing.assert_array_equal(out, want)
    strided = np.empty((2, *want.shape), want.dtype).swapaxes(0, 1)[:, 0]
    function(*inputs, out=strided)
    np.testing.assert_array_equal(strided, want)
    for k, x in enumerate(inputs):  # in place
        if x.shape == want.shape:
            again = [y.copy() for y in inputs]
            function(*again, out=again[k])
            np.testing.assert_array_equal(again[k], want)
    with pytest.raises(ValueError, match="out has shape"):
        function(*inputs, out=np.empty((8, *want.shape[1:])))
    with pytest.raises(ValueError, match=r"out has shape .* dtype float32"):
        function(*inputs, out=np.empty(want.shape, np.float32))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        function(*inputs, out=out)
    with pytest.raises(TypeError, match=r"numpy\.ndarray"):
        function(*inputs, out=want.tolist())


def test_out_overlaps(rng):
    memory = rng.standard_normal((9, 4))
    want = q.multiply(memory[:-1].copy(), memory[1:].copy())
    q.multiply(memory[:-1], memory[1:].copy(), out=memory[1:])
    np.testing.assert_array_equal(memory[1:], want)
    memory = rng.standard_normal((9, 4))
    want = q.multiply(memory[0].copy(), memory.copy())
    q.multiply(memory[0], memory, out=memory)  # the single quaternion is overwritten by the first row
    np.testing.assert_array_equal(memory, want)


def test_outputs_that_overlap_each_other(rng):
    a = rng.standard_normal((5, 4))
    memory = np.empty(20)
    with pytest.raises(ValueError, match="overlap"):
        q.to_axis_angle(a, out=(memory[:15].reshape(5, 3), memory[10:15]))
    side_by_side = np.empty((5, 4))
    axis, angle = q.to_axis_angle(a, out=(side_by_side[:, :3], side_by_side[:, 3]))
    for got, want in zip((axis, angle), q.to_axis_angle(a), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_belong_to_the_row(name, dtype, rng):
    """Not to its place, its neighbours, the number of threads or ``out``: packed and single rows round alike."""
    function = getattr(q, name)
    inputs = draw(rng, name, [(9001,)] * len(FUNCTIONS[name]), dtype)
    want = function(*inputs)
    threads = numba.get_num_threads()
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            np.testing.assert_array_equal(function(*inputs), want)
    finally:
        numba.set_num_threads(threads)
    for skip in (1, 2, 3, 7):
        np.testing.assert_array_equal(function(*(x[skip:].copy() for x in inputs)), want[skip:])
    for n in (1, 3, 8, 15):
        np.testing.assert_array_equal(function(*(x[:n].copy() for x in inputs)), want[:n])
    if want.shape == inputs[0].shape:
        again = [x.copy() for x in inputs]
        np.testing.assert_array_equal(function(*again, out=again[0]), want)
    far = [x.copy() for x in inputs]
    far[-1][5] = 1e9  # one huge number puts its block on the slow path
    np.testing.assert_array_equal(np.delete(function(*far), 5, axis=0), np.delete(want, 5, axis=0))
    if len(inputs) > 1:
        same = np.broadcast_to(inputs[0][0], inputs[0].shape)
        np.testing.assert_array_equal(function(inputs[0][0], *inputs[1:]), function(same, *inputs[1:]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_eight_rotations_at_once_equal_one(dtype, rng):
    """Where some need scaling, near the bounds of those that do not, and beside what is no rotation."""
    limits = np.finfo(dtype)
    size = dtype(2.0) ** rng.integers(limits.minexp - limits.nmant, limits.maxexp - 2, (500, 1)).astype(dtype)
    small, large = (-480, 510) if dtype == np.float64 else (-50, 60)
    for k, exponent in enumerate((small, small + 1, small + 2, small + 3, large - 1, large)):
        size[20 * k : 20 * k + 20] = dtype(2.0) ** dtype(exponent)  # blocks of their own and mixed ones
    a, v = (size * rng.standard_normal((500, 4))).astype(dtype), rng.standard_normal((500, 3)).astype(dtype)
    a[200:240:3], a[240:280:5], a[280:300:7] = 0, np.nan, np.inf
    v[300:320:3], v[320:340:3], v[340:360:3], v[360:380:3] = np.nan, np.inf, limits.max, limits.smallest_subnormal
    want = np.array([q.rotate(x, y) for x, y in zip(a, v, strict=True)])
    assert np.isfinite(want).all(axis=1).sum() > 400
    np.testing.assert_array_equal(q.rotate(a, v), want)
    np.testing.assert_array_equal(np.signbit(q.rotate(a, v)) & (want == 0), np.signbit(want) & (want == 0))
    again = v.copy()
    assert q.rotate(a, again, out=again) is again
    np.testing.assert_array_equal(again, want)
    fine = slice(0, 120)
    unit = a[fine] / np.linalg.norm(a[fine].astype(np.longdouble), axis=1, keepdims=True)
    oracle = naive.rows(naive.rotate, (1, 1), unit.astype(np.float64), v[fine].astype(np.float64))
    np.testing.assert_allclose(want[fine], oracle, rtol=0, atol=TOLERANCE[dtype] * np.abs(oracle).max())


def test_layouts(rng):
    a, b = rng.standard_normal((2, 6, 4))
    want = q.multiply(a, b)
    np.testing.assert_array_equal(q.multiply(np.asfortranarray(a), b[::-1][::-1]), want)
    np.testing.assert_array_equal(q.multiply(a.astype(">f8"), b.tolist()), want)
    unaligned = np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float64).reshape(6, 4)
    np.testing.assert_array_equal(q.multiply(unaligned, b), want)
    readonly = a.copy()
    readonly.flags.writeable = False
    compiled = len(q._algebra.multiply_cpu.signatures)
    np.testing.assert_array_equal(q.multiply(readonly, b), want)
    assert len(q._algebra.multiply_cpu.signatures) == compiled  # no specialisation of its own


def test_dtypes(rng):
    a = rng.standard_normal((3, 4)).astype(np.float32)
    assert q.multiply(a, a).dtype == np.float32
    assert q.multiply(a, a.astype(np.float64)).dtype == np.float64
    assert q.multiply([1, 2, 3, 4], [1, 0, 0, 0]).dtype == np.float64
    assert q.power(a, 0.5).dtype == np.float32  # a Python number takes the array's dtype
    assert q.power(a, np.float64(0.5)).dtype == np.float64
    assert q.norm(np.ones((2, 4), np.float16)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: q.multiply(np.ones((2, 3)), np.ones((2, 4))),
            ValueError,
            "a has shape .* must have length 4",
        ),
        (lambda: q.multiply(np.ones((2, 4)), np.ones((3, 4))), ValueError, r"do not broadcast.*a \(2, 4\), b \(3, 4\)"),
        (lambda: q.multiply(np.ones((2, 4)), np.ones((2, 4), complex)), TypeError, "b has dtype complex128"),
        (lambda: q.rotate(np.ones(4), np.ones(4)), ValueError, "v has shape"),
        (lambda: q.from_matrix(np.ones((4, 3))), ValueError, "last axes must be"),
        (lambda: q.from_euler(np.ones(3), "xxy"), ValueError, "no two neighbours equal"),
        (lambda: q.to_euler(np.ones(4), "xYz"), ValueError, "one case"),
        (lambda: q.random(3, dtype=int), TypeError, "float32 or"),
        (lambda: q.random(3.0), TypeError, "shape is 3.0: an integer"),
        (lambda: q.random((2, -1)), TypeError, r"shape is \(2, -1\)"),
        (lambda: q.norm(np.ma.ones((2, 4))), TypeError, r"masked array.*a\.filled\("),
        (lambda: q.norm(None), TypeError, "holds None"),
        (lambda: q.norm([["a", "b", "c", "d"]]), TypeError, "text is not read"),
        (lambda: q.norm(np.ones(4, complex)), TypeError, r"a\.real"),
        (lambda: q.power(np.ones(4), 10**400), ValueError, "t is an integer of 1329 bits"),
        (lambda: q.power(np.ones(4, np.float32), 1e300), ValueError, r"t is 1e\+300, beyond float32"),
        (lambda: q.vjp([1], np.ones(4)), ValueError, "there are gradients of"),
        (lambda: q.mean(np.ones((2, 3, 4)), np.ones((3, 2)), axis=None), ValueError, r"\(2, 3\) is wanted"),
        (lambda: q.cumprod(np.ones((2, 4)), axis=1), ValueError, "1 leading axes"),
        (lambda: q.mean(np.ones((2, 4)), weights=[1, -1]), ValueError, "negative"),
        (lambda: q.mean(np.ones((2, 4)), weights=[1, 1, 1]), ValueError, "weights have shape"),
        (lambda: q.vjp("mean", np.ones((2, 4))), ValueError, "there are gradients of"),
        (lambda: q.vjp("exp", 1, 2), ValueError, "takes 1 inputs"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- theorems ----

component = st.floats(-8, 8).map(lambda x: x if abs(x) > 1e-6 else 0.0)  # the bestiary has the tiny ones
quaternion = arrays(np.float64, 4, elements=component)
nonzero = quaternion.filter(lambda a: np.linalg.norm(a) > 1e-3)
relaxed = settings(deadline=None, max_examples=60)


@relaxed
@given(quaternion, quaternion, quaternion)
def test_multiplication_is_associative_and_norms_multiply(a, b, c):
    size = np.linalg.norm(a) * np.linalg.norm(b)
    # two products of four terms each: 16 eps of the largest possible value
    left, right = q.multiply(q.multiply(a, b), c), q.multiply(a, q.multiply(b, c))
    np.testing.assert_allclose(left, right, rtol=0, atol=4e-15 * size * np.linalg.norm(c))
    np.testing.assert_allclose(q.norm(q.multiply(a, b)), size, rtol=0, atol=4e-15 * size)


@relaxed
@given(nonzero)
def test_inverse_and_exp_of_log(a):
    one = q.multiply(a, q.inverse(a))
    np.testing.assert_allclose(one, [1, 0, 0, 0], rtol=0, atol=4e-15)
    # log |a| and the angle, of size below 5, carry eps each; exp returns it relative to |a|
    np.testing.assert_allclose(q.exp(q.log(a)), a, rtol=0, atol=4e-15 * np.linalg.norm(a))
    np.testing.assert_allclose(q.multiply(q.power(a, 0.5), q.power(a, 0.5)), a, rtol=0, atol=8e-15 * np.linalg.norm(a))


@relaxed
@given(nonzero, nonzero, arrays(np.float64, 3, elements=component))
def test_rotations_are_a_homomorphism(a, b, v):
    size = 1e-14 * max(1, np.linalg.norm(v))
    turned = q.rotate(a, v)
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(v), rtol=0, atol=size)
    np.testing.assert_allclose(q.to_matrix(a) @ v, turned, rtol=0, atol=size)
    np.testing.assert_allclose(q.to_matrix(q.multiply(a, b)), q.to_matrix(a) @ q.to_matrix(b), rtol=0, atol=1e-14)
    back = q.from_matrix(q.to_matrix(a))
    np.testing.assert_allclose(q.angular_distance(back, a), 0, atol=1e-14)
    np.testing.assert_allclose(q.angular_distance(q.from_axis_angle(*q.to_axis_angle(a)), a), 0, atol=1e-14)
    assert back[0] >= 0


@relaxed
@given(nonzero, nonzero, st.floats(0, 1))
def test_slerp_has_constant_speed(a, b, t):
    distance = q.angular_distance(a, b)
    point = q.slerp(a, b, t)
    np.testing.assert_allclose(q.norm(point), 1, rtol=0, atol=2e-15)
    np.testing.assert_allclose(q.angular_distance(a, point), t * distance, rtol=0, atol=2e-14)
    np.testing.assert_allclose(q.angular_distance(q.slerp(a, b, 0.0), a), 0, atol=4e-15)
    np.testing.assert_allclose(q.angular_distance(q.slerp(a, b, 1.0), b), 0, atol=4e-15)


@pytest.mark.parametrize("sequence", [*SEQUENCES, *(s.upper() for s in SEQUENCES)])
def test_euler(sequence, rng):
    angles = rng.uniform(-np.pi, np.pi, (40, 3))
    got = q.from_euler(angles, sequence)
    reference = Rotation.from_euler(sequence, angles)
    np.testing.assert_allclose(q.angular_distance(got, reference.as_quat(scalar_first=True)), 0, atol=2e-15)
    np.testing.assert_allclose(got, naive.rows(lambda x: naive.from_euler(x, sequence), (1,), angles), atol=1e-15)
    # 1e-12: the angles lose digits near gimbal lock, where random ones come to about 1e-2
    back = q.to_euler(got * 3.0, sequence)
    np.testing.assert_allclose(back, reference.as_euler(sequence), rtol=0, atol=1e-12)
    symmetric = sequence[0] == sequence[2]
    for middle in (0.0, np.pi) if symmetric else (np.pi / 2, -np.pi / 2):
        locked = angles.copy()
        locked[:, 1] = middle
        turned = q.from_euler(locked, sequence)
        again = q.to_euler(turned, sequence)
        assert np.all(again[:, 2] == 0)
        np.testing.assert_allclose(q.angular_distance(q.from_euler(again, sequence), turned), 0, atol=3e-15)
    single = q.to_euler(got.astype(np.float32), sequence)
    assert single.dtype == np.float32
    assert np.median(np.abs(single - back)) < 1e-5


def test_peers_of_scipy(rng):
    a = q.random(50, rng)
    reference = Rotation.from_quat(a, scalar_first=True)
    np.testing.assert_allclose(q.to_matrix(a), reference.as_matrix(), rtol=0, atol=1e-15)
    axis, angle = q.to_axis_angle(a)
    np.testing.assert_allclose(axis * angle[:, None], reference.as_rotvec(), rtol=0, atol=4e-15)
    np.testing.assert_allclose(
        q.from_matrix(reference.as_matrix()), reference.as_quat(canonical=True, scalar_first=True), rtol=0, atol=1e-15
    )


def test_from_matrix_takes_every_branch(rng):
    for axis in np.eye(4):
        a = q.normalize(axis + 0.05 * rng.standard_normal((20, 4)))
        m = q.to_matrix(a)
        got = q.from_matrix(m)
        np.testing.assert_allclose(got, naive.rows(naive.from_matrix, (2,), m), rtol=0, atol=2e-15)


def test_random_is_uniform():
    a = q.random((20_000,), rng=1)
    # second moments are 1/4 each; their standard error is sqrt((1/8 - 1/16) / 20000) = 0.0018: five of them
    np.testing.assert_allclose(a.T @ a / len(a), np.eye(4) / 4, rtol=0, atol=0.009)
    np.testing.assert_allclose(a.mean(axis=0), 0, atol=5 * 0.5 / np.sqrt(20_000))
    single = q.random((20_000,), rng=1, dtype=np.float32)
    np.testing.assert_array_equal(single, a.astype(np.float32))
    assert q.random((), rng=0).shape == (4,)
    assert q.random((2, 0), rng=0).shape == (2, 0, 4)


# ---- awkward values ----

NAN4 = [np.nan] * 4
BESTIARY = {
    "zero": [0.0, 0, 0, 0],
    "one": [1.0, 0, 0, 0],
    "minus one": [-1.0, 0, 0, 0],
    "real negative": [-3.0, 0, 0, 0],
    "real, negative zero": [-2.0, -0.0, 0.0, -0.0],
    "pure": [0.0, 3.0, -4.0, 0.0],
    "tiny vector": [1.0, 1e-200, 0, 0],
    "tiny vector, negative": [-1.0, 1e-200, 0, 0],
    "subnormal": [5e-324, 0, 1e-320, 0],
    "tiny": [1e-300, 1e-300, 0, 1e-300],
    "huge": [1e300, -1e300, 1e300, 0],
    "nan": [1.0, np.nan, 0, 0],
    "inf": [0.0, np.inf, 0, 0],
}


@pytest.fixture(params=BESTIARY)
def awkward(request):
    return request.param, np.array(BESTIARY[request.param])


def test_norms_of_awkward_values(awkward):
    name, a = awkward
    exact = np.hypot(np.hypot(a[0], a[1]), np.hypot(a[2], a[3]))
    np.testing.assert_allclose(q.norm(a), exact, rtol=4e-16)
    unit = q.normalize(a)
    if name in ("zero", "nan", "inf"):
        assert np.isnan(unit).all()
        assert np.isnan(q.inverse(a)).all()
    else:
        np.testing.assert_allclose(q.norm(unit), 1, rtol=4e-16)
        if name != "subnormal":  # 1 / |a| overflows there
            np.testing.assert_allclose(q.multiply(unit, q.multiply(a, q.inverse(a))), unit, rtol=0, atol=1e-15)


def test_logarithms_of_awkward_values(awkward):
    name, a = awkward
    got = q.log(a)
    if name == "zero":
        np.testing.assert_array_equal(got, [-np.inf, 0, 0, 0])
    elif name == "nan":
        assert np.isnan(got[0])
    elif name == "inf":
        assert got[0] == np.inf
    else:
        if name in ("minus one", "real negative", "real, negative zero"):
            np.testing.assert_allclose(got, [np.log(-a[0]), np.pi, 0, 0], rtol=0, atol=4e-16)
        if name == "tiny vector, negative":
            np.testing.assert_allclose(got, [0, np.pi, 0, 0], rtol=0, atol=9e-16)
        if name == "tiny vector":
            np.testing.assert_allclose(got, [0, 1e-200, 0, 0], rtol=1e-15)
        # log |a| of size 700 has an error of half its last place, 6e-14, which exp makes relative
        np.testing.assert_allclose(q.exp(got), a, rtol=2e-13, atol=2e-13 * np.abs(a).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_lengths_beyond_the_range(dtype):
    limits = np.finfo(dtype)
    tiny, big = limits.smallest_subnormal, dtype(limits.max * 0.6)
    inverse = q.inverse(np.array([[64 * tiny, 0, 0, 0], [big] * 4], dtype))
    np.testing.assert_array_equal(inverse[0], [np.inf, 0, 0, 0])
    # an inverse below the normal numbers has their spacing
    np.testing.assert_allclose(
        inverse[1].astype(float), np.array([1, -1, -1, -1]) * (0.25 / float(big)), atol=tiny, rtol=0
    )
    logarithm = q.log(np.array([[big] * 4, [tiny, 0, 0, tiny], [-big, big, big, big]], dtype))
    lengths = np.log(float(big)) + np.log(2), np.log(float(tiny)) + np.log(2) / 2, np.log(float(big)) + np.log(2)
    np.testing.assert_allclose(logarithm[:, 0], lengths, rtol=2 * limits.eps)
    third = np.pi / 3 / np.sqrt(3)
    np.testing.assert_allclose(logarithm[0, 1:], third, rtol=4 * limits.eps)
    np.testing.assert_allclose(logarithm[1, 1:], [0, 0, np.pi / 4], rtol=4 * limits.eps)
    np.testing.assert_allclose(logarithm[2, 1:], 2 * third, rtol=4 * limits.eps)
    # half of log |a|, 355 or 44, has an error of half its last place, which exp makes relative
    root = q.power(np.full(4, big), 0.5)
    np.testing.assert_allclose(q.multiply(root, root), [big] * 4, rtol=600 * limits.eps)


def test_exponentials_of_awkward_values():
    np.testing.assert_array_equal(q.exp([0.0, 0, 0, 0]), [1, 0, 0, 0])
    np.testing.assert_allclose(q.exp([0.0, 1e-200, 0, 0]), [1, 1e-200, 0, 0], rtol=1e-15)
    np.testing.assert_array_equal(q.exp([1000.0, 0, 0, 0]), [np.inf, 0, 0, 0])
    np.testing.assert_array_equal(q.exp([-1000.0, 1, 0, 0]), [0, 0, 0, 0])
    np.testing.assert_array_equal(q.exp([-np.inf, 1, 0, 0]), [0, 0, 0, 0])
    assert np.isnan(q.exp([0, np.inf, 0, 0])).any()
    assert np.isnan(q.exp([np.nan, 0, 0, 0])[0])
    for n in (1e5, 1e15, 1e22, 1e300):  # angles as exact numbers: NumPy reduces them exactly
        np.testing.assert_allclose(q.exp([0, 0, n, 0]), [np.cos(n), 0, np.sin(n), 0], rtol=0, atol=4e-16)


def test_powers_of_awkward_values(awkward):
    _, a = awkward
    np.testing.assert_array_equal(q.power(a, 0), [1, 0, 0, 0])
    np.testing.assert_array_equal(q.power(np.zeros(4), 2), 0)
    np.testing.assert_array_equal(q.power(np.zeros(4), -1), [np.inf, 0, 0, 0])


def test_rotations_of_awkward_values(awkward):
    name, a = awkward
    results = [q.rotate(a, [1, 2, 3]), q.to_matrix(a), q.to_euler(a, "zyx"), q.to_axis_angle(a)[1], q.slerp(a, a, 0.3)]
    results += [q.angular_distance(a, a), q.slerp(a, [1, 0, 0, 0], 0.3)]
    if name in ("zero", "nan", "inf"):
        assert all(np.isnan(x).all() for x in results)
    else:
        unit = q.normalize(a)
        np.testing.assert_allclose(results[0], naive.rotate(unit, [1.0, 2, 3]), rtol=0, atol=1e-14)
        np.testing.assert_allclose(np.abs(naive.dot(results[4], unit)), 1, rtol=0, atol=1e-15)


def test_antipodes_and_orthogonal_ends():
    a = np.array([0.5, 0.5, -0.5, 0.5])
    for t in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(q.slerp(a, -a, t), a, rtol=0, atol=1e-15)
    np.testing.assert_allclose(q.slerp([1, 0, 0, 0], [0, 1, 0, 0], 1), [0, 1, 0, 0], rtol=0, atol=1e-16)
    assert q.angular_distance(a, -a) == 0
    near = a + np.array([0, 0, 0, 1e-9])
    np.testing.assert_allclose(q.slerp(a, near, 0.5), q.normalize(a + near), rtol=0, atol=2e-16)
    np.testing.assert_allclose(
        q.slerp(a, q.multiply(a, q.exp([0, 0.1, 0, 0])), 3), q.multiply(a, q.exp([0, 0.3, 0, 0]))
    )


def test_degenerate_conversions():
    axis, angle = q.to_axis_angle([2, 0, 0, 0])
    np.testing.assert_array_equal(axis, [1, 0, 0])
    assert angle == 0
    axis, angle = q.to_axis_angle([[0, 0, -1, 0], [0, -1, 1, 0]])
    np.testing.assert_allclose(axis, [[0, 1, 0], [np.sqrt(0.5), -np.sqrt(0.5), 0]])
    np.testing.assert_array_equal(angle, [np.pi, np.pi])
    assert np.isnan(q.from_axis_angle([0, 0, 0], 1.0)[1:]).all()
    assert np.isnan(q.from_matrix(np.diag([1.0, 1, -1]))).all()
    assert np.isnan(q.from_matrix(np.zeros((3, 3)))).all()


def test_nan_stays_in_its_row(rng):
    for name, cores in FUNCTIONS.items():
        inputs = draw(rng, name, [(9,)] * len(cores))
        clean = getattr(q, name)(*inputs)
        inputs[0][4] = np.nan
        got = getattr(q, name)(*inputs)
        assert np.isnan(got[4]).any(), name
        np.testing.assert_array_equal(np.delete(got, 4, axis=0), np.delete(clean, 4, axis=0))
