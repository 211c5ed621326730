"""What a recurrent network is run with beside its inputs: the states that its scans start from, and the dropouts of
language models.

    tokens ─► embedding ─ words, embedding ─► scan( input ─► [ state ─ hidden ─► linear … ] ) ─ output ─► …

A scan is a loop over time whose states start at zero, or at what ``states`` has for it. None stands inside another's cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nasdsl.space.architecture import Body, Step, reads

EMBEDDING = "embedding"
"""The operation that words are dropped from."""

States = Mapping[int, tuple[Tensor, ...]]
"""The states [N, …] of each scan, by the node of the space that it is."""


@dataclass(frozen=True)
class Dropouts:
    """Chances of being dropped; what stays is divided by the chance to stay. Every mask is drawn once a segment, and is
    the same at each of its steps (variational dropout: Gal & Ghahramani, 2016; the places are those of AWD-LSTM: Merity,
    Keskar & Socher, 2018, and of DARTS' recurrent cell).

    ``words``: a word's whole vector, wherever the word stands in the minibatch; ``embedding``: features of what an
    embedding gives; ``input``: features of what a scan reads; ``hidden``: features that rest on a scan's state, where an
    operation with a weight matrix reads them, one mask for all places of the same size (what merely passes a gate stays
    as it is); ``output``: features of what a scan gives, where no other scan follows.
    """

    words: float = 0.0
    embedding: float = 0.0
    input: float = 0.0
    hidden: float = 0.0
    output: float = 0.0


@dataclass(frozen=True)
class Scanned:
    """What the scans of a pass came to: the ``states`` that they ended with, and of each scan that no other follows its
    output [N, T, …], as it was and after dropout."""

    states: States
    outputs: tuple[tuple[Tensor, Tensor], ...] = ()


class Scanning:
    """One pass through a network with scans: what they start from, and what they have come to."""

    def __init__(self, states: States, dropouts: Dropouts) -> None:
        self._states = states
        self._dropouts = dropouts
        self._hidden: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._ended: dict[int, tuple[Tensor, ...]] = {}
        self._outputs: list[tuple[Tensor, Tensor]] = []

    @property
    def scanned(self) -> Scanned:
        return Scanned(self._ended, tuple(self._outputs))

    def start(self, scan: int, zeros: Sequence[Tensor]) -> list[Tensor]:
        """The first states of a scan: those given, and zeros where there are none, or of another size (in a supernet the
        last genotype may have chosen one)."""
        given = self._states.get(scan, ())
        if [x.shape for x in given] != [x.shape for x in zeros]:
            return list(zeros)
        return list(given)

    def end(self, scan: int, states: Sequence[Tensor], output: Tensor, is_last: bool) -> Tensor:
        """Keeps the last states of a scan; gives its output [N, T, …] as the network goes on with it."""
        self._ended[scan] = tuple(states)
        if not is_last:
            return output
        dropped = locked(output, self._dropouts.output)
        self._outputs.append((output, dropped))
        return dropped

    def embedded(self, tokens: Tensor, vectors: Tensor, vocabulary: int) -> Tensor:
        """What an embedding gives [N, T, D] for tokens [N, T]."""
        if self._dropouts.words:
            stays = mask(vectors, (vocabulary,), self._dropouts.words)
            vectors = vectors * stays[tokens].unsqueeze(-1)
        return locked(vectors, self._dropouts.embedding)

    def read(self, sequence: Tensor) -> Tensor:
        """What a scan reads [N, T, …]."""
        return locked(sequence, self._dropouts.input)

    def hidden(self, scan: int, x: Tensor) -> Tensor:
        """What rests on a scan's state [N, …], as an operation with a weight matrix reads it."""
        if not self._dropouts.hidden:
            return x
        key = (scan, tuple(x.shape))
        if key not in self._hidden:
            self._hidden[key] = mask(x, x.shape, self._dropouts.hidden)
        return x * self._hidden[key]


def locked(x: Tensor, chance: float) -> Tensor:
    """Features of ``x`` [N, T, …] dropped, the same ones at all times T."""
    return x * mask(x, (x.shape[0], 1, *x.shape[2:]), chance) if chance else x


def mask(like: Tensor, shape: Sequence[int], chance: float) -> Tensor:
    """Zeros with that chance, else ``1 / (1 - chance)``."""
    return like.new_empty(tuple(shape)).bernoulli_(1 - chance).div_(1 - chance)


# --- where in a graph ---------------------------------------------------------------------------------


def on_state(body: Body) -> Mapping[int, tuple[int, ...]]:
    """By the ids of a body's steps, which of their inputs rest on the scan's state."""
    resting = set(body.states)
    found: dict[int, tuple[int, ...]] = {}
    for step in body.steps:
        places = tuple(i for i, id in enumerate(step.inputs) if id in resting)
        if places:
            resting.add(step.id)
            found[step.id] = places
    return found


def last_scans(steps: Sequence[Step]) -> frozenset[int]:
    """The scans that no other one follows."""
    followed: set[int] = set()
    last: set[int] = set()
    for step in reversed(steps):
        if step.body is None and step.id not in followed:
            continue
        if step.body is not None and step.id not in followed:
            last.add(step.id)
        followed.update(reads(step))
    return frozenset(last)


def multiplies(run: object) -> bool:
    """Whether a module, or what stands for one and has it as ``full``, has a weight matrix."""
    module = getattr(run, "full", run)
    return isinstance(module, nn.Module) and any(p.dim() > 1 for p in module.parameters())


def with_hidden_dropout(
    run: Callable[..., Tensor], scan: int, places: Sequence[int]
) -> Callable[..., Tensor]:
    """``run`` as a function of the pass under way and its inputs, some of which rest on the state of ``scan``."""

    def dropping(scanning: Scanning | None, *inputs: Tensor) -> Tensor:
        if scanning is not None:
            inputs = tuple(scanning.hidden(scan, x) if i in places else x for i, x in enumerate(inputs))
        return run(*inputs)

    return dropping
