"""What a search step costs, against one training step of a plain module written by hand.

The yardstick, 1.0, is one training step (forward, loss, backward, clipping, SGD) of the architecture ``YARDSTICK`` on the
NAS-Bench-201 network as a naive plain module: every edge computed, float32, contiguous memory. Search steps force the
same architecture where they run single paths. Figures are medians of ratios of CPU time, one thread, by turns in one
process. "same" runs both sides in float32 and contiguous memory, "best" runs nasdsl with channels_last, and with bfloat16
where that is faster, against the plain contiguous step.

    python -m benchmarks.speed                       # the table: about 20 minutes on 2 cores
    python -m benchmarks.speed --quick               # N = 1, few rounds: some two minutes, for a look
    python -m benchmarks.speed gdas darts --batch 16 # some rows
    python -m benchmarks.speed compiled --batch 16   # with torch.compile: minutes, and a C++ compiler

The table is written to benchmarks/results/speed.txt (``--output``), not with ``--quick`` or single rows unless told.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._plain import YARDSTICK, PlainNetwork, edges
from benchmarks._timing import by_turns, machine, ratio
from nasdsl import pipeline, resources
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.searching.strategy import Path as SearchPath
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.optimise import PLAIN, Optimisations
from nasdsl.training.device import autocast
from nasdsl.training.optimizers import clip_gradients, make_optimizer
from nasdsl.training.recipe import Recipe
from nasdsl.training.train import Evaluation

RESULTS = Path(__file__).parent / "results" / "speed.txt"
ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


# --- what is run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A memory format and a precision."""

    name: str
    channels_last: bool = False
    precision: str = "float32"


SAME = Setting("float32, contiguous")
BEST = (
    Setting("float32, channels_last", True),
    Setting("bfloat16, channels_last", True, "bfloat16"),
)


@dataclass(frozen=True)
class Bench:
    """The size of what is measured: cells a stage, batch, rounds, and how many random architectures."""

    cells: int = 5
    batch: int = 64
    rounds: int = 5
    architectures: int = 30

    @cached_property
    def space(self) -> Space:
        return pipeline.load(resources.spaces() / "nasbench201.nas", cells=self.cells)

    @cached_property
    def data(self) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, 32, 32, generator=random)
        return images, torch.randint(10, (self.batch,), generator=random)

    def genotype(self, text: str) -> Genotype:
        """That of an architecture as NAS-Bench-201 writes it. The space lists edges in the same order."""
        return self.space.genotype(
            dict(zip((c.name for c in self.space.choices), edges(text).values(), strict=True))
        )

    def text(self, genotype: Genotype) -> str:
        operations = [str(taken) for taken in genotype.values()]
        places = [(r, s) for r in range(1, 4) for s in range(r)]
        words = {place: f"{name}~{place[1]}" for place, name in zip(places, operations, strict=True)}
        return "+".join("|" + "|".join(words[r, s] for s in range(r)) + "|" for r in range(1, 4))


class Trainer:
    """One module with its optimiser, as a search trains its supernet."""

    def __init__(self, bench: Bench, module: nn.Module, setting: Setting) -> None:
        self.module, self.setting = module, setting
        self.recipe = Recipe(lr=0.025)
        self.parameters = list(module.parameters())
        self.optimizer = make_optimizer(self.recipe, self.parameters)
        images, self.targets = bench.data
        self.images = (
            images.contiguous(memory_format=torch.channels_last) if setting.channels_last else images
        )

    def loss(self, **path: Any) -> Tensor:
        with autocast(CPU, self.setting.precision):
            return nn.functional.cross_entropy(self.module(self.images, **path), self.targets)

    def step(self, **path: Any) -> None:
        """A weight step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(**path).backward()
        clip_gradients(self.parameters, self.recipe.clip)
        self.optimizer.step()


def plain(bench: Bench, text: str = YARDSTICK) -> Trainer:
    torch.manual_seed(0)
    return Trainer(bench, PlainNetwork(edges(text), cells=bench.cells), SAME)


def supernet(bench: Bench, setting: Setting, optimise: Optimisations = Optimisations()) -> Trainer:  # noqa: B008
    net = Supernet(
        bench.space,
        affine=False,
        batch_norm="batch",
        channels_last=setting.channels_last,
        optimise=optimise,
    )
    return Trainer(bench, net, setting)


class SearchStep:
    """Both passes of a strategy's step on a supernet, on the architecture of the yardstick."""

    def __init__(
        self,
        bench: Bench,
        setting: Setting,
        strategy: str,
        optimise: Optimisations = Optimisations(),  # noqa: B008
        **options: Any,
    ) -> None:
        self.bench = bench
        self.trainer = supernet(bench, setting, optimise)
        kind = STRATEGIES.find(strategy)
        self.strategy: Any = kind(bench.space, kind.Options(**options), 0)
        self.strategy.start_epoch(0, 1)
        self.path = SearchPath(bench.genotype(YARDSTICK))
        if hasattr(self.strategy, "sample"):
            # Logits so far apart that every sample is the yardstick; all of the sampling is still done.
            with torch.no_grad():
                self.strategy.logits.zero_()
                for choice in bench.space.choices:
                    row = self.strategy.rows[choice.name]
                    self.strategy.logits[row, choice.labels.index(self.path.genotype[choice.name])] = 1e4

    def _run(self, path: SearchPath) -> Tensor:
        return self.trainer.loss(
            genotype=path.genotype,
            gates=path.gates,
            gating=path.gating,
            mixture=path.mixture,
            among=path.among,
        )

    def weights(self) -> None:
        (path,) = self.strategy.paths()
        self.trainer.step(
            genotype=path.genotype,
            gates=path.gates,
            gating=path.gating,
            mixture=path.mixture,
            among=path.among,
        )

    def architecture(self) -> None:
        net = self.trainer.module
        assert isinstance(net, Supernet)
        with net.frozen():
            self.strategy.architecture_step(net, self._run)

    def reward(self) -> None:
        """A sample, evaluated without a graph on the architecture of the yardstick, and what is learned from it."""
        trainer = self.trainer

        @torch.no_grad()
        def score(path: SearchPath) -> Evaluation:
            with autocast(CPU, trainer.setting.precision):
                outputs = trainer.module(trainer.images, genotype=self.path.genotype)
            right = (outputs.argmax(1) == trainer.targets).float().mean()
            return Evaluation(0.0, float(right), len(trainer.targets))

        trainer.module.eval()
        self.strategy.reward_step(score)
        trainer.module.train()

    def both(self) -> None:
        self.weights()
        self.architecture()

    def single(self) -> None:
        self.trainer.step(genotype=self.path.genotype)


# --- rows of the table --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What was measured beside what was aimed at. ``best`` and its goal are None where there is one column."""

    name: str
    batch: int | None
    goal: str
    measured: str
    best_goal: str = ""
    best: str = ""
    note: str = ""


def compared(
    bench: Bench, name: str, goals: tuple[float, float], make: Callable[[Setting], Callable[[], object]]
) -> Row:
    steps: dict[str, Callable[[], object]] = {"plain": plain(bench).step}
    for setting in (SAME, *BEST):
        steps[setting.name] = make(setting)
    times = by_turns(steps, bench.rounds)
    same = ratio(times, SAME.name, "plain")
    best = min(BEST, key=lambda setting: ratio(times, setting.name, "plain"))
    note = f"plain step {1e3 * median(times['plain']):.0f} ms; best: {best.name}"
    spread = [a / b for a, b in zip(times[SAME.name], times["plain"], strict=True)]
    note += f"; same {min(spread):.2f} to {max(spread):.2f}"
    return Row(
        name, bench.batch, f"{goals[0]:.2f}", f"{same:.2f}", f"{goals[1]:.2f}",
        f"{ratio(times, best.name, 'plain'):.2f}", note,
    )  # fmt: skip


def single_path(bench: Bench) -> Row:
    """Over random architectures, each against itself as a plain module."""
    nets = {setting.name: supernet(bench, setting) for setting in (SAME, *BEST)}
    ratios: dict[str, list[float]] = {name: [] for name in nets}
    for seed in range(bench.architectures):
        genotype = bench.space.sample(seed)
        if not any(p is not None for p in genotype.values()):
            continue
        module = plain(bench, bench.text(genotype))

        def step(trainer: Trainer, genotype: Genotype = genotype) -> Callable[[], object]:
            return lambda: trainer.step(genotype=genotype)

        steps: dict[str, Callable[[], object]] = {"plain": module.step}
        steps |= {name: step(trainer) for name, trainer in nets.items()}
        times = by_turns(steps, max(1, bench.rounds // 2))
        for name in nets:
            ratios[name].append(ratio(times, name, "plain"))
    best = min(BEST, key=lambda setting: mean(ratios[setting.name]))
    tenths = quantiles(ratios[SAME.name], n=10) if bench.architectures > 1 else ratios[SAME.name] * 9
    note = f"mean of {bench.architectures}; same: median {median(ratios[SAME.name]):.2f}, "
    note += f"tenths {tenths[0]:.2f} to {tenths[-1]:.2f}; best: {best.name}"
    return Row(
        "single-path weight step", bench.batch, "1.00", f"{mean(ratios[SAME.name]):.2f}", "0.65",
        f"{mean(ratios[best.name]):.2f}", note,
    )  # fmt: skip


def gdas(bench: Bench) -> Iterator[Row]:
    for estimator in ("selected_only", "ones_for_others"):
        yield compared(
            bench,
            f"GDAS step, {estimator}",
            (1.85, 1.2),
            lambda setting, e=estimator: SearchStep(bench, setting, "gdas", estimator=e).both,  # type: ignore[misc]
        )


def advantage(bench: Bench) -> Iterator[Row]:
    yield compared(
        bench, "AdvantageNAS step", (1.85, 1.2), lambda setting: SearchStep(bench, setting, "advantage").both
    )


def enas(bench: Bench) -> Iterator[Row]:
    yield compared(
        bench, "ENAS weight pass", (1.0, 0.65), lambda setting: SearchStep(bench, setting, "enas").single
    )
    yield compared(
        bench, "ENAS controller pass", (0.4, 0.22), lambda setting: SearchStep(bench, setting, "enas").reward
    )


def darts(bench: Bench) -> Iterator[Row]:
    yield compared(
        bench,
        "DARTS first-order step",
        (6.0, 4.2),
        lambda setting: SearchStep(bench, setting, "darts", order="first").both,
    )


def single(bench: Bench) -> Iterator[Row]:
    yield single_path(bench)


def switches(bench: Bench) -> Iterator[Row]:
    """What each optimisation brings, alone and left out, to a GDAS and a DARTS step (contiguous, float32)."""
    names = ("share", "ride", "in_place", "kernels")
    variants = {"none": PLAIN, "all": Optimisations()}
    variants |= {f"all, fuse={level}": Optimisations(fuse=level) for level in ("same", "padded")}
    variants |= {"all, recomputed": Optimisations(recompute=True)}
    variants |= {f"only {n}": Optimisations(**{m: m == n for m in names}) for n in names}
    variants |= {f"all but {n}": Optimisations(**{m: m != n for m in names}) for n in names}
    for strategy, options in (("gdas", {}), ("darts", {"order": "first"})):
        for setting in (SAME, BEST[0]):
            steps: dict[str, Callable[[], object]] = {"plain": plain(bench).step}
            for name, optimise in variants.items():
                steps[name] = SearchStep(bench, setting, strategy, optimise, **options).both
            times = by_turns(steps, bench.rounds)
            found = ", ".join(f"{name} {ratio(times, name, 'plain'):.2f}" for name in variants)
            yield Row(f"switches, {strategy}, {setting.name}", bench.batch, "", found)


def compiled(bench: Bench) -> Iterator[Row]:
    """A single path and a GDAS step with regional compilation: once compiled, against the plain step and against the
    same without it."""
    from torch._dynamo.utils import counters

    inductor = Optimisations(compile="inductor")
    for strategy, name in (("enas", "single-path weight step"), ("gdas", "GDAS step")):
        torch._dynamo.reset()
        counters.clear()
        searches = {"not compiled": SearchStep(bench, SAME, strategy)}
        searches["compiled"] = SearchStep(bench, SAME, strategy, inductor)
        steps: dict[str, Callable[[], object]] = {"plain": plain(bench).step}
        for key, search in searches.items():
            steps[key] = search.single if strategy == "enas" else search.both
        began = time.perf_counter()
        steps["compiled"]()
        seconds = time.perf_counter() - began
        graphs = counters["stats"]["unique_graphs"]
        times = by_turns(steps, bench.rounds)
        again = counters["stats"]["unique_graphs"] - graphs
        note = f"without {ratio(times, 'not compiled', 'plain'):.2f}; the first step took {seconds:.0f} s by the clock "
        note += f"for {graphs} graphs, later ones compiled {again}"
        yield Row(f"{name}, compiled", bench.batch, "", f"{ratio(times, 'compiled', 'plain'):.2f}", note=note)


# --- memory, in processes of their own ----------------------------------------------------------------


def memory(bench: Bench) -> Iterator[Row]:
    if not Path("/proc/self/status").exists():
        return
    for name, goal in (("plain", ""), ("gdas", "740"), ("darts", "1250"), ("darts, recomputed", "")):
        found = in_process("memory", name, str(bench.cells), "64")
        yield Row(f"peak memory, {name}, MB", 64, goal, f"{found:.0f}")


def measure_memory(name: str, cells: str, batch: str) -> float:
    """MB above what the process had before its first step."""
    bench = Bench(int(cells), int(batch))
    strategy, _, recompute = name.partition(", ")
    options = {"order": "first"} if strategy == "darts" else {}
    optimise = Optimisations(recompute=bool(recompute))
    step = (
        plain(bench).step if name == "plain" else SearchStep(bench, SAME, strategy, optimise, **options).both
    )
    before = _resident("VmRSS")
    for _ in range(3):
        step()
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    """MB that are resident (``VmRSS``), or were at most (``VmHWM``). The figure of ``getrusage`` won't do: a process
    inherits it from the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def in_process(*words: str) -> float:
    """A figure measured by a fresh process of this file."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--measure", *words],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return float(done.stdout.split()[-1])


# --- the start, sampling, inference -------------------------------------------------------------------


def start(bench: Bench) -> Iterator[Row]:
    found = median(in_process("start") for _ in range(3))
    yield Row(
        "CPU s from the command to the first step", None, "4", f"{found:.1f}", note="search nasbench201"
    )


def measure_start() -> float:
    """Runs ``nasdsl search`` until it calls the supernet, and there prints the CPU seconds of the process so far."""
    # What this file imports the command would import too.
    from nasdsl.cli import main

    def first(*_: object, **__: object) -> None:
        print(time.process_time(), flush=True)
        os._exit(0)

    Supernet.forward = first  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["nasdsl", "search", "nasbench201", "--set", "size=8", "--set", "channels=1"]
        sys.argv += ["-o", f"{folder}/run", "--threads", "1"]
        main()
    raise RuntimeError("the search never called the supernet")


def sampling(bench: Bench) -> Iterator[Row]:
    space, count, many = bench.space, 200_000, 2_000_000

    def one_at_a_time() -> None:
        stream = space.samples(0)
        for _ in range(count):
            next(stream)

    def a_second(number: int, step: Callable[[], object]) -> str:
        seconds = median(by_turns({"": step}, bench.rounds)[""])
        return f"{number / seconds:,.0f}".replace(",", " ")

    yield Row("genotypes a second, one at a time", None, "200 000", a_second(count, one_at_a_time))
    found = a_second(many, lambda: space.sample_indices(many, 0))
    yield Row("genotypes a second, in a batch", None, "10 000 000", found, note="as an array of assignments")


def inference(bench: Bench) -> Iterator[Row]:
    genotype = bench.genotype(YARDSTICK)
    images, _ = bench.data
    hand = PlainNetwork(edges(YARDSTICK), cells=bench.cells, affine=True, running=True).eval()
    network = bench.space.network(genotype) if hasattr(bench.space, "network") else None
    assert network is not None
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        pipeline.export(network, folder, ("python",))
        exported = _exported(Path(folder)).eval()
    modules: dict[str, nn.Module] = {"plain": hand, "network": network, "exported": exported}

    def run(module: nn.Module) -> Callable[[], object]:
        return torch.no_grad()(lambda: module(images))

    times = by_turns({name: run(module) for name, module in modules.items()}, 3 * bench.rounds)
    for name in ("network", "exported"):
        yield Row(f"inference, {name}", bench.batch, "1.00", f"{ratio(times, name, 'plain'):.2f}")


def _exported(folder: Path) -> nn.Module:
    import importlib.util

    (file,) = folder.glob("*.py")
    spec = importlib.util.spec_from_file_location("exported_network", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exported_network"] = module
    spec.loader.exec_module(module)
    network: nn.Module = module.Nasbench201()
    return network


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "single": single,
    "gdas": gdas,
    "advantage": advantage,
    "enas": enas,
    "darts": darts,
    "memory": memory,
    "start": start,
    "sampling": sampling,
    "inference": inference,
    "switches": switches,
    "compiled": compiled,
}
ONCE = ("memory", "start", "sampling")  # these ask nothing of the batch
OPTIONAL = ("switches", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"of {', '.join(ROWS)}; by default all but {' and '.join(OPTIONAL)}",
    )
    parser.add_argument("--quick", action="store_true", help="N = 1, batch 16, two rounds, 4 architectures")
    parser.add_argument("--batch", type=int, nargs="*", help="batch sizes (64 and 16)")
    parser.add_argument("--cells", type=int, help="N, the cells of each stage (5)")
    parser.add_argument("--rounds", type=int, help="rounds of turns (5)")
    parser.add_argument("--architectures", type=int, help="random architectures of the single-path row (30)")
    parser.add_argument("--output", type=Path, help="where the table is written")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.measure:
        kind, *words = given.measure
        print({"memory": measure_memory, "start": measure_start}[kind](*words))
        return
    unknown = [name for name in given.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row `{unknown[0]}`: they are {', '.join(ROWS)}")
    cells = given.cells or (1 if given.quick else 5)
    rounds = given.rounds or (2 if given.quick else 5)
    architectures = given.architectures or (4 if given.quick else 30)
    batches = given.batch or ([16] if given.quick else [64, 16])
    names = given.rows or [name for name in ROWS if name not in OPTIONAL]
    head = [*machine(), f"NAS-Bench-201, C = 16, N = {cells}, {rounds} rounds; {YARDSTICK} is 1.0"]
    lines = [*head, "", HEADER]
    print("\n".join(lines), flush=True)
    for name in names:
        for batch in batches[:1] if name in ONCE else batches:
            bench = Bench(cells, batch, rounds, architectures)
            bench.__dict__["space"] = Bench(cells).space
            for row in ROWS[name](bench):
                lines.append(line(row))
                print(lines[-1], flush=True)
    output = given.output or (None if given.quick or given.rows or given.cells else RESULTS)
    if output is not None:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"written to {output}")


HEADER = f"{'':<42}{'batch':>6}{'goal':>11}{'same':>12}{'goal':>7}{'best':>7}  note"


def line(row: Row) -> str:
    batch = "" if row.batch is None else str(row.batch)
    return f"{row.name:<42}{batch:>6}{row.goal:>11}{row.measured:>12}{row.best_goal:>7}{row.best:>7}  {row.note}".rstrip()


if __name__ == "__main__":
    main()
