"""The study: property table, searches, certificates, spectra of scores never stored, formulas, layers of attention."""

import numpy as np

import primeattn as pa
from primeattn.attention import MECHANISMS

from . import size


class Properties:
    """One row of the table, without timings."""

    params = (list(MECHANISMS),)
    param_names = ("mechanism",)
    timeout = 300

    def setup(self, name):
        pa.study.properties(name, timing=False, sets=1)

    def time_row(self, name):
        pa.study.properties(name, timing=False, sets=size(20, 1))


class Counterexamples:
    params = (["lattice", "random"],)
    param_names = ("search",)

    def setup(self, search):
        self.time_original(search)

    def time_original(self, search):
        pa.study.counterexample("resonance:original", "psd", search=search)

    def time_expressive(self, search):
        pa.study.counterexample("expressive", "psd", search=search)


class Certificates:
    """All eigenvalues with their bound, beside the eigenvalues alone."""

    params = (size([100, 1000], [20]),)
    param_names = ("n",)

    def setup(self, n):
        a = np.random.default_rng(0).standard_normal((n, n))
        self.matrix = a + a.T

    def time_certify(self, n):
        pa.study.certify(self.matrix)

    def time_eigh(self, n):
        np.linalg.eigh(self.matrix)


class Operators:
    """A product of all original scores with eight vectors, and with one; the sparse matrix beside it."""

    params = (size([(20_000, 8), (20_000, 16)], [(200, 8)]), [1, 8])
    param_names = ("states and primes", "vectors")
    timeout = 600

    def setup(self, size, width):
        n, k = size
        self.states = pa.PrimeStates.random(n, k, n_primes=4096, rng=0)
        self.operator = pa.study.operator(self.states, kind="original")
        self.x = np.ones((n, width))
        self.stored = pa.resonance.sparse_matrix(self.states, kind="original")

    def time_product(self, size, width):
        self.operator @ self.x

    def time_stored_product(self, size, width):
        self.stored @ self.x

    def peakmem_product(self, size, width):
        self.operator @ self.x


class Spectra:
    timeout = 600

    def setup(self):
        self.operator = pa.study.operator(
            pa.PrimeStates.random(size(5_000, 100), 8, n_primes=1024, rng=0), kind="original"
        )

    def time_both_ends(self):
        pa.study.spectrum(self.operator, tol=0.1)


class Features:
    def setup(self):
        self.states = pa.PrimeStates.random(size(10_000, 100), 16, n_primes=4096, rng=0)
        self.x = np.random.default_rng(0).standard_normal((size(10_000, 100), 64))

    def time_minhash(self):
        pa.study.minhash(self.states, 256)

    def time_positive_features(self):
        pa.study.positive_features(self.x, 256)


class Formulas:
    """Seconds of SymPy; nothing compiles."""

    def setup(self):
        pa.study.symbolic.score("expressive")

    def time_derivation(self):
        pa.study.symbolic.derivation("kuramoto")

    def time_proof(self):
        pa.study.symbolic.prove_psd("expressive")

    def time_two_populations(self):
        pa.study.symbolic.two_populations()


class Depth:
    """100 layers of 64 tokens, 8 runs at once: energy, order parameter, clusters included."""

    params = ("dot_product", "expressive")
    param_names = ("mechanism",)

    def setup(self, name):
        self.time_layers(name)

    def time_layers(self, name):
        pa.study.dynamics_of(name, tokens=64, width=8, runs=8, depth=size(100, 3), rng=0)
