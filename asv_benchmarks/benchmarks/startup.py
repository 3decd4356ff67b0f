"""What a user waits for before the first result: import, and the first call with a cold and a warm JIT cache."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from . import size

FIRST_CALL = "import numpy, primeattn; primeattn.quaternion.multiply(numpy.ones((5, 4)), numpy.ones((5, 4)))"


def _seconds(code: str, cache: str | None = None) -> float:
    environment = dict(os.environ)
    if cache:
        environment["NUMBA_CACHE_DIR"] = cache
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


class Import:
    """`import primeattn` beyond `import numpy`, milliseconds: medians of interleaved processes."""

    timeout = 120
    unit = "ms"

    def track_import_beyond_numpy(self):
        base, package = [], []
        for _ in range(size(11, 1)):
            base.append(_seconds("import numpy"))
            package.append(_seconds("import numpy, primeattn"))
        return 1e3 * (statistics.median(package) - statistics.median(base))


class FirstCall:
    """A fresh process up to the first quaternion product, seconds, interpreter and imports included."""

    timeout = 300
    unit = "s"

    def setup(self):
        self.cache = tempfile.mkdtemp()

    def teardown(self):
        shutil.rmtree(self.cache, ignore_errors=True)

    def track_cold_cache(self):
        return _seconds(FIRST_CALL, self.cache)

    def track_warm_cache(self):
        _seconds(FIRST_CALL, self.cache)
        return statistics.median(_seconds(FIRST_CALL, self.cache) for _ in range(size(5, 1)))
