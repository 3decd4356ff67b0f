"""``primeattn simulate``: flags and files, what is written, what is refused, interruption."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import primeattn as pa
from primeattn import cli
from primeattn.cli import exits, simulate

for needed in ("matplotlib", "rich", "h5netcdf"):
    pytest.importorskip(needed)

ROOT = Path(pa.__file__).parent.parent
SMALL = ["simulate", "--oscillators", "20", "--time", "2", "--samples", "11"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("primeattn: ")
    assert err.count("\n") == 1
    return err


def test_flags_give_the_run_of_the_library(here, capsys):
    assert cli.main([*SMALL, "--frequencies", "uniform", "--width", "0.5", "--seed", "3", "-o", "run.nc"]) == 0
    assert capsys.readouterr() == ("run.nc\nrun.png\n", "")
    found = pa.dynamics.Trajectory.load("run.nc")
    model = pa.Kuramoto(pa.dynamics.frequencies.uniform(20, 0.5), coupling=2.0)
    np.testing.assert_array_equal(found.R, pa.simulate(model, (0, 2), samples=11, rng=3).R)
    assert Path("run.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(os.listdir()) == ["run.nc", "run.png"]


def test_quiet_and_the_default_output(here, capsys):
    assert cli.main([*SMALL, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert sorted(os.listdir()) == ["primeattn-simulation.nc", "primeattn-simulation.png"]


def test_several_couplings_run_together(here):
    assert cli.main([*SMALL, "--coupling", "0:4:5", "-q"]) == 0
    found = pa.dynamics.Trajectory.load("primeattn-simulation.nc")
    assert found.R.shape == (5, 11)
    np.testing.assert_array_equal(found.to_xarray()["coupling"], [0, 1, 2, 3, 4])


TOML = """
[frequencies]
distribution = "lorentzian"
limit = 10.0
[model]
oscillators = 20
coupling = 1.5
harmonics = {2 = [0.3, 0.1]}
inertia = 0.5
[simulate]
time = 1
samples = 5
observables = ["R", "frequencies"]
save_theta = true
"""
YAML = """
frequencies: {distribution: lorentzian, limit: 10.0}
model: {oscillators: 20, coupling: 1.5, harmonics: {2: [0.3, 0.1]}, inertia: 0.5}
simulate: {time: 1, samples: 5, observables: [R, frequencies], save_theta: true}
"""


@pytest.mark.parametrize(("name", "text"), [("run.toml", TOML), ("run.yaml", YAML)])
def test_files(name, text, here):
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    Path(name).write_text(text)
    assert cli.main(["simulate", name, "-q", "--coupling", "1.7", "-o", "out"]) == 0
    found = pa.dynamics.Trajectory.load("out.nc")
    omega = pa.dynamics.frequencies.lorentzian(20, limit=10.0)
    model = pa.Kuramoto(omega, 1.7, harmonics={2: (0.3, 0.1)}, inertia=0.5)
    wanted = pa.simulate(model, (0, 1), samples=5, observables=("R", "frequencies"), save_theta=True, rng=0)
    np.testing.assert_array_equal(found.theta, wanted.theta)
    np.testing.assert_array_equal(found["frequencies"], wanted["frequencies"])


def test_networks_from_files(here):
    Path("edges.txt").write_text("0 1\n1 2 \n2 0\n3 2\n")
    Path("edges.csv").write_text("0,1,0.5\n1,3,2\n")
    sparse.save_npz("w.npz", sparse.random_array((5, 5), density=0.5, rng=0, format="csr"))
    np.save("w.npy", np.eye(3, k=1))
    sizes = {"edges.txt": (4, 4), "edges.csv": (4, 2), "w.npz": (5, 12), "w.npy": (3, 2)}
    for name, (n, edges) in sizes.items():
        call = ["simulate", "--network", name, "--normalize", "none", "--time", "1", "--samples", "3", "-q", "-o", "a"]
        assert cli.main(call) == 0
        model = pa.dynamics.Trajectory.load("a.nc").model
        assert (model.size, len(model.edges.indices)) == (n, edges)
        assert model.normalize is None
    W = simulate._matrix("edges.csv").toarray()
    assert W[1, 0] == 0.5  # from 0 to 1: 1 hears 0
    assert W[3, 1] == 2


def test_a_file_may_say_all_that_a_model_may_have(here):
    """A delayed, triadic, inertial network with a schedule, coloured noise, and frequencies by degree."""
    Path("edges.txt").write_text("0 1\n1 2\n2 0\n3 2\n")
    Path("triangles.txt").write_text("0 1 2\n3 0 2\n")
    np.save("theta.npy", np.arange(4.0))
    Path("all.toml").write_text("""
[frequencies]
distribution = "by_degree"
scale = 0.5
[model]
coupling = 3.0
network = "edges.txt"
normalize = "degree"
delay = [0.1, 0.2, 0.1, 0.3]
triangles = "triangles.txt"
triangle_weights = [1.0, 0.5]
triadic = [0.1, 0.2]
inertia = 0.7
schedule = [[0.0, 1.0], [1.0, 2.0]]
diffusion = 0.1
correlation_time = 0.5
[simulate]
time = 1
samples = 5
theta0 = "theta.npy"
history = "rotating"
""")
    assert cli.main(["simulate", "all.toml", "-q", "-o", "a.nc", "--seed", "3"]) == 0
    found = pa.dynamics.Trajectory.load("a.nc")
    network = pa.dynamics.networks.from_edges(4, [0, 1, 2, 3], [1, 2, 0, 2])
    model = pa.Kuramoto(
        [0.5, 0.5, 1.0, 0.0], 3.0, network, "degree", delay=[0.1, 0.2, 0.1, 0.3], triangles=[[0, 1, 2], [3, 0, 2]],
        triangle_weights=[1.0, 0.5], triadic=(0.1, 0.2), inertia=0.7, schedule=[[0.0, 1.0], [1.0, 2.0]], diffusion=0.1,
        correlation_time=0.5,
    )  # fmt: skip
    wanted = pa.simulate(model, (0, 1), np.arange(4.0), history="rotating", samples=5, rng=3)
    np.testing.assert_array_equal(found.theta_end, wanted.theta_end)
    assert repr(found.model) == repr(model)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (
            "adaptation = [0.1, 0.3]\nnetwork = [[0, 1], [1, 0]]",
            {"network": [[0, 1], [1, 0]], "adaptation": [0.1, 0.3]},
        ),
        ("oscillators = 9\nnetwork = {ring = 2}", {"n": 9, "network": pa.dynamics.Ring(2)}),
        (
            'network = [[0.0, "a.txt"], [0.5, "b.npy"]]',
            {"n": 3, "network": [(0.0, np.diag([1, 0], -1)), (0.5, np.eye(3))]},
        ),
        ('oscillators = 5\nkind = "stuart_landau"\ngrowth = 0.5\nphase_lag = 0.2', {"n": 5, "kind": "StuartLandau"}),
        ('oscillators = 5\nkind = "spheres"', {"n": 5, "kind": "Spheres"}),
    ],
    ids=["adaptation", "ring", "switches", "amplitudes", "spheres"],
)
def test_models_of_a_file(text, model, here):
    Path("a.txt").write_text("0 1\n")
    np.save("b.npy", np.eye(3))
    Path("run.toml").write_text(f"[model]\n{text}\n[simulate]\ntime = 1\nsamples = 3\n")
    assert cli.main(["simulate", "run.toml", "-q", "-o", "a.nc"]) == 0
    found = pa.dynamics.Trajectory.load("a.nc")
    model = {"n": 2, "kind": "Kuramoto", "coupling": 2.0} | model
    n, kind = model.pop("n"), model.pop("kind")
    law = pa.dynamics.frequencies
    first = law.rotations(n, rng=0) if kind == "Spheres" else law.gaussian(n)
    model |= {"growth": 0.5, "phase_lag": 0.2} if kind == "StuartLandau" else {}
    wanted = getattr(pa.dynamics, kind)(first, **model)
    assert repr(found.model) == repr(wanted)
    np.testing.assert_array_equal(found.R, pa.simulate(wanted, (0, 1), samples=3, rng=0).R)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--oscillators", "0"], exits.USAGE, "a whole number from 1 on"),
        (["--coupling", "0:4"], exits.USAGE, "0:4:33 (from, to, how many)"),
        (["--coupling", "nan"], exits.USAGE, "a number is wanted"),
        (["--frequencies", "poisson"], exits.USAGE, "invalid choice"),
        (["--normalize", "sum"], exits.USAGE, "size, degree or none"),
        (["-o", "a.png"], exits.USAGE, "name the netCDF file"),
        (["-o", "a.zarr"], exits.USAGE, "name a .nc file"),
        (["-o", "none/at/all.nc"], exits.OUTPUT, "there is no folder"),
        (["none.toml"], exits.INPUT, "none.toml: cannot be read"),
        (["bad.toml"], exits.INPUT, "bad.toml: "),
        (["table.toml"], exits.INPUT, "'modle' is no table"),
        (["key.toml"], exits.INPUT, "did you mean 'coupling'?"),
        (["kind.toml"], exits.INPUT, "one of kuramoto, stuart_landau, spheres"),
        (["lacks.toml"], exits.INPUT, "model has no 'delay'"),
        (["--frequencies", "by_degree"], exits.INPUT, "one network is wanted"),
        (["--network", "none.txt"], exits.INPUT, "none.txt"),
        (["--network", "bad.txt"], exits.INPUT, "FROM TO WEIGHT"),
        (["--method", "rk5"], exits.INPUT, "method is 'rk5'"),
        (["--observables", "R,Q"], exits.INPUT, "observables has 'Q'"),
        (["--diffusion", "-1"], exits.INPUT, "diffusion >= 0"),
        (["--checkpoint", "none/at/all.npz"], exits.OUTPUT, "there is no folder"),
    ],
)
def test_refusals(arguments, code, says, here, capsys):
    Path("bad.toml").write_text("[model\n")
    Path("table.toml").write_text("[modle]\n")
    Path("key.toml").write_text("[model]\ncuopling = 1\n")
    Path("kind.toml").write_text("[model]\nkind = 'sphere'\n")
    Path("lacks.toml").write_text("[model]\nkind = 'spheres'\ndelay = 0.1\n")
    Path("bad.txt").write_text("0\n1\n")
    assert cli.main(["simulate", *arguments]) == code
    assert says in complaint(capsys)
    assert not list(here.glob("*.nc"))


def test_a_run_that_breaks_down_leaves_what_there_is(here, capsys):
    code = cli.main([*SMALL[:3], "--inertia", "0.01", "--dt", "0.5", "--time", "500", "--samples", "1001", "-q"])
    assert code == exits.INPUT
    assert "try a dt below 0.5; what there is is on disk" in complaint(capsys)
    found = pa.dynamics.Trajectory.load("primeattn-simulation.nc")
    assert 0 < len(found.t) < 1001


def test_warnings_are_told(here, capsys):
    call = [*SMALL, "--coupling", "1e6", "--dt", "0.5", "-o", "a.nc"]
    assert cli.main(call) == 0
    assert "primeattn: warning: dt is 0.5, but the model moves at rates up to 1e+06" in capsys.readouterr().err
    assert cli.main([*call, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_without_R_there_is_no_figure(here, capsys):
    assert cli.main([*SMALL, "--observables", "psi", "-o", "a.nc"]) == 0
    assert capsys.readouterr().out == "a.nc\n"
    assert os.listdir() == ["a.nc"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_writes_what_there_is_and_the_same_command_goes_on(here, interrupted):
    call = ["simulate", "--oscillators", "20", "--time", "1", "--dt", "2e-6", "--samples", "50"]
    call += ["--checkpoint", "run.npz", "-o", "run.nc", "early.toml"]
    Path("early.toml").write_text("[simulate]\ncheckpoint_every = 0.01\n")
    code, said = interrupted(call, "run.npz")
    assert code == exits.INTERRUPTED
    assert "what there is is on disk; the same command goes on" in said
    part = pa.dynamics.Trajectory.load("run.nc")
    assert part.status == "interrupted"
    command = [sys.executable, "-m", "primeattn.cli", *call]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "run.nc\nrun.png\n")
    whole = pa.dynamics.Trajectory.load("run.nc")
    assert whole.status == "finished"
    np.testing.assert_array_equal(part.R, whole.R[: len(part.t)])
