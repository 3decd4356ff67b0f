"""Groups whose elements are the positions: checked to be groups, and symmetries of what lives on the positions."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


def _lattice(axes: tuple[int, ...]) -> np.ndarray:
    """The table of Z_L1 x Z_L2 x ..., row-major."""
    places = np.stack(np.unravel_index(np.arange(math.prod(axes)), axes), axis=-1)
    sums = (places[:, None] + places[None]) % np.array(axes)
    return np.ravel_multi_index(np.moveaxis(sums, -1, 0), axes).astype(np.int64)


def check_group(table: np.ndarray) -> None:
    """Refuse a square table of integers that is not that of a group whose element 0 is the identity."""
    if not table.size:
        return
    numbers = np.arange(len(table))
    for what, lines in (("row", table), ("column", table.T)):
        for i, line in enumerate(lines):
            if not np.array_equal(np.sort(line), numbers):
                raise ValueError(
                    f"{what} {i} of the table is {line.tolist()}: each of 0 to {len(table) - 1} is wanted once"
                )
    if not (np.array_equal(table[0], numbers) and np.array_equal(table[:, 0], numbers)):
        raise ValueError("element 0 is not the identity: number the identity 0, so row and column 0 are 0, 1, 2, ...")
    for i in range(len(table)):  # one slice at a time: T^2 numbers, not T^3
        wrong = np.argwhere(table[table[i]] != table[i][table])
        if len(wrong):
            j, k = (int(n) for n in wrong[0])
            raise ValueError(f"not associative: ({i} * {j}) * {k} is not {i} * ({j} * {k}); this is no group")


@dataclass(frozen=True, eq=False)
class Symmetry:
    """A group of T elements that numbers T positions; position 0 is its identity.

    Weights that depend on i j^-1 only stay the same when all positions are multiplied by one element from the right.
    Make one with `cyclic` or `from_table`; either way the table is checked to be that of a group.

    Attributes
    ----------
    table : ndarray of int64, shape (T, T)
        The number of the product of two elements.
    axes : tuple of int
        Lengths of the cyclic factors, row-major; empty for any other group.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.attention.Symmetry.cyclic(2, 2).table.tolist()
    [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    """

    table: np.ndarray
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        table = np.array(self.table)
        if table.ndim != 2 or table.shape[0] != table.shape[1] or table.dtype.kind not in "iu":
            raise ValueError(f"table is {table.dtype} {table.shape}: a square table of integers is wanted")
        table = table.astype(np.int64, copy=False)
        if not self.axes:
            check_group(table)
        elif math.prod(self.axes) != len(table) or not np.array_equal(table, _lattice(self.axes)):
            raise ValueError(f"axes are {self.axes} but the table is not that of their lattice: use Symmetry.cyclic")
        self._set(table, self.axes)

    def _set(self, table: np.ndarray, axes: tuple[int, ...]) -> None:
        table.flags.writeable = False  # loops trust it
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "axes", axes)

    @classmethod
    def cyclic(cls, *axes: int) -> "Symmetry":
        """Translations of a periodic lattice, Z_L1 x Z_L2 x ...; positions are numbered row-major.

        Raises
        ------
        ValueError
            Without axes, or for a length below 1.
        """
        if not axes or any(not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1 for n in axes):
            raise ValueError(f"axes are {axes!r}: one length or more, each at least 1, is wanted")
        axes = tuple(int(n) for n in axes)
        made = object.__new__(cls)  # a group by construction: it need not be checked, nor have its table yet
        object.__setattr__(made, "axes", axes)
        return made

    @classmethod
    def from_table(cls, table: Any) -> "Symmetry":
        """Any group, from its multiplication table, which is checked.

        Raises
        ------
        ValueError
            If it is not the table of a group whose element 0 is the identity; the message names what fails.
        """
        return cls(table)

    def __getattr__(self, name: str) -> Any:
        if name != "table" or not self.axes:
            raise AttributeError(f"Symmetry has no attribute {name!r}")
        self._set(_lattice(self.axes), self.axes)
        return self.table

    def __len__(self) -> int:
        return math.prod(self.axes) if self.axes else len(self.table)

    @property
    def inverse(self) -> np.ndarray:
        """The inverse of every element."""
        return np.argmin(self.table, axis=1)

    @property
    def quotient(self) -> np.ndarray:
        """(T, T): the number of i j^-1, which of the T weights A_ij is."""
        return self.table[:, self.inverse]

    def check(self, couplings: Any, patches: Any = None, atol: float = 1e-12) -> None:
        """Refuse a group that is no symmetry of the system whose sites the positions hold.

        Parameters
        ----------
        couplings : array_like, shape (sites, sites)
            What two sites have to do with each other: bonds, distances.
        patches : array_like of int, shape (T, sites of a position), optional
            The sites of each position, in one order for all; by default each position is one site. Every element
            moves them as it moves the positions. See `square_patches`.
        atol : float
            Couplings that differ by no more are equal.

        Raises
        ------
        ValueError
            If an element changes the couplings; the message names one pair of sites.

        Examples
        --------
        On a periodic 4 x 4 lattice in patches of 2 x 2, translations by a patch are Z2 x Z2; going through the four
        patches in a circle, Z4, tears neighbours apart:

        >>> import numpy as np, primeattn as pa
        >>> bonds = np.zeros((4, 4, 4, 4))
        >>> for x, y in np.ndindex(4, 4):
        ...     bonds[x, y, (x + 1) % 4, y] = bonds[x, y, x, (y + 1) % 4] = 1
        >>> bonds = bonds.reshape(16, 16) + bonds.reshape(16, 16).T
        >>> patches = pa.attention.square_patches((4, 4), 2)
        >>> pa.attention.Symmetry.cyclic(2, 2).check(bonds, patches)
        >>> try:
        ...     pa.attention.Symmetry.cyclic(4).check(bonds, patches)
        ... except ValueError as error:
        ...     print(str(error)[:46])
        element 1 takes sites 0 and 3 to 2 and 9: thei
        """
        couplings = np.asarray(couplings)
        patches = np.arange(len(self))[:, None] if patches is None else np.asarray(patches)
        if patches.ndim != 2 or len(patches) != len(self) or patches.dtype.kind not in "iu":
            raise ValueError(f"patches are {patches.dtype} {patches.shape}: sites of {len(self)} positions are wanted")
        sites = patches.size
        if couplings.shape != (sites, sites) or not np.array_equal(np.sort(patches.reshape(-1)), np.arange(sites)):
            raise ValueError(
                f"couplings have shape {couplings.shape} and patches hold {sites} sites: a square table is wanted, and "
                "patches that hold each site once"
            )
        for element in range(len(self)):
            moved = np.empty(sites, np.int64)
            moved[patches] = patches[self.table[:, element]]
            wrong = np.argwhere(~(abs(couplings[np.ix_(moved, moved)] - couplings) <= atol))
            if len(wrong):
                a, b = (int(n) for n in wrong[0])
                raise ValueError(
                    f"element {element} takes sites {a} and {b} to {moved[a]} and {moved[b]}: their couplings are "
                    f"{couplings[a, b]:.6g} and {couplings[moved[a], moved[b]]:.6g}, so this is no symmetry here; "
                    "pass one that is, such as Symmetry.cyclic of the lattice of patches"
                )


def square_patches(shape: tuple[int, ...], width: int) -> np.ndarray:
    """The sites of cubic patches of a lattice, row-major: what `Symmetry.check` wants.

    Parameters
    ----------
    shape : tuple of int
        Lengths of the lattice.
    width : int
        Of a patch, along every axis.

    Returns
    -------
    ndarray of int64, shape (patches, sites of a patch)

    Raises
    ------
    ValueError
        If patches do not tile the lattice.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.attention.square_patches((4, 4), 2).tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    """
    if width < 1 or any(n < 1 or n % width for n in shape) or not shape:
        raise ValueError(f"patches of width {width} do not tile a lattice of shape {shape}")
    sites = np.arange(math.prod(shape)).reshape([n for length in shape for n in (length // width, width)])
    order = [*range(0, 2 * len(shape), 2), *range(1, 2 * len(shape), 2)]
    return sites.transpose(order).reshape(-1, width ** len(shape))
