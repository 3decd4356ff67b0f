"""Files: what was saved comes back bit for bit; everything else is refused, and nothing is ever unpickled."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from primeattn import PrimeStates


@pytest.fixture
def saved(tmp_path):
    """A small file, and the states in it."""
    states = PrimeStates.from_dicts([{2: (0.5 + 1j, (1, 2, 3, 4)), 7: -1}, {}, {3: 2j}], labels=["a", "", "ü"])
    path = tmp_path / "states.npz"
    states.save(path)
    return path, states


def members(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 33])
def test_round_trip_is_exact(tmp_path, dtype, n):
    s = PrimeStates.random(n, 4, n_primes=20, dtype=dtype).with_labels(np.arange(n))
    s.save(tmp_path / "s")
    back = PrimeStates.load(str(tmp_path / "s"))
    for name in ("indptr", "primes", "amplitude", "orientation", "labels"):
        a, b = getattr(s, name), getattr(back, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
        assert not b.flags.writeable
    assert os.listdir(tmp_path) == ["s"]  # the name as it was given, and no draft left behind


def test_results_of_composition_are_valid_files(tmp_path):
    s = PrimeStates.random(50, 5, n_primes=9, dtype="float32")
    for t in (s.compose(s[::-1]), s.cumcompose(mode="rotor"), s.cumcompose(mode="own"), s.cumcompose(mode="full")):
        t.save(tmp_path / "t.npz")
        assert PrimeStates.load(tmp_path / "t.npz") == t


def test_same_states_same_bytes_and_numpy_reads_them(saved, tmp_path):
    path, states = saved
    states.save(tmp_path / "again.npz")
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()
    content = members(path)
    assert set(content) == {"format", "version", "labelled", "indptr", "primes", "amplitude", "orientation", "labels"}
    np.testing.assert_array_equal(content["primes"], states.primes)
    assert PrimeStates.load(path).labels.tolist() == ["a", "", "ü"]


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    path, states = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        states[:1].save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        PrimeStates.load(tmp_path / "nothing.npz")
    with pytest.raises(OSError):  # noqa: PT011  # IsADirectoryError, or PermissionError on Windows
        PrimeStates.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        PrimeStates.empty(1).save(tmp_path / "no" / "folder.npz")


def test_every_truncation_is_refused(saved):
    path, _ = saved
    content = path.read_bytes()
    for size in [*range(0, len(content), 13), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"states\.npz: "):
            PrimeStates.load(path)


def test_every_flipped_byte_is_refused_or_harmless(saved):
    """Bytes of the zip that carry no meaning (dates, flags) may change; the states may not."""
    path, states = saved
    content = path.read_bytes()
    refused = 0
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 0xFF if at % 2 else 0x01
        path.write_bytes(changed)
        try:
            back = PrimeStates.load(path)
        except ValueError:
            refused += 1
        else:
            assert back == states
            assert back.labels.tolist() == states.labels.tolist()
    assert refused > 0.7 * len(content)  # the rest of so small a file is zip records without meaning


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def changed(content, **changes):
    return {**content, **changes}


FOREIGN = {
    "another program": (lambda c: {"x": np.arange(3)}, "does not hold prime states.*members: x"),
    "another format": (lambda c: changed(c, format=np.array("primeattn.Other")), "does not hold prime states"),
    "a later version": (lambda c: changed(c, version=np.array(2)), "version 2 of the format, this primeattn reads 1"),
    "a member too many": (lambda c: changed(c, extra=np.arange(3)), "wanted: format, version"),
    "a member too few": (lambda c: {k: v for k, v in c.items() if k != "primes"}, "wanted: format, version"),
    "float primes": (lambda c: changed(c, primes=c["primes"].astype(float)), "primes has dtype float64, wanted: <i8"),
    "narrow primes": (lambda c: changed(c, primes=c["primes"].astype("i4")), "primes has dtype int32"),
    "mixed precision": (lambda c: changed(c, orientation=c["orientation"].astype("f4")), "one precision"),
    "a composite": (lambda c: changed(c, primes=np.array([2, 9, 3])), "entry 1: 9 is composite"),
    "unsorted": (lambda c: changed(c, primes=np.array([7, 2, 3])), "primes are not ascending"),
    "twice": (lambda c: changed(c, primes=np.array([2, 2, 3])), "prime 2 occurs twice"),
    "not units": (lambda c: changed(c, orientation=2 * c["orientation"]), "not of unit length"),
    "zero": (lambda c: changed(c, orientation=0 * c["orientation"]), "zero quaternion"),
    "NaN": (lambda c: changed(c, amplitude=c["amplitude"] * np.nan), "amplitude .*nan.* is not finite"),
    "indptr": (lambda c: changed(c, indptr=np.array([0, 2, 1, 3])), "falls from 2 to 1"),
    "shapes": (lambda c: changed(c, primes=c["primes"][:, None]), "one axis each"),
    "too few amplitudes": (lambda c: changed(c, amplitude=c["amplitude"][:2]), "amplitude has shape"),
    "column-major": (lambda c: changed(c, orientation=np.asfortranarray(c["orientation"])), "column-major"),
    "labels that are not there": (lambda c: {k: v for k, v in c.items() if k != "labels"}, "labels are missing"),
    "labels that are not announced": (lambda c: changed(c, labelled=np.array(False)), "labels are not announced"),
    "labels of bytes": (lambda c: changed(c, labels=np.array([b"a"] * 3)), "labels have dtype .S1"),
    "labels": (lambda c: changed(c, labels=np.arange(2)), "labels have shape"),
}


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_and_invalid_files_are_refused(saved, case, compress):
    path, _ = saved
    change, message = FOREIGN[case]
    compress(path, **change(members(path)))
    with pytest.raises(ValueError, match=message):
        PrimeStates.load(path)


def test_a_compressed_copy_loads(saved):
    path, states = saved
    np.savez_compressed(path, **members(path))
    assert PrimeStates.load(path) == states


def test_pickles_are_never_run(saved, tmp_path):
    path, _ = saved
    sprung = tmp_path / "sprung"
    trap = np.array([Trap(sprung)] * 3, dtype=object)
    for name in ("format", "version", "primes", "labels"):
        np.savez(path, allow_pickle=True, **changed(members(path), **{name: trap}))
        with pytest.raises(ValueError, match="Python objects: they are never loaded"):
            PrimeStates.load(path)
        saved[1].save(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match=r"no \.npz file"):
        PrimeStates.load(path)
    assert not sprung.exists()


def test_a_header_cannot_ask_for_memory_that_the_file_does_not_have(saved, tmp_path):
    path, _ = saved
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header = header.ljust(127) + b"\n"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "new.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, header if name == "primes.npy" else old.read(name))
    with pytest.raises(ValueError, match="primes declares 8000000000000 bytes but the member holds 0"):
        PrimeStates.load(tmp_path / "new.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as new:
        new.writestr("format.npy", b"hello")
    with pytest.raises(ValueError, match="damaged, or is no file that"):
        PrimeStates.load(tmp_path / "text.npz")


@pytest.mark.skipif(os.name == "nt", reason="links and modes are POSIX")
def test_links_and_permissions_stay(saved):
    path, states = saved
    path.chmod(0o600)
    link = path.with_name("link")
    link.symlink_to(path.name)
    states[:1].save(os.fsencode(link))
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(PrimeStates.load(path)) == 1
    assert sorted(os.listdir(path.parent)) == ["link", path.name]


def test_paths_that_name_no_file(tmp_path):
    with pytest.raises(ValueError, match="the name of a file is wanted"):
        PrimeStates.empty(1).save("")
    with pytest.raises(IsADirectoryError, match="a folder"):
        PrimeStates.empty(1).save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no such folder: '.*nodir'$"):
        PrimeStates.empty(1).save(tmp_path / "nodir" / "x.npz")
    with pytest.raises(OSError, match="a device or a pipe"):
        PrimeStates.empty(1).save(os.devnull)
