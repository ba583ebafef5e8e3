"""Eight fake CPU devices, strict dtypes, a compilation cache, and shapes checked against the annotations."""
import os
import pathlib
import tempfile

import tests.typecheck  # noqa: F401  # before the package, whose annotations it checks
from ls_jax.devices import cpu

cpu.choose_flags(cpu.EVERYTHING)  # as a ResNet has them
# workers have a core each: NumPy's and PyTorch's threads would spin, waiting for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR",
                      str(pathlib.Path(tempfile.gettempdir()) / "ls_jax-test-compilations"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# a third less time, most of which is compiling; 0: as users run it
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

pytest.register_assert_rewrite("tests.builds", "tests.runs")

# TEST_PLATFORM=cuda, with JAX_DEFAULT_MATMUL_PRECISION=highest: tests of models, losses and optimizers on a GPU
jax.config.update("jax_platforms", os.environ.get("TEST_PLATFORM", "cpu"))
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def unchecked():
    """Annotations are not checked, as users run: for what a function itself says of bad input."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def optimized():
    """Programs are compiled as users have them: their roundings are then what is tested."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def tiny():
    """A config that trains in seconds: two members on the digits."""
    from ls_jax import config as configs
    config = configs.default()
    config.steps, config.batch_size = 8, 16
    config.sweep.seed = (0,)
    config.model = dict(name="mlp", hidden=(16, 16), init_std=None)
    config.evaluate.train_examples = 100
    config.log.update(every=4, writers=())
    return config
