"""Words as a plain vector space: the TF-IDF baseline that prime states are compared with."""

from typing import Any

import numpy as np

from . import tokens
from .arrays import precision, row_numbers


def vocabulary(strings) -> list[str]:
    """The distinct words of the strings, sorted: the columns of `tfidf`.

    Parameters
    ----------
    strings : iterable of str

    Returns
    -------
    list of str
        Folded, in the order of code points.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.encode.vocabulary(["A cat.", "The cat!"])
    ['a', 'cat', 'the']
    """
    return sorted(tokens.tokenize(tokens.checked(strings)).words)


def tfidf(strings, *, dtype=np.float64) -> Any:
    """Word TF-IDF vectors of unit length; the product of the matrix with its transpose is the cosine similarity.

    Parameters
    ----------
    strings : iterable of str
    dtype : float32 or float64

    Returns
    -------
    scipy.sparse.csr_array, shape (n, vocabulary)
        Column j is ``vocabulary(strings)[j]``. A string without words has a row of zeros.

    Raises
    ------
    TypeError
        If ``strings`` is one str, or holds something else than str.

    Notes
    -----
    (1 + ln tf) (1 + ln (1 + n)/(1 + df)), normalised: sub-linear tf and smooth idf, no stop words, no stemming. Equal
    to scikit-learn's ``TfidfVectorizer(analyzer=pa.encode.words, sublinear_tf=True)``.

    Examples
    --------
    >>> import primeattn as pa
    >>> vectors = pa.encode.tfidf(["the cat sat", "the cat ran", "a dog"])
    >>> (vectors @ vectors.T).toarray().round(2)
    array([[1.  , 0.54, 0.  ],
           [0.54, 1.  , 0.  ],
           [0.  , 0.  , 1.  ]])
    """
    from scipy.sparse import csr_array

    dtype = precision(dtype)
    found = tokens.tokenize(tokens.checked(strings))
    n = len(found.indptr) - 1
    order = sorted(range(len(found.words)), key=found.words.__getitem__)
    column = np.empty(len(order), np.int64)
    column[order] = np.arange(len(order))
    matrix = csr_array((np.ones(len(found.ids)), column[found.ids], found.indptr), shape=(n, len(order)))
    matrix.sum_duplicates()
    idf = 1 + np.log((1 + n) / (1 + np.bincount(matrix.indices, minlength=len(order))))
    matrix.data = (1 + np.log(matrix.data)) * idf[matrix.indices]
    rows = row_numbers(matrix.indptr)
    matrix.data /= np.sqrt(np.bincount(rows, matrix.data**2, minlength=n))[rows]
    return matrix.astype(dtype)
