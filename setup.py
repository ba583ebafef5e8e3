"""Packaging: `pip install -e .` runs the experiments, `pip install -e '.[test]'` also the tests."""
import pathlib

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

version = {}
exec((pathlib.Path(__file__).parent / "ls_jax" / "version.py").read_text(), version)


class WithConfigs(build_py):
    """Puts configs/ into a built package; an editable one has it beside itself."""

    def run(self):
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            target = pathlib.Path(self.build_lib, "ls_jax", "configs")
            target.mkdir(exist_ok=True)
            for file in pathlib.Path("configs").glob("*.py"):
                self.copy_file(str(file), str(target / file.name))


setup(
    name="ls_jax",
    version=version["__version__"],
    description="When does label smoothing help? Train, measure and explain it, in JAX.",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    cmdclass={"build_py": WithConfigs},
    packages=find_packages(include=["ls_jax", "ls_jax.*"]),
    # An editable install is then this directory on sys.path. Without it, setuptools installs an import hook, which
    # comes after sys.path:
    # beside a clone that is named ls_jax, Python would take the clone, which has no __init__.py, for the package.
    package_dir={"": "."},
    entry_points={"console_scripts": ["ls_jax = ls_jax.__main__:start"]},
    package_data={"": ["*.html"], "ls_jax.data.sources": ["*.npz"], "ls_jax.report": ["templates/*"]},
    python_requires=">=3.11",
    install_requires=[
        "jax",                      # 0.10 on Python 3.11, 0.12 from 3.12
        "flax",
        "optax",
        "orbax-checkpoint",
        "ml-collections",
        "tensorflow-datasets",
        "array-record",             # which tensorflow-datasets reads with, and does not ask for
        "importlib-resources",      # the same
        "matplotlib",
        "jinja2",                   # the page, and markupsafe with it
        "scipy",
        "threadpoolctl",            # small fits on one BLAS thread
        "pillow",
        "tqdm",
        "tensorboardX",             # event files without TensorFlow
        "jaxtyping",
    ],
    extras_require={
        "test": ["pytest", "pytest-xdist", "hypothesis", "beartype", "playwright", "axe-playwright-python",
                 "sentencepiece", "sacrebleu", "nbclient", "ipykernel", "simplejpeg", "opencv-python-headless",
                 "pip", "setuptools>=70.1", "ruff"],
        # Libraries that the tests and benchmarks compare with.
        "peers": ["torch==2.13.0", "scikit-learn", "torchmetrics", "netcal", "uncertainty-calibration", "relplot",
                  "safetensors"],
        "wandb": ["wandb"],                          # --config.log.writers='("wandb",)'
        "mlflow": ["mlflow"],
        "docs": ["mkdocs", "mkdocstrings[python]"],
        "translation": ["sentencepiece", "sacrebleu"],
        "import": ["safetensors"],                   # python -m ls_jax.modes.import_timm
        "imagenet": ["simplejpeg", "opencv-python-headless"],  # JPEGs of many sizes
        "prepare": ["tensorflow-cpu"],               # making TFDS builds; reading them needs no TensorFlow
        "tpu": ["jax[tpu]"],
        "gpu": ["jax[cuda13]"],
    },
)
