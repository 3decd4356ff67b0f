"""The runtime: how a range is shared, which device runs, what the doors refuse."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest

import primeattn as pa
from primeattn._runtime import checks, devices, files, jit, memory
from primeattn._runtime.jit import kernel, scalar
from primeattn._runtime.owners import OWNERS, Owner, share


@scalar
def double_row(i, x, out):
    out[i] = x[i] + x[i]


@kernel
def double_range(start, stop, x, out):
    for i in range(start, stop):
        double_row(i, x, out)


DOUBLE = Owner(double_row, double_range, "F1 F1", grain=64)
OWNERS.remove(DOUBLE)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 127, 128, 129, 1000])
@pytest.mark.parametrize("chunks", [1, 5])
def test_share_covers_every_row_once(n, chunks):
    seen = np.zeros(n, int)
    lock = threading.Lock()

    def work(start, stop):
        with lock:
            seen[start:stop] += 1

    share(work, n, 10, chunks)
    assert (seen == 1).all()


def test_share_uses_the_threads_that_numba_allows():
    allowed = numba.get_num_threads()
    names = set()
    barrier = threading.Barrier(allowed, timeout=10)

    def work(start, stop):
        barrier.wait()
        names.add(threading.current_thread().name)

    share(work, 1000, 10)
    assert len(names) == allowed
    numba.set_num_threads(1)
    try:
        names.clear()
        share(lambda start, stop: names.add((start, stop)), 1000, 10)
        assert names == {(0, 1000)}
    finally:
        numba.set_num_threads(allowed)


def test_share_reports_an_error_of_any_thread_and_survives_it():
    def fail(start, stop):
        if start:
            raise RuntimeError("row")

    if numba.get_num_threads() > 1:
        with pytest.raises(RuntimeError, match="row"):
            share(fail, 1000, 10)
    share(lambda start, stop: None, 1000, 10)


def test_share_may_be_nested_and_called_from_many_threads():
    total = np.zeros(8, int)

    def outer(start, stop):
        for i in range(start, stop):
            counts = np.zeros(100, int)
            share(lambda a, b, counts=counts: counts.__setitem__(slice(a, b), 1), 100, 10)
            total[i] = counts.sum()

    threads = [threading.Thread(target=share, args=(outer, 8, 1, 2)) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=30)
        assert not t.is_alive()
    assert (total == 100).all()


def _double_in_child(queue):
    out = np.empty(1000)
    DOUBLE(1000, np.ones(1000), out)
    queue.put(out.sum())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_owner_works_in_a_forked_child():
    out = np.empty(1000)
    DOUBLE(1000, np.ones(1000), out)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_double_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 2000
    child.join(timeout=10)


@pytest.mark.cudasim
@pytest.mark.parametrize("n", [0, 1, 5, 130])
def test_owner_on_cuda(n):
    x = devices.to_device(np.arange(n, dtype=np.float32))
    out = devices.empty(n, np.float32, like=x)
    DOUBLE(n, x, out)
    np.testing.assert_array_equal(pa.to_host(out), 2 * np.arange(n))


@pytest.mark.cudasim
def test_a_mix_of_devices_is_refused_by_name():
    with pytest.raises(TypeError, match="a is a CUDA array but b is a host array"):
        devices.on_cuda(a=pa.to_device(np.ones(3)), b=np.ones(3))


def test_to_device_without_cuda_says_what_to_do():
    if devices.cuda().is_available():
        pytest.skip("a device is there")
    with pytest.raises(RuntimeError, match="primeattn doctor"):
        pa.to_device(np.ones(3))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([1, 2], np.float64),
        (np.array([True]), np.float64),
        (np.ones(2, np.float16), np.float32),
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, ">f8"), np.float64),
        (np.ones(2, ">f4"), np.float32),
        (np.ones((4, 4))[:, ::2], np.float64),
    ],
)
def test_as_floating_gives_native_contiguous(given, wanted):
    x = checks.as_floating("x", given)
    assert x.dtype == wanted
    assert x.dtype.isnative
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x, np.asarray(given, dtype=wanted))


def test_as_floating_does_not_copy_what_is_right_and_takes_read_only():
    x = np.ones(3)
    x.flags.writeable = False
    assert checks.as_floating("x", x) is x


@pytest.mark.parametrize("bad", [np.ones(2, complex), np.ones(2, np.longdouble), np.array(["a"]), np.array([None])])
def test_as_floating_refuses_other_kinds(bad):
    with pytest.raises(TypeError, match="omega has dtype"):
        checks.as_floating("omega", bad)


def test_as_floating_refuses_ragged_and_wrong_widths():
    with pytest.raises(ValueError, match="ragged"):
        checks.as_floating("x", [[1, 2], [3]])
    with pytest.raises(ValueError, match="last axis must have length 4"):
        checks.as_floating("q", np.ones((2, 3)), last=4)
    with pytest.raises(ValueError, match="last axis must have length 4"):
        checks.as_floating("q", 1.0, last=4)


def test_doctor_names_versions_threads_cuda_and_cache():
    found = pa.doctor()
    assert {"primeattn", "numpy", "numba", "threads", "cuda", "jit cache"} <= set(found)
    assert found["numpy"] == np.__version__
    assert all(isinstance(line, str) and line for line in found.values())


def test_without_a_place_for_the_cache_kernels_compile_in_each_process(tmp_path):
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
        "import numpy as np, primeattn as pa\n"
        "print(pa.quaternion.multiply([0, 1, 0, 0], [0, 0, 1, 0]).tolist(), pa.doctor()['jit cache'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.startswith("[0.0, 0.0, 0.0, 1.0] off: no folder to write to")


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "x"
    files.write_whole(target, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_without_room_is_refused_before_it_is_written(tmp_path, monkeypatch):
    """HDF5 would take the process with it."""
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
        says = r"no room: 2.07 MB are wanted but 1 MB are free.*run\.nc"
        with pytest.raises(OSError, match=says), files.whole(tmp_path / "run.nc", 2_000_000):
            raise AssertionError("it is being written")
        with files.whole(tmp_path / "run.nc", 900_000) as beside:
            assert beside.stat().st_size == 0
    assert os.listdir(tmp_path) == ["run.nc"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room is not reserved")
def test_a_limit_of_the_process_is_no_crash(tmp_path):
    """A file that may not grow, as under a quota: an error of ours, and the results are still there."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    import resource

    data, (soft, hard) = xarray.Dataset({"x": ("time", np.zeros(100_000))}), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="large"), files.whole(tmp_path / "run.nc", data.nbytes) as beside:
            data.to_netcdf(beside, engine="h5netcdf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not os.listdir(tmp_path)


def test_a_file_keeps_its_link_and_its_mode(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    files.write_whole(link, "new")
    assert link.is_symlink()
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o600)
    fresh, plain = tmp_path / "fresh", tmp_path / "plain"
    files.write_whole(fresh, "x")
    plain.write_text("x")
    assert fresh.stat().st_mode == plain.stat().st_mode  # as the umask says
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        files.write_whole(taken, "x")
    assert caught.value.filename == str(taken)
    with pytest.raises(OSError, match=r"two lines: '.*fresh'") as caught, files.whole(fresh):
        raise OSError("two\nlines")
    assert caught.value.filename == str(fresh)
    assert fresh.read_text() == "x"
    with files.whole(target) as beside:
        assert beside.stat().st_mode & 0o777 == 0o600  # as private as what it will replace
        beside.write_text("newer")
    assert target.read_text() == "newer"
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("seed", ["x", -1, 1.5, [1, -1]])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match=r"rng is .*: an integer, 0 or more, a numpy\.random\.Generator, or"):
        pa.study.counterexample("expressive", "psd", rng=seed)
    drawn = checks.as_generator(np.int64(3)).random()
    assert drawn == checks.as_generator(3).random() == checks.as_generator(np.random.default_rng(3)).random()


def test_a_piece_is_a_draft_that_its_callers_optimise():
    @jit.piece
    def twice(x):
        return x + x

    @jit.summing
    def summed(x):
        total = x[0] - x[0]
        for i in range(x.size):
            total += twice(x[i])
        return total

    @numba.njit
    def caller(x):
        return summed(x)

    assert caller(np.arange(100.0)) == 9900
    for piece in (twice, summed):
        (made,) = piece.overloads.values()
        assert isinstance(made.library, jit._Draft)
        assert not made.library.codegen._engine.is_symbol_defined(made.fndesc.mangled_name)  # no machine code
        assert made.fndesc.mangled_name not in caller.inspect_asm(caller.signatures[0])


def test_a_workspace_is_the_room_of_the_last_call_if_that_suffices(monkeypatch):
    single, slot = np.dtype(np.float32), "test"
    room = memory.workspace(1000, single, slot)
    assert room.size == 1000
    assert room.ctypes.data % memory.LINE == 0
    smaller = memory.workspace(10, single, slot)
    assert smaller.size == 10
    assert smaller.ctypes.data == room.ctypes.data
    assert memory.workspace(1000, single, slot) is room
    for other in (memory.workspace(1001, single, slot), memory.workspace(10, np.dtype(np.float64), slot)):
        assert not np.shares_memory(other, room)
    monkeypatch.setattr(memory.Scratch, "MOST", 1000)
    large = memory.workspace(2000, single, slot)
    assert not np.shares_memory(memory.workspace(2000, single, slot), large)
