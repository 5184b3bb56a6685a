"""The environment variables that tell numeric libraries how many threads to start, and who decides what they say.

What the submitting process has in its environment is the user's decision and counts; all others are the pool's.
"""

from __future__ import annotations

from collections.abc import Mapping

_GENERAL = "OMP_NUM_THREADS"
"""OpenMP's own; those that have a variable of their own look at this one, too, if that is not set."""
_FOLLOWERS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_NUMBA = "NUMBA_NUM_THREADS"
_JOBLIB = "LOKY_MAX_CPU_COUNT"
"""joblib counts these cores for ``n_jobs=-1``."""
THREAD_VARIABLES = (_GENERAL, *_FOLLOWERS, _NUMBA, _JOBLIB)

VARIABLE_OF = {
    "openmp": _GENERAL,
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
    "flexiblas": _GENERAL,
    "numexpr": "NUMEXPR_NUM_THREADS",
    "numba": _NUMBA,
}
"""By the names that threadpoolctl gives them."""


def single_threaded(environ: Mapping[str, str]) -> dict[str, str]:
    """*environ* for a process from which others are forked: threads that a library starts would not be in these."""
    return {**environ, **dict.fromkeys(THREAD_VARIABLES, "1")}


def budgeted(environ: Mapping[str, str], share: int, cores: int) -> dict[str, str]:
    """The variables to add to the user's *environ* for runs that may keep *share* of *cores* cores busy.

    Numba reads its variable once, as the most that it can ever be told to use.
    """
    follow = bool(environ.get(_GENERAL))
    free = [name for name in THREAD_VARIABLES if not environ.get(name) and not (follow and name in _FOLLOWERS)]
    return {name: str(cores if name == _NUMBA else share) for name in free}


def limits(environ: Mapping[str, str], share: int) -> dict[str, int]:
    """How many threads each library of ``VARIABLE_OF`` is to use, once it is loaded."""
    found = {}
    for library, variable in VARIABLE_OF.items():
        names = (variable, _GENERAL) if variable in _FOLLOWERS else (variable,)
        said = next((environ[name] for name in names if environ.get(name)), "")
        # A list: threads of each level of nested regions.
        first = said.partition(",")[0].strip()
        found[library] = int(first) if first.isdecimal() and int(first) else share
    return found
