"""Weights from PyTorch: timm's own network and a ResNet in the layout that repositories share give what ours gives."""
import jax
import ml_dtypes
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax.data.batch import Batch
from ls_jax.errors import UserError
from ls_jax.modes import import_timm
from ls_jax.training import metrics, sweep
from ls_jax.training import step as steps
from ls_jax.training.state import State
from ls_jax.workdir import checkpoint
from tests import timm_stand_in

safetensors = pytest.importorskip("safetensors.numpy", reason="reads weights: pip install -e '.[peers]'")


@pytest.fixture
def config():
    config = configs.default()
    config.sweep.alpha, config.sweep.seed = (0.0,), (0,)
    return config


def randomize(network, torch):
    """Batch norm's parameters and statistics at random, and kernels that keep a signal as large as it is, so that all
    layers are seen."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.5, 0.5),
                                      (module.running_mean, -0.5, 0.5),
                                      (module.running_var, 0.5, 2.0)):
                torch.nn.init.uniform_(tensor, low, high)


def measure(network, torch, images):
    """Running statistics near those of the images at every layer: else their difference is lost in a deep random
    network."""
    network.train()
    with torch.no_grad():
        norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        network(images)
        for norm in norms:
            norm.running_mean += norm.running_var.sqrt() * torch.empty_like(norm.running_mean).uniform_(-0.5, 0.5)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 2.0)
    network.eval()


def pictures(size, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def predicted(workdir, config, images, classes):
    """What the imported checkpoint's first member says."""
    functions = steps.build_step(config, classes, images.shape[1:], axis_name=None)
    state = checkpoint.load_member(workdir, 0)
    abstract = jax.eval_shape(functions.init, sweep.take(sweep.grid(config), 0))
    state = State(**{name: state.get(name, {}) for name in abstract.__dict__} | {"sums": metrics.zeros()})
    labels = np.zeros(len(images), np.int32)
    return jax.jit(functions.predict)(state, Batch(images, labels, labels))


def test_inception_gives_timms_logits_and_features(config, tmp_path):
    """Through file and checkpoint, at every layer's random statistics."""
    timm = timm_stand_in.timm()
    import torch
    network = timm.create_model("inception_v4", pretrained=False, num_classes=10)
    randomize(network, torch)
    images = pictures(75)
    inputs = torch.tensor(images / np.float32(127.5) - 1).permute(0, 3, 1, 2)
    measure(network, torch, inputs)
    safetensors.save_file({name: tensor.numpy() for name, tensor in network.state_dict().items()},
                          tmp_path / "timm.safetensors")
    config.model = dict(name="inception_v4")
    config.data.update(image_size=75, normalize="symmetric")
    import_timm.run([str(tmp_path / "timm.safetensors")], tmp_path / "run", config)
    with torch.no_grad():
        maps = network.forward_features(inputs)
        features, logits = maps.mean((2, 3)), network.forward_head(maps)
    output = predicted(tmp_path / "run", config, images, 10)
    assert output.features.shape == (2, 1536)
    scale = float(features.abs().max())
    assert (features[0]
            - features[1]).abs().max() > 0.05 * scale, "the pictures are not told apart: early layers are not tested"
    np.testing.assert_allclose(output.features / scale, features / scale, atol=1e-4)
    np.testing.assert_allclose(output.logits / scale, logits / scale, atol=1e-4)


def common_resnet(torch, blocks, widths, classes):
    """A CIFAR ResNet as PyTorch repositories write it, with He et al.'s shortcuts without parameters."""
    from torch import nn

    class Basic(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
            self.stride, self.added = stride, outputs - inputs

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            short = x[:, :, ::self.stride, ::self.stride]
            return torch.relu(y + nn.functional.pad(short, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
            inputs = widths[0]
            for group, width in enumerate(widths, 1):
                chain = [Basic(inputs if i == 0 else width, width, 2 if i == 0 and group > 1 else 1)
                         for i in range(blocks)]
                setattr(self, f"layer{group}", nn.Sequential(*chain))
                inputs = width
            self.linear = nn.Linear(inputs, classes)

        def forward(self, x):
            x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
            features = x.mean((2, 3))
            return self.linear(features), features

    return Net()


def small(config):
    config.model = dict(name="resnet", style="he", blocks=2, widths=(4, 8, 12), stem=4)
    return config


def test_a_cifar_resnet_gives_pytorchs_logits_and_features(config, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    network = common_resnet(torch, 2, (4, 8, 12), 7).eval()
    randomize(network, torch)
    safetensors.save_file({name: tensor.numpy() for name, tensor in network.state_dict().items()},
                          tmp_path / "resnet.safetensors")
    import_timm.run([str(tmp_path / "resnet.safetensors")], tmp_path / "run", small(config))
    images = pictures(32)
    with torch.no_grad():
        logits, features = network(torch.tensor(images / np.float32(255)).permute(0, 3, 1, 2))
    output = predicted(tmp_path / "run", config, images, 7)
    np.testing.assert_allclose(output.features, features, atol=1e-4)
    np.testing.assert_allclose(output.logits, logits, atol=1e-4)


@pytest.fixture
def tensors(config):
    """Those of the small ResNet, by PyTorch's names."""
    functions = steps.build_step(small(config), 7, (32, 32, 3), axis_name=None)
    state = jax.eval_shape(functions.init, sweep.take(sweep.grid(config), 0))
    naming, rng = import_timm.resnet_name({}), np.random.default_rng(0)
    from ls_jax.workdir.checkpoint_format import flatten
    named = {naming(path.split("/")): leaf.shape for tree in (state.params, state.stats)
             for path, leaf in flatten(tree).items()}
    theirs = lambda shape: (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
    return {name: rng.normal(size=theirs(shape)).astype(np.float32) for name, shape in sorted(named.items())}


@pytest.mark.parametrize("change,message", [
    (lambda t: t.pop("layer2.1.bn1.running_var"), "has no tensor 'layer2.1.bn1.running_var'"),
    (lambda t: t.update({"layer3.0.conv1.weight": np.zeros((12, 8, 1, 1), np.float32)}),
     "'layer3.0.conv1.weight' is [12, 8, 1, 1], which does not fit the config's group3_block1/conv1/kernel [3, 3, 8, "
     "12]"),
    (lambda t: t.update({"layer2.0.downsample.0.weight": np.zeros((8, 4, 1, 1), np.float32)}),
     "no place for the tensor 'layer2.0.downsample.0.weight' [8, 4, 1, 1]"),
    (lambda t: t["bn1.weight"].fill(np.nan), "'bn1.weight' holds values that are not finite"),
    (lambda t: t.pop("linear.bias"), "has no output layer"),
])
def test_what_does_not_fit_is_named_and_nothing_is_written(config, tensors, tmp_path, change, message):
    change(tensors)
    file = tmp_path / "weights.safetensors"
    safetensors.save_file(tensors, file)
    with pytest.raises(UserError) as error:
        import_timm.run([str(file)], tmp_path / "run", small(config))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_truncated_file_names_the_tensor_it_ends_in(tensors, tmp_path):
    file = tmp_path / "weights.safetensors"
    safetensors.save_file(tensors, file)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="weights.safetensors is not a whole safetensors file, cut off in the tensor"):
        import_timm.read(file)
    file.write_bytes(b"short")
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        import_timm.read(file)
    with pytest.raises(UserError, match="absent.safetensors does not exist"):
        import_timm.read(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_floats_of_every_type_are_read(config, tensors, tmp_path, dtype):
    tensors["linear.bias"] = tensors["linear.bias"].astype(dtype)
    safetensors.save_file(tensors, tmp_path / "weights.safetensors")
    import_timm.run([str(tmp_path / "weights.safetensors")], tmp_path / "run", small(config))
    bias = checkpoint.load_member(tmp_path / "run", 0)["params"]["head"]["bias"]
    np.testing.assert_array_equal(bias, tensors["linear.bias"].astype(np.float32))


@pytest.mark.parametrize("change, message", [
    (lambda t: t.update({"bn1.weight": np.zeros(4, np.int64)}), "'bn1.weight' has dtype int64: float32 is due"),
    (lambda t: t.update({"bn1.weight": np.zeros(4, np.complex64)}), "'bn1.weight' has dtype complex64: float32 is due"),
    (lambda t: t.update({"bn1.weight": np.zeros(4, bool)}), "'bn1.weight' has dtype bool"),
    (lambda t: t.update({"bn1.weight": np.full(4, 1e39)}), "'bn1.weight' holds values that are not finite"),
    (lambda t: t.update({"linear.bias": np.asarray(1, np.float32)}), "the tensor"),
])
def test_odd_tensors_are_refused(config, tensors, tmp_path, change, message):
    change(tensors)
    safetensors.save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError) as error:
        import_timm.run([str(tmp_path / "weights.safetensors")], tmp_path / "run", small(config))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_header_is_refused_or_changes_nothing(tmp_path):
    """The format has no checksum: only the header's damage can be found."""
    file, expected = tmp_path / "weights.safetensors", {"a": np.arange(6, dtype=np.float32).reshape(2, 3),
                                                        "b": np.ones(2, np.float32)}
    safetensors.save_file(expected, file)
    content = file.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    for position in range(length):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            file.write_bytes(changed)
            try:
                found = import_timm.read(file)
            except UserError as error:
                assert str(file) in str(error) and "\n" not in str(error)
                continue
            # names and shapes may be others: they must fit a network
            assert sum(array.size for array in found.values()) == 8
    for header in (b"[]", b"null", b"{", b'{"a": 3}', b"[" * 5000,
                   b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
                   b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}'):
        file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
        with pytest.raises(UserError, match="is not a whole safetensors file"):
            import_timm.read(file)


def test_one_file_for_each_member_and_no_checkpoint_overwritten(config, tensors, tmp_path):
    file = tmp_path / "weights.safetensors"
    safetensors.save_file(tensors, file)
    small(config).sweep.alpha = (0.0, 0.1)
    with pytest.raises(UserError, match="1 files for a sweep of 2"):
        import_timm.run([str(file)], tmp_path / "run", config)
    import_timm.run([str(file)] * 2, tmp_path / "run", config)
    assert checkpoint.Checkpoints(tmp_path / "run").steps() == [config.steps]
    np.testing.assert_array_equal(checkpoint.load_member(tmp_path / "run", 1)["params"]["head"]["bias"],
                                  tensors["linear.bias"])
    with pytest.raises(UserError, match="holds checkpoints already"):
        import_timm.run([str(file)] * 2, tmp_path / "run", config)
