"""A checkpoint from PyTorch weights: `python -m ls_jax.modes.import_timm FILE.safetensors [...] --workdir=DIR`

There is one file for each member of the config's sweep, in order. A file holds a state dict of timm's `inception_v4`,
or of a ResNet for CIFAR with the names that PyTorch repositories share (conv1, bn1, layer1.0.conv1, ..., linear or fc;
shortcuts without parameters, our style "he"). The default config is configs/imagenet_inception.py:timm, the paper's
ImageNet network; --config names another. The checkpoint is saved as the config's last step, so that `--mode=study`
with the same --config and --workdir studies it like any other.
"""
import functools
import json
import pathlib
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from ls_jax import checked
from ls_jax import config as configs
from ls_jax.errors import UserError, first_line
from ls_jax.models import inception
from ls_jax.training import step, sweep
from ls_jax.workdir import checkpoint, lock
from ls_jax.workdir.checkpoint_format import flatten, nest

DEFAULT_CONFIG = "configs/imagenet_inception.py"
HEADS = ("last_linear", "linear", "fc")
SMALL = 32  # pixels; weights do not depend on the size of the images
LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def run(files: list[str], workdir: pathlib.Path, config: ml_collections.ConfigDict | None = None) -> None:
    """Read the files, check every tensor, and write the checkpoint. The default config is the ImageNet network's.

    Raises:
        UserError: a file is missing or damaged, a tensor does not fit, or the workdir has checkpoints already.
    """
    config = config or configs.load(DEFAULT_CONFIG, "timm")
    configs.validate(config)
    hyper = sweep.grid(config)
    if len(files) != len(hyper["seed"]):
        raise UserError(f"{len(files)} files for a sweep of {len(hyper['seed'])}: name one file for each member, or "
                        "set config.sweep")
    with lock.held(workdir):
        _write(files, workdir, config, hyper)


def _write(files, workdir, config, hyper):
    if (workdir / "checkpoints").exists():
        raise UserError(f"{workdir} holds checkpoints already: choose another --workdir")
    members = []
    for member, file in enumerate(files):
        tensors = read(file)
        size = config.data.image_size or SMALL
        functions = step.build_step(config, _classes(tensors, file), (size, size, 3), axis_name=None)
        state = jax.eval_shape(functions.init, sweep.take(hyper, member))
        params, stats = convert(tensors, state.params, state.stats, file)
        state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
        members.append(state.__class__(step=np.int32(config.steps), params=params, stats=stats,
                                       ema=params if config.optimizer.ema else {}, opt=state.opt, sums=state.sums,
                                       diverged=np.int32(-1)))
    with checkpoint.Checkpoints(workdir) as held:
        held.save(config.steps, jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *members))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{count:,} parameters of {len(files)} network{'s' * (len(files) > 1)} are in {held.directory}; --mode=study "
          "with this config and workdir evaluates them")


def read(file: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name.

    The format has no checksum. Damage is detected only if the header does not fit the file's length, or a number is
    not finite.

    Raises:
        UserError: it is missing or damaged; names the first incomplete tensor.
    """
    tensors: dict[str, np.ndarray] = {}
    try:
        from safetensors import safe_open
        with safe_open(file, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is no dict)
                tensors[name] = opened.get_tensor(name)
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist") from error
    except ModuleNotFoundError as error:
        raise UserError("reading weights needs: pip install safetensors") from error
    except Exception as error:  # safetensors and NumPy raise several kinds for damaged files
        raise UserError(f"{file} is not a whole safetensors file{_cut_at(file)}: {first_line(error)}") from error
    return tensors


def _cut_at(file):
    """", cut off in the tensor NAME", if the header is complete and says that the file should be longer."""
    try:
        content = pathlib.Path(file).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:8 + length])
        ends = sorted((entry["data_offsets"][1], name) for name, entry in header.items() if name != "__metadata__")
        return next((f", cut off in the tensor {name!r}" for end, name in ends if 8 + length + end > len(content)), "")
    except Exception:  # the header is no table of tensors
        return ""


def _classes(tensors, file):
    """The number of classes of the output layer."""
    for name in HEADS:
        if f"{name}.bias" in tensors:
            return np.size(tensors[f"{name}.bias"])
    raise UserError(f"{file} has no output layer, none of the tensors {', '.join(f'{name}.bias' for name in HEADS)}")


def convert(tensors: Mapping[str, np.ndarray], params: Any, stats: Any, file: str = "the file") -> tuple[Any, Any]:
    """Our (params, stats), as nested dicts of float32 arrays, from a PyTorch state dict.

    Args:
        tensors: by PyTorch's names; convolutions [out, in, height, width], linear layers [out, in].
        params, stats: the network's trees of arrays or of `jax.ShapeDtypeStruct`.
        file: the tensors' source, for messages.

    Raises:
        UserError: a tensor is missing, has another shape, is not finite, or has no place: names the first.
    """
    naming = timm_name if "stem" in params else resnet_name(tensors)
    unused = {name for name in tensors if not name.endswith("num_batches_tracked")}
    found = []
    for tree in (params, stats):
        flat = {}
        for path, leaf in flatten(tree).items():
            name = naming(path.split("/"))
            flat[path] = _fitting(tensors, name, path, leaf.shape, file)
            unused.discard(name)
        found.append(nest(flat) if flat else {})
    if unused:
        first = next(name for name in tensors if name in unused)
        raise UserError(f"{file}: the network has no place for the tensor {first!r} {list(tensors[first].shape)}: is "
                        "it another network?")
    return found[0], found[1]


def _fitting(tensors, name, path, shape, file):
    if name not in tensors:
        raise UserError(f"{file} has no tensor {name!r}, which the network's {path} {list(shape)} is read from: is it "
                        "another network?")
    tensor = np.asarray(tensors[name])
    if not checked.is_floating(tensor.dtype):
        raise UserError(f"{file}: the tensor {name!r} has dtype {tensor.dtype}: float32 is due")
    with np.errstate(over="ignore"):
        tensor = tensor.astype(np.float32)
    ours = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    if ours.shape != tuple(shape):
        raise UserError(f"{file}: the tensor {name!r} is {list(tensor.shape)}, which does not fit the config's {path} "
                        f"{list(shape)}")
    if not np.isfinite(ours).all():
        raise UserError(f"{file}: the tensor {name!r} holds values that are not finite")
    return np.ascontiguousarray(ours)


def timm_name(path: list[str]) -> str:
    """timm's name of our parameter or statistic with this path, such as mixed5b, branch1_0, conv, kernel."""
    *layer, part, leaf = path
    if part == "head":
        return f"last_linear.{LEAF[leaf]}"
    known = _timm_layers()
    if "/".join(layer) not in known:
        return ".".join(path)  # an auxiliary classifier's, which timm's network lacks
    return f"{known['/'.join(layer)]}.{'bn' if part == 'norm' else part}.{LEAF[leaf]}"


@functools.cache
def _timm_layers():
    """{our layer: timm's}. timm has no number for a branch of one layer, and a layer for each average pooling."""
    layers = {f"stem/branch0_{i}": f"features.{i}" for i in range(3)}
    for place, (block, branches) in enumerate(list(inception.plan((4, 7, 3)).items())[1:], 3):
        for b, branch in enumerate(branches):
            for i, layer in enumerate(branch):
                own = f".branch{b}"
                if block in ("mixed3a", "mixed5a"):
                    own = ".conv"
                elif len(branch) == 1:
                    own += ".1" if isinstance(layer, inception.Conv) and layer.average else ""
                else:
                    own += f"_{i}" if block in ("mixed7b", "mixed7c", "mixed7d") else f".{i}"
                for pair in ("",) if isinstance(layer, inception.Conv) or layer == inception.POOL else ("a", "b"):
                    layers[f"{block}/branch{b}_{i}{pair}"] = f"features.{place}{own}{pair}"
    return layers


def resnet_name(tensors: Mapping[str, Any]) -> Callable[[list[str]], str]:
    """The function from our names in a ResNet to PyTorch's, where the output layer is called linear or fc."""
    head = "fc" if "fc.bias" in tensors else "linear"

    def name(path: list[str]) -> str:
        *layers, leaf = path
        if layers == ["head"]:
            return f"{head}.{LEAF[leaf]}"
        block = re.fullmatch(r"group(\d+)_block(\d+)", layers[0])
        prefix = f"layer{block[1]}.{int(block[2]) - 1}." if block else ""
        own = layers[-1] if block else f"{layers[-1]}1"  # the stem's are conv1 and bn1
        return f"{prefix}{own.replace('norm', 'bn')}.{LEAF[leaf]}"

    return name


if __name__ == "__main__":
    from ls_jax.main import start
    start(run)
