"""The Transformer in PyTorch's own layers, for tests and benchmarks: batch first, norms first, weights ported from ls_jax."""

import math

import numpy as np
import torch
from torch import nn


class Transformer(nn.Module):
    """`nn.TransformerEncoder` and `nn.TransformerDecoder` over one embedding; takes the fields of `Tokens` as tensors."""

    def __init__(self, vocabulary, layers=6, width=512, feed_forward=2048, heads=8, dropout=0.1):
        super().__init__()
        options = dict(dim_feedforward=feed_forward, dropout=dropout, layer_norm_eps=1e-6, batch_first=True, norm_first=True)
        norms = [nn.LayerNorm(width, eps=1e-6) for _ in range(2)]
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, heads, **options), layers, norms[0], False)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, heads, **options), layers, norms[1])
        self.embedding = nn.Embedding(vocabulary, width)
        self.drop, self.width, self.heads = nn.Dropout(dropout), width, heads
        for name, parameter in self.named_parameters():
            if name.endswith(("in_proj_bias", "out_proj.bias")):  # tensor2tensor's attention has none
                nn.init.zeros_(parameter).requires_grad_(False)

    def embed(self, ids, positions):
        half = self.width // 2
        scales = torch.exp(-math.log(1e4) / max(half - 1, 1) * torch.arange(half))
        angles = positions[..., None] * scales
        vectors = self.embedding(ids) * (ids != 0)[..., None] * self.width**0.5  # padding's is zero, its output weights are not
        return self.drop(vectors + torch.cat([angles.sin(), angles.cos()], -1))

    def hidden_from(self, queries, keys):
        """The keys of other sentences, as attention wants them; padding sees everything, since seeing nothing is NaN."""
        mask = (queries[:, :, None] != keys[:, None]) & (queries > 0)[:, :, None]
        return mask.repeat_interleave(self.heads, 0)

    def forward(self, source, source_segments, source_positions, target, target_segments, target_positions):
        memory = self.encoder(self.embed(source, source_positions), mask=self.hidden_from(source_segments, source_segments))
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        features = self.decoder(self.embed(target, target_positions), memory,
                                tgt_mask=self.hidden_from(target_segments, target_segments) | later,
                                memory_mask=self.hidden_from(target_segments, source_segments))
        return features @ self.embedding.weight.T, features


@torch.no_grad()
def port(module: Transformer, params: dict) -> Transformer:
    """Copies the pure dict of an ls_jax Transformer into its twin; returns the twin."""
    tensor = lambda x: torch.tensor(np.asarray(x))
    module.embedding.weight.copy_(tensor(params["embedding"]))
    for stack in ("encoder", "decoder"):
        twin = getattr(module, stack)
        _norm(twin.norm, params[f"{stack}_norm"])
        for i, layer in enumerate(twin.layers, 1):
            ours = params[f"{stack}{i}"]
            _attention(layer.self_attn, ours["attention"])
            _norm(layer.norm1, ours["attention_norm"])
            if stack == "decoder":
                _attention(layer.multihead_attn, ours["source_attention"])
                _norm(layer.norm2, ours["source_attention_norm"])
            _norm(layer.norm3 if stack == "decoder" else layer.norm2, ours["feed_forward_norm"])
            for theirs, name in ((layer.linear1, "dense1"), (layer.linear2, "dense2")):
                theirs.weight.copy_(tensor(ours["feed_forward"][name]["kernel"]).T)
                theirs.bias.copy_(tensor(ours["feed_forward"][name]["bias"]))
    return module


def _norm(theirs, ours):
    theirs.weight.copy_(torch.tensor(np.asarray(ours["scale"])))
    theirs.bias.copy_(torch.tensor(np.asarray(ours["bias"])))


def _attention(theirs, ours):
    kernels = [torch.tensor(np.asarray(ours[name]["kernel"])).T for name in ("query", "key", "value", "out")]
    theirs.in_proj_weight.copy_(torch.cat(kernels[:3]))
    theirs.out_proj.weight.copy_(kernels[3])
