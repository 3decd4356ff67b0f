"""Encoders against their oracles, the original's values and scikit-learn's."""

import hashlib
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import primeattn as pa
from primeattn.encode import arrays, hashing, ngrams

from .naive import encode as naive
from .naive import primes as naive_primes

GOLDEN = Path(__file__).parent / "golden"
# float64 results of a dozen operations on numbers of size 1, sines of libm against sines of NumPy: a few ulp
CLOSE = 1e-13
PANGRAMS = [
    "The quick brown fox jumps over the lazy dog.",
    "Quick brown foxes jumped over lazy dogs; quick, quick!",
    "Sphinx of black quartz, judge my vow",
    "the the the of of a",
]
AWKWARD = {
    "empty": "",
    "blank": " \t\n ",
    "one character": "x",
    "one digit": "7",
    "punctuation": "?!",
    "emoji": "\N{GRINNING FACE} \N{MAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
    "combining": "cafe\u0301 ame\u0300s",
    "han": "日本語のテキスト",
    "sharp s": "STRASSE straße",
    "dotted I": "İSTANBUL ıI",
    "ligature": "ﬃce Ａ ᴬ",
    "lone high surrogate": "a\ud83d b",
    "lone low surrogate": "\ude00",
    "nul": "a\0b",
    "underscores": "snake_case __init__",
    "same letters": "aaaa aaaaaa",
    "right to left": "שלום עולם",
}


def states_of(a):
    """[{prime: (amplitude, orientation)}]"""
    return [
        {int(p): (z, q) for p, z, q in zip(a.primes[i:j], a.amplitude[i:j], a.orientation[i:j], strict=True)}
        for i, j in pairwise(a.indptr)
    ]


def assert_sound(a, n, real=np.float64):
    """The promises of StateArrays."""
    assert a.indptr.dtype == a.primes.dtype == np.int64
    assert a.orientation.dtype == real
    assert a.amplitude.dtype == np.result_type(real, np.complex64)
    assert len(a.indptr) == n + 1
    assert a.indptr[0] == 0
    assert a.indptr[-1] == len(a.primes) == len(a.amplitude) == len(a.orientation)
    assert (np.diff(a.indptr) >= 0).all()
    for i, j in pairwise(a.indptr):
        assert (np.diff(a.primes[i:j]) > 0).all()
    assert np.isfinite(a.amplitude).all()
    # a rounding of each component and of the norm
    assert np.allclose(np.linalg.norm(a.orientation, axis=-1), 1, rtol=0, atol=4 * np.finfo(real).eps)


# ---------------------------------------------------------------------------------------------- integers


def test_integers_equal_the_oracle():
    ns = [1, 2, 12, 35, 97, 720, 1024, 2 * 3 * 5 * 7 * 11 * 13]
    a = pa.encode.integers(ns)
    assert_sound(a, len(ns))
    for n, state in zip(ns, states_of(a), strict=True):
        expected = naive.integer(n, naive_primes.factorize(n))
        assert list(state) == list(expected)
        for p, z in expected.items():
            assert abs(state[p][0] - z) < CLOSE
            assert state[p][1].tolist() == [1, 0, 0, 0]


def test_integers_large_small_none_and_refused():
    a = pa.encode.integers([2**61 - 1, 1], dtype=np.float32)
    assert_sound(a, 2, np.float32)
    assert a.primes.tolist() == [2**61 - 1]
    assert_sound(pa.encode.integers([]), 0)
    assert_sound(pa.encode.integers(6), 1)
    with pytest.raises(ValueError, match=r"n\[1\] is 0"):
        pa.encode.integers([3, 0])
    with pytest.raises(ValueError, match="exceeds int64"):
        pa.encode.integers([2**89 - 1])
    with pytest.raises(TypeError, match=r"holds 2\.0: integers are wanted"):
        pa.encode.integers([2.0])
    with pytest.raises(TypeError, match=r"numpy\.float32 or numpy\.float64"):
        pa.encode.integers([2], dtype=np.float16)


# ---------------------------------------------------------------------------------------------- dense


@pytest.mark.parametrize(
    "options", [{}, {"k": 1}, {"k": 3}, {"k": 99}, {"energy": 0.5}, {"energy": 0.95}, {"energy": 1}]
)
@pytest.mark.parametrize("kind", ["normal", "ties", "sparse", "complex", "float32"])
def test_dense_equals_the_oracle(rng, kind, options):
    X = rng.standard_normal((33, 17))
    if kind == "ties":
        X = np.round(X)
    if kind == "sparse":
        X[rng.random(X.shape) < 0.9] = 0
    if kind == "complex":
        X = X + 1j * rng.standard_normal(X.shape)
    if kind == "float32":
        X = X.astype(np.float32)
    a = pa.encode.dense(X, **options)
    assert_sound(a, 33, np.float32 if kind == "float32" else np.float64)
    primes = pa.primes.first(17)
    for row, state in zip(X.tolist(), states_of(a), strict=True):
        kept = naive.strongest(row, **options)
        assert list(state) == primes[kept].tolist()
        assert [z for z, _ in state.values()] == [row[j] for j in kept]


def test_dense_with_both_limits_keeps_the_fewer(rng):
    X = rng.standard_normal((20, 30))
    for k in (2, 8):
        both = pa.encode.dense(X, k=k, energy=0.7)
        for row, i, j in zip(X, both.indptr[:-1], both.indptr[1:], strict=True):
            assert j - i == min(len(naive.strongest(row, k=k)), len(naive.strongest(row, energy=0.7)))


def test_dense_orientations_are_normalised_and_columns_may_name_primes(rng):
    X = rng.standard_normal((5, 4))
    q = rng.standard_normal((5, 4, 4)) * 100
    a = pa.encode.dense(X, orientation=q, primes=[7, 2, 13, 3])
    assert_sound(a, 5)
    assert a.primes.tolist() == [2, 3, 7, 13] * 5
    columns = [1, 3, 0, 2]
    assert (a.amplitude.real.reshape(5, 4) == X[:, columns]).all()
    expected = q[:, columns] / np.linalg.norm(q[:, columns], axis=-1, keepdims=True)
    assert np.allclose(a.orientation.reshape(5, 4, 4), expected, rtol=0, atol=1e-15)


def test_dense_layouts_types_and_sizes(rng, monkeypatch):
    X = rng.integers(-3, 4, (6, 8))
    expected = pa.encode.dense(X.astype(float), k=3)
    frozen = X.astype(float)
    frozen.flags.writeable = False
    for same in (X, X.astype(">f8"), np.asfortranarray(X), X.tolist(), frozen, np.repeat(X, 2, axis=1)[:, ::2]):
        for x, y in zip(pa.encode.dense(same, k=3), expected, strict=True):
            assert (x == y).all()
    monkeypatch.setattr("primeattn.encode.numbers._BLOCK", 9)
    for x, y in zip(pa.encode.dense(X, k=3), expected, strict=True):
        assert (x == y).all()
    for shape in ((0, 5), (5, 0), (0, 0)):
        assert_sound(pa.encode.dense(np.zeros(shape)), shape[0])
    assert pa.encode.dense(np.zeros((2, 3), bool)).primes.size == 0


def test_energy_survives_extreme_magnitudes():
    """Squares of 1e200 and 1e-200 leave the range of float64; ratios to the largest do not."""
    for scale in (1e200, 1e-200):
        a = pa.encode.dense([[3 * scale, 4 * scale, 1e-9 * scale]], energy=0.99)
        assert a.primes.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pa.encode.dense([[1.0, np.nan]]), ValueError, r"X\[0, 1\] is nan"),
        (lambda: pa.encode.dense([[np.inf]]), ValueError, "finite amplitudes"),
        (lambda: pa.encode.dense([1.0, 2.0]), ValueError, r"pass X\[None\]"),
        (lambda: pa.encode.dense([["a"]]), TypeError, "real or complex"),
        (lambda: pa.encode.dense([[1], [1, 2]]), ValueError, "ragged"),
        (lambda: pa.encode.dense([[1.0]], k=0), ValueError, "k is 0"),
        (lambda: pa.encode.dense([[1.0]], k=1.5), TypeError, "k is 1.5"),
        (lambda: pa.encode.dense([[1.0]], energy=1.01), ValueError, "energy is 1.01"),
        (lambda: pa.encode.dense([[1.0]], energy=float("nan")), ValueError, "energy is nan"),
        (lambda: pa.encode.dense([[1.0]], orientation=np.ones((1, 4))), ValueError, r"\(1, 1, 4\) is wanted"),
        (lambda: pa.encode.dense([[1.0]], orientation=np.zeros((1, 1, 4))), ValueError, r"orientation\[0, 0\]"),
        (lambda: pa.encode.dense([[1.0, 2]], primes=[2, 9]), ValueError, "9, which is not prime"),
        (lambda: pa.encode.dense([[1.0, 2]], primes=[3, 3]), ValueError, "twice"),
        (lambda: pa.encode.dense([[1.0, 2]], primes=[3]), ValueError, r"\(2,\) is wanted"),
        (lambda: pa.encode.text("one string"), TypeError, r"pass \[text\]"),
        (lambda: pa.encode.text(["a", b"b"]), TypeError, r"strings\[1\] is b'b'.*decode it"),
        (lambda: pa.encode.text([None]), TypeError, r"strings\[0\] is None"),
        (lambda: pa.encode.text(3), TypeError, "iterable of str"),
        (lambda: pa.encode.text(["a"], scheme="bert"), ValueError, "'ngram' or 'original'"),
        (lambda: pa.encode.text(["a"], k=0), ValueError, "k is 0"),
        (lambda: pa.encode.text(["a"], n_primes=2.5), TypeError, "n_primes is 2.5"),
        (lambda: pa.encode.text(["a"], scheme="original", k=-1), ValueError, "k is -1"),
        (lambda: pa.encode.text(["a"], k=3, encoder=pa.encode.TextEncoder.fit(["b"])), ValueError, "leave them out"),
        (lambda: pa.encode.TextEncoder.fit(["a"], ngrams=3), ValueError, "ngrams is 3"),
        (lambda: pa.encode.TextEncoder.fit(["a"], ngrams=(4, 3)), ValueError, "shortest <= longest"),
        (lambda: pa.encode.TextEncoder.fit(["a"], ngram_weight=-1), ValueError, "ngram_weight is -1"),
        (lambda: pa.encode.tfidf("text"), TypeError, r"pass \[text\]"),
    ],
)
def test_refusals_say_what_came_and_what_is_wanted(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.cudasim
def test_cuda_arrays_are_sent_back():
    with pytest.raises(TypeError, match=r"pass pa\.to_host"):
        pa.encode.dense(pa.to_device(np.ones((2, 3))))


@pytest.mark.cudasim
def test_strongest_on_cuda_equals_the_oracle():
    magnitude = np.array([1.0, 3, 3, 0, 2, 0, 0, 5, 5, 5, 4])
    indptr = np.array([0, 5, 5, 7, 11])
    for k, energy in ((2, 2.0), (11, 0.5)):
        heap, keep = (pa.to_device(np.zeros(11, np.int64)) for _ in range(2))
        arrays.STRONGEST(4, pa.to_device(indptr), pa.to_device(magnitude), k, energy, heap, keep)
        expected = [
            i + j for i, e in pairwise(indptr) for j in naive.strongest(magnitude[i:e].tolist(), k=k, energy=energy)
        ]
        assert np.flatnonzero(pa.to_host(keep)).tolist() == expected


# ---------------------------------------------------------------------------------------------- n-grams


@pytest.mark.parametrize("span", [(3, 3), (1, 2), (3, 5), (2, 9)])
def test_feature_hashes_equal_the_oracle(span):
    words = sorted({word for text in [*AWKWARD.values(), *PANGRAMS] for word in naive.words(text)})
    indptr, hashes = hashing.feature_hashes(words, span)
    for w, word in enumerate(words):
        found = hashes[indptr[w] : indptr[w + 1]].tolist()
        assert found == naive.features(word, *span), word
        assert len(list(hashing.ngram_spans(len(word), span))) == len(found) - 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_primes": 50, "k": 8},  # collisions on every prime
        {"n_primes": 1000, "k": None, "ngrams": (3, 5), "ngram_weight": 0.7},
        {"k": 16, "ngram_weight": 0.0},
    ],
)
@pytest.mark.parametrize("strings", [PANGRAMS, list(AWKWARD.values()), ["one string only"], ["", " "]])
def test_ngram_states_equal_the_oracle(strings, options):
    encoder = pa.encode.TextEncoder.fit(strings, **options)
    a = encoder.encode(strings)
    assert_sound(a, len(strings))
    primes = pa.primes.first(encoder.n_primes).tolist()
    expected = naive.ngram_states(strings, primes, encoder.k, encoder.ngrams, encoder.ngram_weight)
    for found, state in zip(states_of(a), expected, strict=True):
        assert list(found) == list(state)
        for p, (z, h, phase) in state.items():
            assert abs(found[p][0] - z) < CLOSE
            assert np.allclose(found[p][1], naive.orientation(h, phase), rtol=0, atol=CLOSE)


def test_text_is_an_encoder_fitted_to_what_it_encodes(monkeypatch):
    a = pa.encode.text(PANGRAMS, n_primes=500, k=10)
    encoder = pa.encode.TextEncoder.fit(PANGRAMS, n_primes=500, k=10)
    one_block = encoder.encode(PANGRAMS)
    monkeypatch.setattr(ngrams, "_BLOCK", 3)
    for b in (one_block, pa.encode.text(PANGRAMS, encoder=encoder), pa.encode.text(PANGRAMS, n_primes=500, k=10)):
        for x, y in zip(a, b, strict=True):
            assert (x == y).all()
    one = encoder.encode(PANGRAMS[1:2])  # a string alone is what it was among others
    assert (one.primes == a.primes[a.indptr[1] : a.indptr[2]]).all()
    assert (one.amplitude == a.amplitude[a.indptr[1] : a.indptr[2]]).all()


def test_amplitudes_have_norm_one_and_phases_lie_in_the_upper_half_plane():
    a = pa.encode.text([*PANGRAMS, *AWKWARD.values()], dtype=np.float32)
    assert_sound(a, len(PANGRAMS) + len(AWKWARD), np.float32)
    energy = np.add.reduceat(np.abs(a.amplitude) ** 2, a.indptr[:-1][np.diff(a.indptr) > 0])
    assert np.allclose(energy, 1, rtol=0, atol=1e-5)  # 64 float32 squares
    assert (a.amplitude.imag > 0).all()
    assert len(np.unique(np.angle(a.amplitude))) > 10


def test_phase_tells_where():
    front, back = (pa.encode.text([s, "zebra"]) for s in ("zebra " + "word " * 50, "word " * 50 + "zebra"))
    zebra = pa.encode.TextEncoder.fit(["zebra"], ngram_weight=0).encode(["zebra"]).primes[0]
    first, last = (np.angle(a.amplitude[: a.indptr[1]][a.primes[: a.indptr[1]] == zebra])[0] for a in (front, back))
    assert first < 0.05
    assert last > np.pi - 0.05


def test_similar_strings_share_primes_and_the_originals_do_not():
    strings = ["resonating prime states", "prime state resonates", "a kettle of fish"]

    def shared(scheme):
        a = pa.encode.text(strings, scheme=scheme)
        rows = [set(a.primes[i:j].tolist()) for i, j in pairwise(a.indptr)]
        return len(rows[0] & rows[1]), len(rows[0] & rows[2])

    alike, unlike = shared("ngram")
    assert alike > 10
    assert unlike == 0
    assert max(shared("original")) <= 2


def test_collisions_are_told_apart_by_orientation():
    """Different features on one prime: squared alignment 1/4 on average; the same feature: at least 1/2."""
    seeds = hashing.mix(np.arange(20_000, dtype=np.uint64))
    q = ngrams._orientations(seeds, np.zeros(seeds.size))
    alignment = np.sum(q[::2] * q[1::2], axis=-1) ** 2
    # standard deviation of (q.q')^2 is sqrt(1/8 - 1/16) = 1/4: five standard errors of 10,000
    assert abs(alignment.mean() - 0.25) < 5 * 0.25 / 100
    assert np.abs(q.mean(axis=0)).max() < 5 * 0.5 / np.sqrt(20_000)
    same = np.sum(ngrams._orientations(seeds, np.full(seeds.size, np.pi)) * q, axis=-1) ** 2
    assert np.allclose(same, 0.5, rtol=0, atol=1e-15 * 8)


def test_hashes_spread_evenly_over_primes():
    words = [f"word{i}" for i in range(20_000)]
    _, hashes = hashing.feature_hashes(words, (99, 99))
    assert len(np.unique(hashes)) == 20_000
    counts = np.bincount((hashes % np.uint64(100)).astype(int), minlength=100)
    chi_squared = ((counts - 200) ** 2 / 200).sum()  # 99 degrees of freedom: mean 99, deviation 14
    assert 99 - 5 * 14 < chi_squared < 99 + 5 * 14


def test_unseen_words_of_a_query_meet_nothing_and_do_not_crowd_out_known_ones():
    passages = ["the fox jumps over the dog", "the dog sleeps", "the fox sleeps"]
    encoder = pa.encode.TextEncoder.fit(passages, k=4)
    query = encoder.encode(["xylophone zymurgy quetzal fox vexillology"])
    fox = encoder.encode(["fox"]).primes
    assert set(fox.tolist()) & set(query.primes.tolist())
    assert query.indptr.tolist() == [0, 4]
    empty = pa.encode.TextEncoder.fit([])
    assert_sound(empty.encode(["still works"]), 1)
    assert_sound(empty.encode([]), 0)


def test_a_very_long_word_and_a_very_long_text():
    a = pa.encode.text(["x" * 1_000_000, "ab " * 300_000, "ab"])
    assert_sound(a, 3)
    assert np.diff(a.indptr).min() >= 1


def test_an_encoder_cannot_be_changed():
    encoder = pa.encode.TextEncoder.fit(PANGRAMS)
    with pytest.raises(AttributeError):
        encoder.k = 3
    with pytest.raises(ValueError, match="read-only"):
        encoder.document_frequency[0] = 7
    assert "hashes" not in repr(encoder)


def test_features_stand_behind_every_prime_and_at_their_places():
    strings = [*PANGRAMS, *AWKWARD.values()]
    encoder = pa.encode.TextEncoder.fit(strings, ngrams=(3, 4), n_primes=700)
    a = encoder.encode(strings)
    primes = pa.primes.first(700).tolist()
    for string, state, features in zip(strings, states_of(a), encoder.features_of(strings), strict=True):
        assert sorted(features) == list(state)
        for prime, found in features.items():
            assert found
            for feature in found:
                surface = feature.surface.encode("utf-8", "surrogatepass")
                as_word, as_ngram = naive.mix(naive.fnv(surface, 0x9E3779B97F4A7C15)), naive.mix(naive.fnv(surface))
                assert feature.surface in f" {naive.words(feature.word)[0]} "
                assert prime in (primes[as_word % 700], primes[as_ngram % 700])
                if "\u0301" not in string:
                    assert string[feature.start : feature.start + len(feature.word)] == feature.word
    module = pa.encode.features_of(strings)
    assert [sorted(f) for f in module] == [list(s) for s in states_of(pa.encode.text(strings))]


def test_two_processes_with_different_hash_seeds_agree():
    code = (
        "import hashlib, primeattn as pa; strings = ['The quick brown fox', 'naïve 日本 quick', ''];"
        "a = pa.encode.text(strings); b = pa.encode.text(strings, scheme='original');"
        "print(hashlib.sha256(b''.join(x.tobytes() for x in a + b)).hexdigest())"
    )
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(run.stdout.strip())
    strings = ["The quick brown fox", "naïve 日本 quick", ""]
    both = pa.encode.text(strings) + pa.encode.text(strings, scheme="original")
    digests.add(hashlib.sha256(b"".join(x.tobytes() for x in both)).hexdigest())
    assert len(digests) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters() | st.sampled_from("aab \ud800\udc00ß"), max_size=40), max_size=4))
def test_any_strings_encode_soundly(strings):
    assert_sound(pa.encode.text(strings), len(strings))
    assert_sound(pa.encode.text(strings, scheme="original", k=5), len(strings))
    assert all(all(f.values()) for f in pa.encode.features_of(strings))
    assert pa.encode.tfidf(strings).shape == (len(strings), len(pa.encode.vocabulary(strings)))


# ---------------------------------------------------------------------------------------------- original


def test_the_originals_hash_equals_its_golden_values():
    for case in json.loads((GOLDEN / "from_hash.json").read_text())["cases"]:
        a = pa.encode.text([case["text"]], scheme="original", n_primes=case["num_primes"], k=case["k"])
        assert pa.encode.original.hashes([case["text"]])[0].tolist() == [case["hash"]]
        found = np.column_stack([a.primes, a.amplitude.real, a.amplitude.imag, a.orientation])
        # libm's sines differ from V8's in the last place
        assert np.allclose(found, sorted(case["state"]), rtol=0, atol=1e-12)


def test_the_originals_hash_equals_the_oracle_on_awkward_strings():
    strings = [*AWKWARD.values(), *PANGRAMS, "😀" * 500, "\ud83d", "\ude00 again"]
    a = pa.encode.text(strings, scheme="original", n_primes=300, k=40)
    assert_sound(a, len(strings))
    primes = pa.primes.first(300).tolist()
    assert (np.diff(a.indptr) < 40).any()  # later duplicates overwrite
    for string, found in zip(strings, states_of(a), strict=True):
        expected = naive.original_state(string, primes, 40)
        assert list(found) == sorted(expected)
        for p, (z, q) in expected.items():
            assert abs(found[p][0] - z) < CLOSE
            # c i reaches 1e6: the sine of it is known to half an ulp, fmod is exact
            assert np.allclose(found[p][1], q, rtol=0, atol=1e-12)


def test_strings_are_hashed_apart_although_surrogates_could_join():
    split = pa.encode.original.hashes(["\ud83d", "\ude00"])[0]
    assert split.tolist() == [0xD83D, 0xDE00]


# ---------------------------------------------------------------------------------------------- TF-IDF, words


def test_tfidf_equals_scikit_learn_and_the_oracle():
    golden = json.loads((GOLDEN / "tfidf.json").read_text())
    vectors = pa.encode.tfidf(golden["strings"])
    assert pa.encode.vocabulary(golden["strings"]) == golden["vocabulary"]
    assert np.allclose(vectors.toarray(), golden["rows"], rtol=0, atol=1e-15 * 8)
    vocabulary, rows = naive.tfidf(golden["strings"])
    assert vocabulary == golden["vocabulary"]
    assert np.allclose(rows, golden["rows"], rtol=0, atol=1e-15 * 8)
    assert vectors.has_sorted_indices
    assert pa.encode.tfidf(golden["strings"], dtype=np.float32).dtype == np.float32
    assert pa.encode.tfidf([]).shape == (0, 0)
    assert pa.encode.tfidf(["", "a"]).shape == (2, 1)


@pytest.mark.parametrize("name", AWKWARD)
def test_words_equal_the_oracle(name):
    assert pa.encode.words(AWKWARD[name]) == naive.words(AWKWARD[name])


def test_spellings_of_a_word_are_one():
    for one, other in (("Straße", "STRASSE"), ("cafe\u0301", "café"), ("ﬃ", "ffi"), ("Ａ", "a"), ("ᴬ", "a")):
        assert pa.encode.words(one) == pa.encode.words(other)
    assert pa.encode.words("don't stop") == ["don", "t", "stop"]
    assert pa.encode.words("☃!  ☃") == ["☃!", "☃"]


@pytest.mark.parametrize(
    ("indptr", "magnitude", "error", "message"),
    [
        ([0, 500_000], np.ones(2), ValueError, "ends with 500000 but there are 2 magnitude"),
        ([0, 1], np.ones(2), ValueError, "ends with 1"),
        ([-4, 2], np.ones(2), ValueError, "starts with -4"),
        ([0, 3, 2], np.ones(2), ValueError, "falls from 3 to 2"),
        ([0.0, 2.0], np.ones(2), TypeError, "indptr has dtype float64"),
        ([0, 2], [1, np.nan], ValueError, r"magnitude\[1\] is nan"),
        ([0, 2], [-1, np.inf], ValueError, r"magnitude\[0\] is -1"),
        ([0, 2], [1j, 1], TypeError, "magnitude has dtype complex128"),
        ([0, 2], np.ma.masked_equal([1.0, 2], 2), TypeError, r"pass magnitude\.filled"),
    ],
)
def test_strongest_checks_what_its_kernel_trusts(indptr, magnitude, error, message):
    with pytest.raises(error, match=message):
        pa.encode.strongest(indptr, magnitude, k=1)


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e308])
def test_dense_takes_quaternions_of_any_size(size):
    found = pa.encode.dense([[1.0]], orientation=size * np.array([[[1, 1, 1.0, 1]]]))
    np.testing.assert_allclose(found.orientation, [[0.5] * 4], rtol=1e-3)  # 1e-320 has three digits


def test_the_strongest_of_amplitudes_whose_modulus_overflows():
    x = np.array([[3e38 + 3e38j, 3.3e38 + 3.3e38j, 1]], np.complex64)
    assert pa.encode.dense(x, k=1).primes.tolist() == [3]
    x = np.array([[1.7e308 + 1.7e308j, 1.5e308 + 1.5e308j, 5e-324]])
    assert pa.encode.dense(x, k=1).primes.tolist() == [2]
    assert pa.encode.dense(x, k=3).primes.tolist() == [2, 3, 5]
    assert pa.PrimeStates.from_dense(x).sparsify(k=1).primes.tolist() == [2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pa.encode.dense([[1.0]], orientation=np.ones((1, 1, 4), complex)), "orientation has dtype complex128"),
        (lambda: pa.encode.dense(np.ones((1, 1), np.longdouble)), "longdouble|float128"),
        (lambda: pa.encode.dense(np.ma.masked_equal([[1.0]], 1)), r"X\.filled\(0\)"),
        (lambda: pa.encode.dense([[1.0]], primes=[2.0]), "primes holds 2.0"),
        (lambda: pa.encode.dense([[1.0]], energy="a"), "energy is 'a'"),
        (lambda: pa.encode.words(None), "one str is wanted"),
        (lambda: pa.encode.words(["a"]), "one str is wanted"),
        (lambda: pa.encode.text(["a"], encoder=3), r"TextEncoder\.fit"),
        (lambda: pa.encode.TextEncoder.fit(["a"], ngram_weight="1"), "ngram_weight is '1'"),
    ],
)
def test_what_is_of_another_kind_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()
