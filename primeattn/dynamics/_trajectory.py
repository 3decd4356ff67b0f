"""What a simulation leaves behind."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np


class Label(NamedTuple):
    """What an observable is, its unit, and the names of its axes."""

    says: str
    unit: str
    dims: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Times, observables, and the phases if they were wanted.

    Attributes
    ----------
    t : ndarray of float, shape (samples,)
        Times reached: fewer than asked for if the run was interrupted or broke down.
    observables : dict of ndarray, shapes ([runs,] samples, ...), or ([runs,] ...) of what reduces over time
    theta : ndarray of float, shape ([runs,] samples, N), or None
        Phases, not wrapped; with ``save_theta``.
    velocity : ndarray of float, shape ([runs,] samples, N), or None
        theta' of a model with inertia; with ``save_theta``.
    t_end : float
        The time of the last sample; the first time of all if there is none.
    theta_end, velocity_end : ndarray of float, shape ([runs,] N)
        The state then, the last good one: what the next call can start from; a CUDA array where the run had one.
    model : Kuramoto
    settings : dict
        Method, tolerances, seed, steps taken.
    status : str
        "finished", "interrupted", or what went wrong.
    labels : dict of Label
        Of every observable.
    states, states_end : dict of ndarray
        What a state is besides phases and velocities, at every sample (with ``save_theta``) and at the last: "weights"
        of coupling that learns, shape ([runs,] samples, edges); "z" of `StuartLandau`, complex, (..., N), of which
        ``theta`` is the argument; "x" of `Spheres`, (..., N, D), where ``theta`` is None.

    Examples
    --------
    Go on where a run ended:

    >>> import numpy as np, primeattn as pa
    >>> model = pa.Kuramoto(np.linspace(-1, 1, 50), coupling=3.0)
    >>> first = pa.simulate(model, (0, 5), rng=0)
    >>> second = pa.simulate(model.replace(coupling=0.5), (first.t_end, 10), first)
    >>> second.t[0], second.R[0] == first.R[-1]
    (np.float64(5.0), np.True_)
    """

    t: np.ndarray
    observables: dict[str, np.ndarray]
    theta: np.ndarray | None
    velocity: np.ndarray | None
    t_end: float
    theta_end: np.ndarray | None
    velocity_end: np.ndarray | None
    model: Any
    settings: dict[str, Any]
    status: str
    labels: dict[str, Label]
    states: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    states_end: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def R(self) -> np.ndarray:
        """The order parameter, shape ([runs,] samples)."""
        return self["R"]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.observables:
            raise KeyError(
                f"the trajectory has {', '.join(map(repr, self.observables)) or 'no observables'}, not {name!r}: "
                f"pass observables=({name!r},) to simulate"
            )
        return self.observables[name]

    def __repr__(self) -> str:
        last = self.states_end["x"] if self.theta_end is None else self.theta_end
        shape = "x".join(map(str, last.shape))
        names = ", ".join(self.observables) or "no observables"
        return f"Trajectory({len(self.t)} samples of {shape} oscillators, {names}; {self.status})"

    def to_xarray(self) -> Any:
        """Everything as labelled arrays.

        Returns
        -------
        xarray.Dataset
            Dimensions run (if there are several), time, oscillator; observables, ``theta``, ``velocity``,
            ``theta_end``, ``velocity_end``, and the network's edges as variables; omega and whatever else has one
            number an oscillator or a run as coordinates; all other parameters of model and method in ``attrs``.

        Examples
        --------
        >>> import primeattn as pa
        >>> data = pa.simulate(pa.Kuramoto([0.0, 1.0], coupling=2.0), (0, 1), rng=0).to_xarray()
        >>> data.R.dims, data.attrs["coupling"], data.attrs["method"]
        (('time',), 2.0, 'rk4')
        """
        from ._labelled import to_dataset

        return to_dataset(self)

    def save(self, path) -> None:
        """Write a netCDF file, whole or not at all; complex arrays as two real ones.

        Parameters
        ----------
        path : path_like

        Raises
        ------
        ValueError
            For a name that ends in .zarr: ``to_xarray().to_zarr(path)`` writes that, with the package zarr.
        ImportError
            Without h5netcdf: ``pip install "primeattn[report]"``.
        OSError
            If it cannot be written.
        """
        from ._labelled import write

        write(self.to_xarray(), path)

    @classmethod
    def load(cls, path) -> "Trajectory":
        """Read what `save` wrote; ``simulate(loaded.model, ..., loaded)`` goes on.

        Parameters
        ----------
        path : path_like

        Returns
        -------
        Trajectory

        Raises
        ------
        ValueError
            For a file that is no such trajectory.
        ImportError
            Without h5netcdf.
        """
        from ._labelled import from_dataset, read

        return from_dataset(read(path))
