"""The same networks written independently in PyTorch, for tests and benchmarks: NCHW, attributes named as in
ls_jax.models."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    """Fully-connected ReLU network on images flattened in NHWC order."""

    def __init__(self, num_classes, image_shape, hidden=(1200, 1200)):
        super().__init__()
        inputs = int(np.prod(image_shape))
        for i, units in enumerate(hidden, 1):
            self.add_module(f"dense{i}", nn.Linear(inputs, units))
            inputs = units
        self.depth = len(hidden)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1).flatten(1)
        for i in range(1, self.depth + 1):
            x = F.relu(getattr(self, f"dense{i}")(x))
        return self.head(x), x


class AlexNet(nn.Module):
    """The network of TensorFlow's CIFAR-10 tutorial."""

    def __init__(self, num_classes, image_shape):
        super().__init__()
        height, width, channels = image_shape
        self.conv1 = nn.Conv2d(channels, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 64, 5, padding=2)
        self.norm = nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
        self.dense1 = nn.Linear(-(-height // 4) * -(-width // 4) * 64, 384)
        self.dense2 = nn.Linear(384, 192)
        self.head = nn.Linear(192, num_classes)

    def forward(self, x):
        x = self.norm(same_max_pool(F.relu(self.conv1(x))))
        x = same_max_pool(self.norm(F.relu(self.conv2(x))))
        x = F.relu(self.dense1(x.permute(0, 2, 3, 1).flatten(1)))
        x = F.relu(self.dense2(x))
        return self.head(x), x


def same_max_pool(x):
    """3x3 windows at stride 2 with TensorFlow's SAME padding: an even side is padded at its end only."""
    pads = [((-(-size // 2) - 1) * 2 + 3 - size) for size in x.shape[2:]]
    rows, columns = [(pad // 2, pad - pad // 2) for pad in pads]
    return F.max_pool2d(F.pad(x, (*columns, *rows), value=float("-inf")), 3, 2)


def conv(inputs, outputs, size, stride):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class PreActivationBlock(nn.Module):
    def __init__(self, inputs, outputs, first, stride):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3, 1)
        if first:
            self.shortcut, self.shortcut_norm = conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
        self.first = first

    def forward(self, x):
        y = F.relu(self.norm1(x))
        shortcut = self.shortcut_norm(self.shortcut(y)) if self.first else x
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(y))))


class PostActivationBlock(nn.Module):
    def __init__(self, inputs, outputs, first, stride):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.stride > 1 or self.added:
            before = self.added // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))
        return F.relu(x + y)


class ResNet(nn.Module):
    """Residual network for small images, of tensor2tensor or of He et al."""

    def __init__(self, num_classes, image_shape, blocks=9, widths=(32, 64, 128), stem=16, style="tensor2tensor"):
        super().__init__()
        block = PreActivationBlock if style == "tensor2tensor" else PostActivationBlock
        self.conv, self.norm = conv(image_shape[-1], stem, 3, 1), nn.BatchNorm2d(stem)
        self.names, inputs = [], stem
        for group, width in enumerate(widths, 1):
            for i in range(1, blocks + 1):
                self.names.append(f"group{group}_block{i}")
                self.add_module(self.names[-1], block(inputs, width, i == 1, 2 if i == 1 < group else 1))
                inputs = width
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        for name in self.names:
            x = getattr(self, name)(x)
        x = x.mean((2, 3))
        return self.head(x), x


class FastNet(nn.Module):
    """The speed record's network for CIFAR-10; its features are divided by their number."""

    def __init__(self, num_classes, image_shape, widths=(64, 256, 256)):
        super().__init__()
        inputs = 8 * image_shape[-1]
        self.whiten = nn.Conv2d(image_shape[-1], inputs, 2)
        self.whiten.weight.requires_grad_(False)
        self.blocks = len(widths)
        for layer, outputs in enumerate([width for width in widths for _ in range(2)], 1):
            self.add_module(f"conv{layer}", nn.Conv2d(inputs, outputs, 3, padding="same", bias=False))
            self.add_module(f"norm{layer}", nn.BatchNorm2d(outputs, momentum=0.4))
            inputs = outputs
        self.head = nn.Linear(inputs, num_classes, bias=False)

    def forward(self, x):
        x = F.gelu(self.whiten(x))
        for layer in range(1, 2 * self.blocks + 1):
            x = getattr(self, f"conv{layer}")(x)
            x = F.max_pool2d(x, 2) if layer % 2 else x
            x = F.gelu(getattr(self, f"norm{layer}")(x))
        x = x.amax((2, 3)) / x.shape[1]
        return self.head(x), x


MODELS = {"mlp": MLP, "alexnet": AlexNet, "resnet": ResNet, "fastnet": FastNet}


@torch.no_grad()
def port(module: nn.Module, params: dict, stats: dict) -> nn.Module:
    """Copies the pure dicts of an ls_jax model into its twin; returns the twin."""
    targets = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    for name, child in module.named_children():
        arrays = params.get(name, {}) | stats.get(name, {})  # fixed filters are statistics
        if any(isinstance(array, dict) for array in arrays.values()):
            port(child, params[name], stats.get(name, {}))
            continue
        for kind, array in arrays.items():
            array = torch.tensor(np.asarray(array))
            if kind == "kernel":
                child.weight.copy_(array.T if array.ndim == 2 else array.permute(3, 2, 0, 1))
            else:
                getattr(child, targets[kind]).copy_(array)
    return module
