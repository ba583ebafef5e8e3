"""Small problems of linear algebra on one thread.

BLAS shares out even the work of a 20 × 20 system, and its threads wait for each other by spinning. Where another
program wants the cores, a fit of 4 ms so takes 200 ms (`recalibration`, two cores). Large products keep their threads.
"""
import functools
from contextlib import AbstractContextManager

import threadpoolctl


def one_thread() -> AbstractContextManager:
    """A context in which BLAS and LAPACK use the calling thread alone."""
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller():
    """It looks for the loaded libraries once, which takes some milliseconds."""
    import scipy.optimize  # noqa: F401  (SciPy brings a BLAS of its own)
    return threadpoolctl.ThreadpoolController()
