"""The Transformer in PyTorch's own layers, for tests and benchmarks: batch first, norms first, weights ported from
ls_jax."""

import math

import numpy as np
import torch
from torch import nn


class Transformer(nn.Module):
    """`nn.TransformerEncoder` and `nn.TransformerDecoder` over one embedding; takes the fields of `Tokens` as
    tensors."""

    def __init__(self, vocabulary, layers=6, width=512, feed_forward=2048, heads=8, dropout=0.1):
        super().__init__()
        options = dict(dim_feedforward=feed_forward, dropout=dropout, layer_norm_eps=1e-6, batch_first=True,
                       norm_first=True)
        norms = [nn.LayerNorm(width, eps=1e-6) for _ in range(2)]
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, heads, **options), layers,
                                             norms[0], False)
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
        # padding's is zero, its output weights are not
        vectors = self.embedding(ids) * (ids != 0)[..., None] * self.width**0.5
        return self.drop(vectors + torch.cat([angles.sin(), angles.cos()], -1))

    def hidden_from(self, queries, keys):
        """The keys of other sentences, as attention wants them; padding sees everything, since seeing nothing is
        NaN."""
        mask = (queries[:, :, None] != keys[:, None]) & (queries > 0)[:, :, None]
        return mask.repeat_interleave(self.heads, 0)

    def forward(self, source, source_segments, source_positions, target, target_segments, target_positions):
        memory = self.encoder(self.embed(source, source_positions),
                              mask=self.hidden_from(source_segments, source_segments))
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        features = self.decoder(self.embed(target, target_positions), memory,
                                tgt_mask=self.hidden_from(target_segments, target_segments) | later,
                                memory_mask=self.hidden_from(target_segments, source_segments))
        return features @ self.embedding.weight.T, features

    @torch.no_grad()
    def beam_search(self, source, limits, beams, alpha=0.6):
        """The best hypothesis [sentences, most tokens] of each source; tensor2tensor's rules, a cache that grows and is
        reordered."""
        rows, present = len(source), source > 0
        positions = torch.arange(source.shape[1]).expand_as(source)
        memory = self.encoder(self.embed(source, positions), src_key_padding_mask=~present)
        past = [_Past(layer, memory, beams) for layer in self.decoder.layers]
        allowed = present.repeat_interleave(beams, 0)[:, None, None]
        penalty = lambda length: ((5 + length) / 6) ** alpha
        alive, log_probs = torch.zeros(rows, beams, 0, dtype=torch.long), torch.full((rows, beams), -math.inf)
        log_probs[:, 0] = 0
        best, best_score = torch.zeros(rows, int(limits.max()), dtype=torch.long), torch.full((rows,), -math.inf)
        cut = best.clone()  # what is alive when a sentence reaches its limit
        for at in range(int(limits.max())):
            going = (at < limits) & ~(best_score > log_probs[:, 0] / penalty(limits))
            if not going.any():
                break
            last = alive[:, :, -1].reshape(-1, 1) if at else torch.zeros(rows * beams, 1, dtype=torch.long)
            x = self.embed(last, torch.tensor([[at]]))
            for layer, own in zip(self.decoder.layers, past):
                x = own.step(layer, x, allowed)
            logits = self.decoder.norm(x)[:, 0] @ self.embedding.weight.T
            grown = (log_probs.flatten()[:, None] + torch.log_softmax(logits, -1)).view(rows, -1)
            values, index = grown.topk(2 * beams)
            parents, ids = index // logits.shape[-1], index % logits.shape[-1]
            ended = ids == 1
            score, which = (values.masked_fill(~ended, -math.inf) / penalty(at + 1)).max(1)
            for row in torch.nonzero(going & (score > best_score)).flatten():
                best[row, :at], best[row, at] = alive[row, parents[row, which[row]]], 1
                best_score[row] = score[row]
            log_probs, chosen = values.masked_fill(ended, -math.inf).topk(beams)
            parents, ids = parents.gather(1, chosen), ids.gather(1, chosen)
            alive = torch.cat([alive.gather(1, parents[..., None].expand(-1, -1, at)), ids[..., None]], -1)
            done = at + 1 == limits
            cut[done, :at + 1] = alive[done, 0]
            flat = (torch.arange(rows)[:, None] * beams + parents).flatten()
            for own in past:
                own.reorder(flat)
        return torch.where((best_score > -math.inf)[:, None], best, cut)


class _Past:
    """A decoder layer's keys and values: those of the source, and those of the steps before."""

    def __init__(self, layer, memory, beams):
        self.heads, self.keys, self.values = layer.self_attn.num_heads, None, None
        _, key, value = layer.multihead_attn.in_proj_weight.chunk(3)
        self.source = [self.split(memory @ kernel.T).repeat_interleave(beams, 0) for kernel in (key, value)]

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def step(self, layer, x, allowed):
        query, key, value = (self.split(y) for y in (layer.norm1(x) @ layer.self_attn.in_proj_weight.T).chunk(3, -1))
        self.keys = key if self.keys is None else torch.cat([self.keys, key], 2)
        self.values = value if self.values is None else torch.cat([self.values, value], 2)
        join = lambda y: y.transpose(1, 2).flatten(2)
        attend = nn.functional.scaled_dot_product_attention
        x = x + layer.self_attn.out_proj(join(attend(query, self.keys, self.values)))
        query = self.split(layer.norm2(x) @ layer.multihead_attn.in_proj_weight.chunk(3)[0].T)
        x = x + layer.multihead_attn.out_proj(join(attend(query, *self.source, attn_mask=allowed)))
        return x + layer.linear2(layer.linear1(layer.norm3(x)).relu())

    def reorder(self, flat):
        self.keys, self.values = self.keys[flat], self.values[flat]


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
