"""What the export tests run over: every space that ships at a small size, and spaces written to be hard to export."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl import resources
from nasdsl.exporting.cases import random_inputs
from nasdsl.exporting.network import Network, network
from nasdsl.pipeline import SearchSpace, load, loads

SHIPPED = sorted(path.stem for path in resources.spaces().glob("*.nas"))
# Small enough to be run many times; what has no entry runs as it is.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "autoformer_tiny": {"classes": 10},
    "darts": {"width": 4, "layers": 5},
    "darts_none": {"width": 4, "layers": 5},
    "darts_rnn": {"hidden": 8, "embed": 8, "nodes": 4, "vocab": 20},
    "decoder_lm": {"layers": 3, "vocab": 20},
    "enas_macro": {"width": 8, "layers": 6},
    "enas_micro": {"width": 4, "cells": 1},
    "enas_rnn": {"hidden": 8, "embed": 8, "nodes": 5, "vocab": 20},
    "hierarchical": {"width": 8},
    "nasbench201": {"width": 4, "cells": 2},
    "ofa_mobilenetv3": {"classes": 10},
    "one_shot": {"width": 8, "cells": 4},
    "speech_1d": {"width": 16},
}

HARD: Mapping[str, str] = {
    "weights shared by uses in different bodies": """
op inner(x, f: op) = x -> relu -> f
space net(width = 4) {
  input x: [3, 8, 8]
  shared c = conv(3, kernel = 3)
  return x -> c -> inner(f = c) -> inner(f = c -> relu) -> global_avgpool
}""",
    "a body used twice with one set of weights": """
op block(x) = x -> conv(kernel = 3) -> batchnorm -> relu
space net(width = 4) {
  input x: [3, 8, 8]
  shared b = block
  y = b(x)
  return y + b(y)
}""",
    "an embedding whose weight is read in another body": """
op head(x, f: op) = x -> layernorm -> f
op encode(x) = x -> linear(6) -> relu
space net(width = 4) {
  input tokens: int[T]
  shared words = embedding(9, 6)
  return tokens -> words -> encode -> head(f = unembed(words))
}""",
    "two inputs and two outputs": """
op split(x) {
  a = x -> conv(4, kernel = 3)
  b = x -> conv(5, kernel = 1)
  return a, b
}
space net(width = 4) {
  input x: [3, 8, 8]
  input z: [3, 8, 8]
  a, b = split(x + z)
  c, d = split(x)
  logits = concat([a, b, c]) -> global_avgpool -> linear(10)
  aux = d -> global_maxpool
  return logits, aux
}""",
    "two scans with two states each": """
cell lstm(x, h: [D], c: [D]) {
  i = sigmoid(linear(D)(x) + linear(D)(h))
  f = sigmoid(linear(D)(x) + linear(D)(h))
  g = tanh(linear(D)(x) + linear(D)(h))
  o = sigmoid(linear(D)(x) + linear(D)(h))
  c = f * c + i * g
  h = o * tanh(c)
  return h, h, c
}
space net(hidden = 6) {
  input x: [T, 5]
  y = x -> scan(lstm, state = [[hidden], [hidden]])
  return y -> scan(lstm, state = [[hidden], [hidden]]) -> linear(3)
}""",
    "a scan over tokens named like its counter": """
space net(hidden = 6) {
  input t: int[T]
  op step(x, h: [D]) = tanh(linear(D)(x) + h)
  return t -> embedding(11, 6) -> scan(step, state = [hidden]) -> linear(3)
}""",
    "zeros in a scan, and a state that is left alone": """
op edge = none: zero | skip: identity | dense: linear(6)
cell rnn(x, h: [D], kept: [D]) {
  e = concat([edge(x), h])
  h = tanh(linear(D)(e) + kept)
  return x + edge(h), h, kept
}
space net(hidden = 6) {
  input x: [T, 6]
  return x -> scan(rnn, state = [[hidden], [hidden]]) -> linear(3)
}""",
    "repeated pipelines without a name": """
space net(width = 4) {
  input x: [3, 8, 8]
  y = x -> conv(width, kernel = 3) -> repeat(conv(kernel = 3) -> batchnorm -> relu, 4)
  z = y -> repeat(relu -> conv(kernel = 1), 2) -> repeat(conv(kernel=1), 3)
  return z -> repeat(avgpool(3), 3) -> repeat(tanh -> avgpool(3), 2) -> global_avgpool
}""",
    "repeats in repeats": """
cell node(x) = x -> relu -> conv(kernel = 3 | 1) -> batchnorm
op pair(x) = x -> repeat(node, 2) -> maxpool(3)
space net(width = 4) {
  input x: [4, 8, 8]
  return x -> repeat(pair, 3) -> repeat(repeat(node, 2), 1 | 2) -> global_avgpool
}""",
    "operations without weights": """
op smooth(k: int) = avgpool(k) -> tanh
op smooths = smooth(3) -> smooth(5)
space net(width = 4) {
  input x: [3, 8, 8]
  return x -> repeat(smooth(3), 4) -> smooths -> smooth(7) -> global_avgpool
}""",
    "nothing at all": """
space net(width = 4) {
  input x: [3, 8, 8]
  return x -> identity
}""",
    "names that Python or torch have taken": """
op forward(x) = x -> conv(kernel = 3) -> relu
op training(x) = x -> conv(kernel = 3) -> relu
op lambda(x, self) = x + (self -> conv(kernel = 1) -> relu)
op tensor(x) = x -> conv(kernel = 3) -> relu
op torch(x, torch) = x + tanh(torch)
op NET(x) = x -> conv(kernel = 3) -> relu -> tanh
space net(width = 4) {
  input image: [3, 8, 8]
  F = forward(image)
  nn = training(F)
  type = lambda(nn, F)
  range = tensor(type)
  parameters = NET(range)
  sum = torch(parameters, type)
  return sum -> global_avgpool
}""",
    "arithmetic whose brackets count": """
op gate(x) {
  g = sigmoid(x)
  return 1 - g
}
space net(width = 4) {
  input x: [3, 8, 8]
  y = 2 * x - x / 3 + (x - 1/7)
  z = (x - (y - x)) * (1 - gate(y)) / (2 + gate(x) * gate(x))
  s = x + (y + (z + x))
  m = max([x, y, z]) + mean([x, y]) - max([y, z])
  return -(s - m) * y -> upsample(2) -> flatten -> linear(4)
}""",
    "zeros that somebody reads": """
op edge = none: zero | skip: identity | conv: conv(kernel = 3)
space net(width = 4) {
  input x: [4, 8, 8]
  y = edge(x)
  z = concat([y, x, edge(x)]) -> conv(4, kernel = 1)
  return concat([z, edge(z)]) -> batchnorm -> global_avgpool -> linear(3)
}""",
    "zeros with a free dimension": """
op edge = none: zero | skip: identity | dense: linear(6)
space net(width = 4) {
  input x: int[T]
  y = embedding(9, 6)(x)
  return concat([edge(y), y], axis = 1) -> layernorm -> linear(3)
}""",
    "zeros whose size is a formula": """
op edge = none: (conv(3, kernel = 3, stride = 2) -> zero) | conv: conv(3, kernel = 3, stride = 2)
op dense = none: zero | dense: linear(6)
space net(width = 4) {
  input x: [3, T]
  input words: int[K]
  a = edge(x)
  b = dense(embedding(9, 6)(words))
  return (concat([a, edge(x)]) -> batchnorm), (concat([b, b], axis = 1) -> layernorm)
}""",
    "squeeze and excite at several sizes": """
op se(x: [C, H, W], r = 2) = x * (x -> global_avgpool -> linear(C // r) -> relu -> linear(C) -> sigmoid -> reshape([C, 1, 1]))
space net(width = 4) {
  input x: [4, 8, 8]
  return x -> se -> conv(8, kernel = 3) -> se -> conv(16, kernel = 1, bias = true) -> se(4) -> global_maxpool -> softmax
}""",
    "one axis": """
space net(width = 4) {
  input x: [4, L]
  return x -> conv(8, kernel = 3, stride = 2) -> batchnorm -> relu -> repeat(conv(kernel = 5) -> relu, 2)
    -> maxpool(3, stride = 2) -> conv(3, kernel = [3]) -> global_avgpool
}""",
    "three axes": """
space net(width = 4) {
  input x: [2, 8, 5, 6]
  return x -> conv(8, kernel = [1, 3, 3], stride = 2) -> batchnorm -> relu -> depthwise(3) -> shift(1) -> global_avgpool
}""",
    "one tensor for two inputs": """
op two(a, b) = (a -> conv(3, kernel = 1)) * (b -> conv(3, kernel = 3))
space net(width = 4) {
  input x: [3, 8, 8]
  y = two(x, x)
  z = two(x, y)
  return two(z, z) + two(y, x) -> global_avgpool
}""",
    "a long pipeline and long sums": """
op edge(x, k: int) = x -> conv(kernel = k) -> relu
space net(width = 4) {
  input x: [3, 8, 8]
  n = [edge(x, 1)]
  for i in 1..7 { n[i] = sum(edge(t, 3) for t in n) }
  return concat(n) -> batchnorm -> relu -> conv(4, kernel = 3) -> batchnorm -> relu -> conv(4, kernel = 3) -> relu
    -> tanh -> sigmoid -> global_avgpool -> linear(4) -> relu -> linear(3)
}""",
    "loops that swap, and one that is read in the middle": """
cell mix(a, b) = a * 2 + (b -> conv(kernel = 3))
cell layer(a) = a -> relu -> conv(kernel = 3)
space net(width = 4) {
  input x: [3, 8, 8]
  p = x
  q = relu(x)
  for i in 0..4 { p, q = q, mix(p, q) }
  for i in 0..4 { p, q = mix(q, p), p }
  r = p + q
  for i in 0..5 {
    r = layer(r)
    if i == 2 { middle = r }
  }
  return (r -> global_avgpool), (middle -> global_avgpool)
}""",
    "dropout": """
op drop(x, p: number) = x -> dropout(p) -> linear(4) -> dropout(p)
space net(width = 4) {
  input x: [4]
  return x -> drop(0.1) -> drop(1/3) -> repeat(dropout(0.5), 2) -> repeat(drop(0.2), 3)
}""",
}


@cache
def shipped(name: str) -> SearchSpace:
    """A space that ships, at a small size."""
    return load(resources.spaces() / f"{name}.nas", **SMALL.get(name, {}))


@cache
def hard(name: str) -> SearchSpace:
    return loads(HARD[name])


def make(space: SearchSpace, seed: int, genotype: Mapping[str, str] | None = None) -> Network:
    """A network of a random genotype, or a given one, with weights that depend on the seed, and no batch norm left at its start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = network(space, space.genotype(genotype) if genotype else space.sample(seed))
        for name, buffer in made.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return made.eval()


def inputs(net: Network, batch: int = 2, length: int = 12) -> tuple[Tensor, ...]:
    return random_inputs(net, batch, length, seed=1)


def outputs(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        made = module(*given)
    return made if isinstance(made, tuple) else (made,)


def read(source: str) -> ModuleType:
    """The module of an exported source text."""
    module = ModuleType("model")
    exec(compile(source, "model.py", "exec"), module.__dict__)
    return module
