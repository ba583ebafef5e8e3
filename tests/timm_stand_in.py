"""timm, also beside a torchvision that cannot be imported, which timm asks for and hardly uses."""
import enum
import sys
import types

import pytest

REASON = "compares with timm: pip install -e '.[peers]'"


class InterpolationMode(enum.Enum):
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def timm():
    """The module timm; skips the test where there is none."""
    pytest.importorskip("torch", reason=REASON)
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # a wheel for another build of torch
        install_stand_ins()
    return pytest.importorskip("timm", reason=REASON)


def install_stand_ins():
    """Empty modules in place of torchvision's, with the names that timm imports."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]

    class Anything(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    names = ("", ".transforms", ".transforms.functional", ".datasets", ".datasets.folder", ".ops", ".ops.misc",
             ".models",
             ".models.feature_extraction", ".utils")
    for name in names:
        module = Anything(f"torchvision{name}")
        module.__path__, module.__version__ = [], "0"
        sys.modules[f"torchvision{name}"] = module
    for name in names[1:]:
        parent, _, leaf = f"torchvision{name}".rpartition(".")
        setattr(sys.modules[parent], leaf, sys.modules[f"torchvision{name}"])
    sys.modules["torchvision.transforms"].InterpolationMode = InterpolationMode
    sys.modules["torchvision.transforms.functional"].InterpolationMode = InterpolationMode
