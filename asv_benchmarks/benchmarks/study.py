"""The study: a derivation and a proof by SymPy, and layers of attention among a few tokens."""

import primeattn as pa


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
        pa.study.dynamics_of(name, tokens=64, width=8, runs=8, depth=100, rng=0)
