"""ENAS: an LSTM that writes architectures choice by choice and learns from their rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nasdsl.searching.assign import follow, permitted, positions
from nasdsl.searching.history import History
from nasdsl.searching.strategy import STRATEGIES, Path, State
from nasdsl.space.choice import Choice, Genotype
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Node
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.training.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from nasdsl.training.config import Config
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import derive, generator
from nasdsl.training.train import Evaluation


class EnasOptions(Config):
    hidden: int = Field(default=100, ge=1, description="units of the controller's LSTM, as published")
    layers: int = Field(default=1, ge=1, description="layers of the controller's LSTM, as published")
    lr: float = Field(default=3.5e-4, gt=0, description="the controller's learning rate (Adam), as published")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam's beta1; the released image code has 0")
    epsilon: float = Field(default=1e-8, gt=0, description="Adam's epsilon; the released code has 1e-3")
    updates: int = Field(
        default=2000, ge=0, description="updates of the controller after each epoch, as published"
    )
    samples: int = Field(
        default=1,
        ge=1,
        description="architectures an update, each on a minibatch of its own; the released code has 10 or 20",
    )
    temperature: float = Field(default=5.0, gt=0, description="divides logits before tanh, as published")
    tanh: float = Field(
        default=2.5, ge=0, description="logits become this times their tanh, as published; 0 leaves them"
    )
    op_tanh_reduce: float = Field(
        default=1.0, gt=0, description="divides `tanh` for operations; the released micro code has 2.5"
    )
    baseline_decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="decay of the moving average of rewards, as in the released code",
    )
    entropy_weight: float = Field(
        default=1e-4, ge=0, description="how much of the entropy is added to the reward, as published"
    )
    entropy: Literal["exact", "action"] = Field(
        default="exact",
        description="exact: of the distributions; action: -p log p of what was drawn, as the released macro code has it",
    )
    skip_prior: float = Field(
        default=0.4, gt=0, lt=1, description="probability that skip connections are drawn to, as published"
    )
    skip_weight: float = Field(
        default=0.8, ge=0, description="weight of the KL divergence from it, as published"
    )
    skip_form: Literal["corrected", "released"] = Field(
        default="corrected",
        description="corrected: KL of the probability itself; released: of two sigmoids, whose minimum is at 0.308 where 0.4 was meant",
    )
    locality: bool = Field(
        default=False,
        description="draws an input i steps back with logit -i²/6 on top, and feeds it back divided by 0.1 + i (the released language code)",
    )
    op_bias: dict[str, float] = Field(
        default_factory=dict,
        description="where the learned bias of a label starts (the released micro code has 10 for its sep_convs)",
    )
    reward: Literal["metric", "perplexity"] = Field(
        default="metric", description="metric: accuracy; perplexity: reward_scale / exp(loss)"
    )
    reward_scale: float = Field(
        default=80.0, gt=0, description="c of c / perplexity, as in the released language code"
    )
    candidates: int = Field(
        default=10, ge=1, description="architectures drawn at the end, the best of which wins, as released"
    )
    ranking: int = Field(
        default=1, ge=0, description="minibatches that each of them is scored on, as published; 0 is all"
    )
    tries: int = Field(
        default=100, ge=1, description="draws until every `require` holds; then one comes from the space"
    )


@STRATEGIES.add("enas")
class Enas:
    """Pham, Guan, Zoph, Le & Dean, "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018.

    A controller, an LSTM, decides choice by choice, in the order in which guards can be asked; what it decided is its
    next input. With h its state,

        operations, numbers, depths    u = W h,                               next input: the embedding of the label
        one of several inputs          u_j = v · tanh(W₁ a_j + W₂ h),          next input: a_j
        any of several inputs          bit j from softmax([-u_j, u_j]),       next input: Σ a_j / (1 + how many)

    with u ← 2.5 tanh(u / 5), and anchor a_j the state in which the last choice was decided that input j rests on. W and
    the embedding belong to a list of labels, wherever it stands. Two phases alternate: an epoch of weight steps, each
    with one architecture drawn, then ``updates`` controller steps, in which the weights stand still. A controller step
    draws z, takes the reward R = accuracy on one minibatch of the other half + 1e-4 · entropy, and descends

        -(R - b) log p(z) + 0.8 · KL(p(skip), 0.4),     b ← 0.99 b + 0.01 R, before it is used

    so that R - b is 0.99 (R - b) of the old b. Both terms of R are constants to the gradient. At the end ten
    architectures are drawn, each is scored on one minibatch, and the best wins. Batch norms use the statistics of the
    batch always.

    The presets ``macro_code``, ``micro_code``, ``ptb_code`` (named wrong by its authors), ``lm_code`` (the
    one they name right) and ``nasbench201_code`` are the settings of released codes, where they differ.

    Ours, not the paper's:

    - Which choices are of inputs is read off the graph: those of tensors whose candidates read different tensors. Inputs
      that rest on no choice, or on the same one, have an anchor from a step of the LSTM of their own (the released
      micro code does this for the two inputs of a cell).
    - Sub-lists with bounds have the same bits under the condition that the bounds hold, exactly. The skip prior is for
      sub-lists of inputs without bounds.
    - Where an architecture breaks a ``require`` over choices it is drawn again, which biases the gradient.
    - Where the search has costs among its objectives, ``cost_weight`` · cost / largest cost is taken off the accuracy
      (added to the loss behind a perplexity); the paper's reward knows no cost.
    - NAS-Bench-201's code leaves the baseline as it is within an epoch; here it moves with each sample. The constant
      that the micro code adds to its normal cell's operations is left out.

    The preset ``demo`` has 60 epochs at a learning rate of 0.1, each with 30 updates of 5 samples at 5e-3.
    """

    Options: ClassVar[type[Config]] = EnasOptions
    presets: ClassVar[Mapping[str, Sequence[str]]] = {
        "published": (),
        "demo": (
            "search.epochs=60", "search.batch=64", "search.lr=0.1", "search.schedule=cosine", "options.hidden=32",
            "options.lr=5e-3", "options.updates=30", "options.samples=5",
        ),
        "macro_code": (
            "options.hidden=64", "options.temperature=1", "options.tanh=1.5", "options.lr=1e-3", "options.beta1=0",
            "options.epsilon=1e-3", "options.updates=50", "options.samples=20", "options.entropy=action",
            "options.skip_form=released",
        ),
        "micro_code": (
            "search.epochs=150", "search.batch=160", "options.hidden=64", "options.temperature=1",
            "options.tanh=1.1", "options.op_tanh_reduce=2.5", "options.lr=3.5e-3", "options.beta1=0",
            "options.epsilon=1e-3", "options.updates=30", "options.samples=10",
            "options.op_bias={sep_conv_3x3 = 10, sep_conv_5x5 = 10}",
        ),
        "ptb_code": (
            "options.lr=1e-3", "options.beta1=0", "options.epsilon=1e-3", "options.entropy_weight=1e-3",
            "options.updates=100", "options.samples=10", "options.entropy=action", "options.locality=true",
            "options.reward=perplexity",
        ),
        "lm_code": (
            "options.hidden=64", "options.tanh=2.25", "options.lr=5e-5", "options.baseline_decay=0.999",
            "options.entropy_weight=1e-5", "options.updates=25", "options.samples=10",
            "options.entropy=action", "options.locality=true", "options.reward=perplexity",
        ),
        "nasbench201_code": (
            "search.epochs=250", "search.batch=64", "search.lr=0.025", "search.lr_end=0.001",
            "search.schedule=cosine", "search.weight_decay=5e-4", "options.hidden=32", "options.layers=2", "options.lr=1e-3",
            "options.beta1=0", "options.epsilon=1e-3", "options.updates=50", "options.samples=20",
            "options.candidates=100",
        ),
    }  # fmt: skip
    recipe: ClassVar[Recipe] = Recipe(
        epochs=310,
        batch=128,
        lr=0.05,
        lr_end=5e-4,
        schedule="restarts",
        period=10,
        period_growth=2,
        weight_decay=2.5e-4,
    )
    affine: ClassVar[bool] = True
    batch_norm: ClassVar[Policy] = "batch"
    learns: ClassVar[bool] = False  # not after each weight step

    def __init__(self, space: Space, options: EnasOptions, seed: int) -> None:
        self.space = space
        self.options = options
        self.seed = seed
        self.controller = Controller(space, options, derive(seed, "controller"))
        self.optimizer = torch.optim.Adam(
            self.controller.parameters(), lr=options.lr, betas=(options.beta1, 0.999), eps=options.epsilon
        )
        self.random = generator(seed, "enas")
        self.baseline = 0.0
        self.pending = 0  # samples of the update under way

    # --- sampling --------------------------------------------------------------------------------

    def draw(self, random: torch.Generator) -> Trace:
        """An architecture of the controller's in which every ``require`` over choices holds."""
        for _ in range(self.options.tries):
            trace = self.controller.run(lambda choice, law: law.sample(random))
            if permitted(self.space, trace.assignment):
                return trace
        drawn = self.space.sample(int(torch.randint(2**62, (), generator=random)))
        return self.controller.follow(drawn)

    def start_epoch(self, epoch: int, epochs: int) -> dict[str, float]:
        return {"baseline": self.baseline}

    def paths(self) -> Sequence[Path]:
        with torch.no_grad():
            return [Path(self.draw(self.random).genotype)]

    def architecture_step(self, supernet: Supernet, loss: Callable[[Path], Tensor]) -> float:
        raise NotImplementedError("the controller learns from rewards")

    # --- learning --------------------------------------------------------------------------------

    @property
    def reward_steps(self) -> int:
        return self.options.updates * self.options.samples

    def reward_step(self, score: Callable[[Path], Evaluation]) -> float:
        options = self.options
        trace = self.draw(self.random)
        reward = self.reward(score(Path(trace.genotype)))
        (self.loss(trace, reward) / options.samples).backward()
        self.pending += 1
        if self.pending == options.samples:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.pending = 0
        return reward

    def reward(self, result: Evaluation) -> float:
        value = result.metric
        if self.options.reward == "perplexity":
            value = self.options.reward_scale * math.exp(-result.loss)
        return value if math.isfinite(value) else 0.0

    def loss(self, trace: Trace, reward: float) -> Tensor:
        """What a sample's gradient is taken of; moves the baseline on."""
        options = self.options
        entropy = trace.entropy if options.entropy == "exact" else trace.action_entropy
        total = reward + options.entropy_weight * entropy
        self.baseline -= (1 - options.baseline_decay) * (self.baseline - total)
        return -(total - self.baseline) * trace.log_probability + options.skip_weight * trace.divergence

    # --- deriving --------------------------------------------------------------------------------

    @property
    def ranking_batches(self) -> int:
        return self.options.ranking

    @property
    def calibration_batches(self) -> int:
        return 0

    @property
    def proposals(self) -> int:
        found: int = self.options.candidates
        return found

    def propose(self, history: History) -> Genotype | None:
        """Architectures drawn from the controller, none twice; after a hundred repeats in a row it has no others."""
        if len(history) >= self.options.candidates:
            return None
        random = generator(self.seed, "candidate", len(history))
        for _ in range(100):
            with torch.no_grad():
                genotype = self.draw(random).genotype
            if not history.has(genotype) and self.space.permits(genotype):
                return genotype
        return None if history else self.space.sample(derive(self.seed, "candidate"))

    def probabilities(self) -> dict[str, list[float]]:
        """Those of the likeliest decisions, one after the other: a choice's depend on what was decided before."""
        with torch.no_grad():
            return self.controller.run(lambda choice, law: law.likeliest()).probabilities

    # --- state -----------------------------------------------------------------------------------

    def state(self) -> State:
        tensors = prefixed("controller", self.controller.state_dict())
        tensors |= prefixed("adam", optimizer_tensors(self.optimizer)) | {"random": self.random.get_state()}
        gradients = {n: p.grad for n, p in self.controller.named_parameters() if p.grad is not None}
        return tensors | prefixed("gradient", gradients), {"baseline": self.baseline, "pending": self.pending}

    def restore(self, state: State) -> None:
        tensors, rest = state
        self.controller.load_state_dict(under("controller", tensors))
        restore_optimizer(self.optimizer, under("adam", tensors))
        self.random.set_state(tensors["random"])
        gradients = under("gradient", tensors)
        for name, parameter in self.controller.named_parameters():
            parameter.grad = gradients[name].clone() if name in gradients else None
        self.baseline, self.pending = rest["baseline"], rest["pending"]


# --- what one choice is drawn from --------------------------------------------------------------------


class OneOf:
    """softmax(logits) [K] over candidates."""

    def __init__(self, logits: Tensor) -> None:
        self.log_p = F.log_softmax(logits, 0)

    def sample(self, random: torch.Generator) -> tuple[int, ...]:
        return (int(torch.multinomial(self.log_p.detach().exp(), 1, generator=random)),)

    def likeliest(self) -> tuple[int, ...]:
        return (int(self.log_p.detach().argmax()),)

    def log_probability(self, taken: tuple[int, ...]) -> Tensor:
        return self.log_p[taken[0]]

    def probabilities(self) -> list[float]:
        return [float(p) for p in self.log_p.detach().exp()]

    def entropy(self) -> float:
        log_p = self.log_p.detach()
        return -float((log_p.exp() * log_p).sum())

    def action_entropy(self, taken: tuple[int, ...]) -> float:
        log_p = float(self.log_p[taken[0]].detach())
        return -log_p * math.exp(log_p)


class Subset:
    """Candidates that are in with odds exp(l) each, given that between ``low`` and ``high`` are: p(S) ∝ exp(Σ_S l)."""

    def __init__(self, odds: Tensor, low: int, high: int) -> None:
        self.odds = odds  # log odds, [K]
        self.low, self.high = low, high
        self.free = low == 0 and high == len(odds)

    def log_normaliser(self, odds: Tensor) -> Tensor:
        if self.free:
            return F.softplus(odds).sum()
        # sums[s]: of the products over all subsets of size s.
        sums = torch.zeros(len(odds) + 1, dtype=odds.dtype)
        sums[0] = 1
        for weight in odds.exp().unbind():
            sums = sums + F.pad(sums[:-1] * weight, (1, 0))
        return sums[self.low : self.high + 1].sum().log()

    def marginals(self) -> Tensor:
        """The probability of each candidate to be in: the gradient of the normaliser's logarithm."""
        if self.free:
            return torch.sigmoid(self.odds.detach())
        with torch.enable_grad():
            leaf = self.odds.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(self.log_normaliser(leaf), leaf)
        return found

    def sample(self, random: torch.Generator) -> tuple[int, ...]:
        odds = self.odds.detach()
        uniform = torch.rand(len(odds), generator=random, dtype=torch.float64)
        if self.free:
            return tuple((uniform < torch.sigmoid(odds)).nonzero().flatten().tolist())
        # tails[i][s]: as above, over the candidates from i on.
        weights = odds.exp().tolist()
        tails = [[1.0] + [0.0] * len(weights)]
        for weight in reversed(weights):
            after = tails[0]
            tails.insert(0, [after[s] + (weight * after[s - 1] if s else 0.0) for s in range(len(after))])
        taken: list[int] = []
        for i, weight in enumerate(weights):
            inside = weight * self._mass(tails[i + 1], len(taken) + 1)
            outside = self._mass(tails[i + 1], len(taken))
            if float(uniform[i]) * (inside + outside) < inside:
                taken.append(i)
        return tuple(taken)

    def _mass(self, tail: Sequence[float], taken: int) -> float:
        return sum(tail[max(0, self.low - taken) : max(0, self.high - taken + 1)])

    def likeliest(self) -> tuple[int, ...]:
        odds = self.odds.detach().tolist()
        order = sorted(range(len(odds)), key=lambda i: -odds[i])
        wanted = min(max(sum(o > 0 for o in odds), self.low), self.high)
        return tuple(sorted(order[:wanted]))

    def log_probability(self, taken: tuple[int, ...]) -> Tensor:
        return self.odds[list(taken)].sum() - self.log_normaliser(self.odds)

    def probabilities(self) -> list[float]:
        return [float(p) for p in self.marginals()]

    def entropy(self) -> float:
        odds = self.odds.detach()
        return float(self.log_normaliser(odds) - (odds * self.marginals()).sum())

    def action_entropy(self, taken: tuple[int, ...]) -> float:
        if self.free:  # bit by bit
            sign = torch.full_like(self.odds, -1.0)
            sign[list(taken)] = 1
            log_p = F.logsigmoid(sign * self.odds.detach())
            return -float((log_p.exp() * log_p).sum())
        total = float(self.log_probability(taken).detach())
        return -total * math.exp(total)


Law = OneOf | Subset


def skip_divergence(u: Tensor, prior: float, form: str) -> Tensor:
    """Σ KL(skip probability, prior) over skip connections with logit pairs [-u, u].

    ``corrected``: of softmax([-u, u]) = sigmoid(2u), so that u = ½ log(prior / (1 - prior)) is its minimum.
    ``released``: the code takes the sigmoid of each of the pair; its minimum is at u = log(prior / (1 - prior)).
    """
    if form == "corrected":
        inside, outside = F.logsigmoid(2 * u), F.logsigmoid(-2 * u)
    else:
        inside, outside = F.logsigmoid(u), F.logsigmoid(-u)
    return (inside.exp() * (inside - math.log(prior)) + outside.exp() * (outside - math.log(1 - prior))).sum()


# --- the controller -----------------------------------------------------------------------------------


@dataclass
class Trace:
    """One run of the controller: what it decided, and how likely that was."""

    log_probability: Tensor
    divergence: Tensor
    genotype: Genotype = field(default_factory=lambda: Genotype({}))
    assignment: list[int] = field(default_factory=list)
    entropy: float = 0.0
    action_entropy: float = 0.0
    taken: dict[str, tuple[int, ...]] = field(default_factory=dict)
    probabilities: dict[str, list[float]] = field(default_factory=dict)


Pick = Callable[[Choice, Law], tuple[int, ...]]


class Controller(nn.Module):
    """The LSTM, in double precision: it is small, and then equal seeds give equal architectures on every machine."""

    def __init__(self, space: Space, options: EnasOptions, seed: int) -> None:
        super().__init__()
        self.space = space
        self.options = options
        self.inputs = input_choices(space)
        size = options.hidden
        lists = [c.labels for c in space.choices if c.name not in self.inputs]
        self.families = {labels: i for i, labels in enumerate(dict.fromkeys(lists))}
        self.cells = nn.ModuleList(
            nn.LSTMCell(size, size, dtype=torch.float64) for _ in range(options.layers)
        )
        self.start = nn.Parameter(torch.empty(size, dtype=torch.float64))
        self.embeddings = nn.ParameterList(
            torch.empty(len(f), size, dtype=torch.float64) for f in self.families
        )
        self.heads = nn.ParameterList(torch.empty(len(f), size, dtype=torch.float64) for f in self.families)
        self.anchor_weight = nn.Parameter(torch.empty(size, size, dtype=torch.float64))
        self.query_weight = nn.Parameter(torch.empty(size, size, dtype=torch.float64))
        self.attention = nn.Parameter(torch.empty(size, dtype=torch.float64))
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=random)
        # Biases where a label has one to start from.
        self.biases = nn.ParameterDict()
        for labels, i in self.families.items():
            if any(label in options.op_bias for label in labels):
                start = [options.op_bias.get(label, 0.0) for label in labels]
                self.biases[str(i)] = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self._zeros = torch.zeros(size, dtype=torch.float64)

    def run(self, pick: Pick) -> Trace:
        """Decides every choice that exists by what ``pick`` takes of its distribution."""
        trace = Trace(self._zeros.sum(), self._zeros.sum())
        run = _Run(self)

        def decide(choice: Choice) -> tuple[int, ...]:
            law, u = run.law(choice)
            taken = pick(choice, law)
            run.feed(choice, taken)
            trace.taken[choice.name] = taken
            trace.log_probability = trace.log_probability + law.log_probability(taken)
            trace.entropy += law.entropy()
            trace.action_entropy += law.action_entropy(taken)
            trace.probabilities[choice.name] = law.probabilities()
            if choice.name in self.inputs and isinstance(law, Subset) and law.free:
                trace.divergence = trace.divergence + skip_divergence(
                    u, self.options.skip_prior, self.options.skip_form
                )
            return taken

        trace.genotype, trace.assignment = follow(self.space, decide)
        return trace

    def follow(self, genotype: Genotype) -> Trace:
        """The trace of a given architecture."""
        return self.run(lambda choice, law: positions(choice, genotype[choice.name]))

    def squash(self, u: Tensor, reduce: float = 1.0) -> Tensor:
        u = u / self.options.temperature
        constant = self.options.tanh / reduce
        return constant * torch.tanh(u) if constant else u


class _Run:
    """The state of the LSTM in one run."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.states = [(controller._zeros, controller._zeros) for _ in controller.cells]
        self.input: Tensor = controller.start
        self.decided: dict[int, Tensor] = {}  # by the number of the choice
        self.own: dict[str, Tensor] = {}  # anchors of inputs that no choice stands for
        self.anchors: Tensor | None = None  # [K, hidden], of the choice under way
        self.h = controller._zeros

    def step(self, x: Tensor) -> Tensor:
        for i, cell in enumerate(self.controller.cells):
            h, c = cell(x, self.states[i])
            self.states[i] = (h, c)
            x = h
        return x

    def law(self, choice: Choice) -> tuple[Law, Tensor]:
        """The distribution of a choice, and the logits that it is made of."""
        controller, options = self.controller, self.controller.options
        sources = controller.inputs.get(choice.name)
        self.anchors = None if sources is None else torch.stack([self.anchor(s) for s in sources])
        self.h = self.step(self.input)
        self.decided[choice.index] = self.h
        if self.anchors is not None:
            query = controller.query_weight @ self.h
            u = torch.tanh(self.anchors @ controller.anchor_weight.T + query) @ controller.attention
            u = controller.squash(u)
            if options.locality and not choice.is_sublist:
                u = u - self.distances(len(u)).square() / 6
        else:
            family = controller.families[choice.labels]
            u = controller.heads[family] @ self.h
            if str(family) in controller.biases:
                u = u + controller.biases[str(family)]
            u = controller.squash(u, options.op_tanh_reduce)
        if choice.low is None or choice.high is None:
            return OneOf(u), u
        return Subset(2 * u, choice.low, choice.high), u

    def anchor(self, source: Source) -> Tensor:
        if source.own is None:
            for index in source.choices:
                if index in self.decided:
                    return self.decided[index]
        key = source.own or ""
        if key not in self.own:
            self.own[key] = self.step(self.controller.start)
        return self.own[key]

    @staticmethod
    def distances(count: int) -> Tensor:
        """How many steps back each of ``count`` inputs is."""
        return torch.arange(count, 0, -1, dtype=torch.float64)

    def feed(self, choice: Choice, taken: tuple[int, ...]) -> None:
        """Makes the next input of what was taken."""
        controller = self.controller
        given = self.anchors
        if given is None:
            given = controller.embeddings[controller.families[choice.labels]]
        if choice.is_sublist:
            self.input = given[list(taken)].sum(0) / (1 + len(taken))
        else:
            self.input = given[taken[0]]
            if controller.options.locality and self.anchors is not None:
                self.input = self.input / (0.1 + float(self.distances(len(given))[taken[0]]))


# --- which choices are of inputs ----------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """What a candidate reads. ``choices`` are those that it rests on, the last decided first; ``own`` names it where no
    choice stands for it alone."""

    choices: tuple[int, ...]
    own: str | None = None


def input_choices(space: Space) -> dict[str, tuple[Source, ...]]:
    """The choices of tensors whose candidates read different ones, with what each candidate reads.

    A choice may be used many times (in a cell): its first use counts.
    """
    graph, table = space.graph, space.table
    ordered = space.ordered_choices
    order = {choice.index: i for i, choice in enumerate(ordered)}
    owner = {v: choice for choice in space.choices for v in choice.variables}
    first_use: dict[int, list[list[int]]] = {}
    rests: dict[int, int] = {}  # for each node, a bit for each choice that its value rests on

    def bits(diagram: object) -> int:
        found = 0
        if isinstance(diagram, Diagram):
            for variable in diagram.support():
                found |= 1 << order[owner[variable].index]
        return found

    for node in graph.all_nodes():
        edges = graph.reads(node.id)
        total = 0
        for value in (*node.settings.values(), *node.type.dims):
            total |= bits(value)
        for edge in edges:
            guard = table.given(edge.guard, node.guard)
            total |= bits(guard) | rests.get(edge.source, 0)
            for choice in {owner[v].index: owner[v] for v in guard.support()}.values():
                if choice.kind != "tensor" or choice.index in first_use:
                    continue
                if not choice.is_sublist and node.choice != choice.index:
                    continue
                first_use[choice.index] = [
                    [e.source for e in edges if _needs(space, table.given(e.guard, node.guard), choice, k)]
                    for k in range(len(choice.labels))
                ]
        rests[node.id] = total

    found: dict[str, tuple[Source, ...]] = {}
    for choice in space.choices:
        starts = first_use.get(choice.index)
        if starts is None:
            continue
        reads = [_outside(space, choice, k, nodes) for k, nodes in enumerate(starts)]
        if len(reads) > 1 and all(r == reads[0] for r in reads):
            continue
        if len(reads) == 1 and not choice.is_sublist:
            continue
        before = (1 << order[choice.index]) - 1
        masks = []
        for nodes in reads:
            mask = 0
            for id in nodes:
                mask |= rests[id] & before
            masks.append(mask)
        tops = [mask.bit_length() for mask in masks]
        sources = []
        for k, (nodes, mask, top) in enumerate(zip(reads, masks, tops, strict=True)):
            rested = tuple(ordered[i].index for i in range(top - 1, -1, -1) if mask >> i & 1)
            own = None if mask else "the input"
            if tops.count(top) > 1:
                # In its first use a cell may be given the same tensor twice.
                same = [i for i, other in enumerate(reads) if other == nodes]
                own = "/".join(map(str, sorted(nodes))) + f"#{same.index(k)}"
            sources.append(Source(rested, own))
        found[choice.name] = tuple(sources)
    return found


def _needs(space: Space, guard: Diagram, choice: Choice, k: int) -> bool:
    """Whether a guard can't hold unless the choice takes its candidate k."""
    table = space.table
    if choice.is_sublist:
        return guard is not table.false and table.restrict(guard, choice.variables[k], 0) is table.false
    variable = choice.variables[0]
    return table.restrict(guard, variable, k) is not table.false and all(
        table.restrict(guard, variable, other) is table.false
        for other in range(len(choice.labels))
        if other != k
    )


def _outside(space: Space, choice: Choice, k: int, nodes: Sequence[int]) -> frozenset[int]:
    """The first nodes upstream that are there without the candidate k."""
    found: set[int] = set()
    seen: set[int] = set()
    stack = list(nodes)
    while stack:
        id = stack.pop()
        if id in seen:
            continue
        seen.add(id)
        node: Node = space.graph.node(id)
        if _needs(space, node.guard, choice, k):
            stack += [edge.source for edge in space.graph.reads(id)]
        else:
            found.add(id)
    return frozenset(found)
