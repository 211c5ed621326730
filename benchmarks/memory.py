"""Memory of a supernet's training steps: what is forecast, against what a process really takes.

Each line is a process of its own, which compiles a space, loads what torch loads, notes the memory that it has, and then
makes six steps of a search (weights and architecture) on random numbers. Its peak after that, less what was noted, is
what is compared with the forecast. One thread, float32.

    python -m benchmarks.memory                 # the table
    python -m benchmarks.memory nasbench201     # the lines of one space
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._timing import machine

STEPS = 6
RESULTS = Path(__file__).parent / "results" / "memory.txt"


@dataclass(frozen=True)
class Case:
    """A space with parameters, a strategy and a batch; ``length`` is that of free dimensions."""

    space: str
    strategy: str
    batch: int
    parameters: tuple[tuple[str, int], ...] = ()
    length: int = 32

    @property
    def name(self) -> str:
        given = ", ".join(f"{name} = {value}" for name, value in self.parameters)
        return f"{self.space}({given})" if given else self.space


CASES = (
    Case("nasbench201", "gdas", 64, (("cells", 1),)),
    Case("nasbench201", "darts", 64, (("cells", 1),)),
    Case("nasbench201", "gdas", 64, (("cells", 2),)),
    Case("nasbench201", "darts", 32, (("cells", 2),)),
    Case("darts", "gdas", 32, (("width", 8), ("layers", 5))),
    Case("darts", "darts", 16, (("width", 8), ("layers", 5))),
    Case("quickstart", "gdas", 256),
    Case("hierarchical", "darts", 16),
    Case("ofa_mobilenetv3", "random", 4),
    Case("autoformer_tiny", "random", 4),
    Case("decoder_lm", "random", 8),
)


def main(wanted: list[str]) -> None:
    lines = [
        *machine(),
        "",
        f"{'space':38} {'strategy':8} {'batch':>5} {'forecast':>10} {'measured':>10} {'error':>7}",
    ]
    print("\n".join(lines), flush=True)
    worst = 0.0
    for case in CASES:
        if wanted and case.space not in wanted:
            continue
        forecast, measured = in_a_process(case)
        error = forecast / measured - 1
        worst = max(worst, abs(error))
        lines.append(
            f"{case.name:38} {case.strategy:8} {case.batch:5} {forecast / 2**20:6.0f} MiB {measured / 2**20:6.0f} MiB"
            f" {error:+7.0%}"
        )
        print(lines[-1], flush=True)
    lines.append(f"largest error {worst:.0%}")
    print(lines[-1])
    if not wanted:
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def in_a_process(case: Case) -> tuple[int, int]:
    """Forecast and measured bytes."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", str(CASES.index(case))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found = json.loads(output.splitlines()[-1])
    return found["forecast"], found["measured"]


# --- inside the process -------------------------------------------------------------------------------


def measure(case: Case) -> dict[str, int]:
    import torch

    from nasdsl import pipeline, resources
    from nasdsl.searching import settings_for
    from nasdsl.searching.forecast import forecast_search
    from nasdsl.searching.minibatches import Minibatches
    from nasdsl.searching.scoring import Scorer
    from nasdsl.searching.search import make_strategy
    from nasdsl.searching.steps import Steps
    from nasdsl.supernet import Supernet

    torch.set_num_threads(1)
    device = torch.device("cpu")
    space = pipeline.load(resources.spaces() / f"{case.space}.nas", **dict(case.parameters))
    task = random_task(space, 4 * case.batch, case.length)
    settings = settings_for(case.strategy, assignments=[f"search.batch={case.batch}"], space=space.name)
    forecast = forecast_search(space, settings, task, make_strategy(space, settings)).total
    warm_up()
    before = resident()
    strategy = make_strategy(space, settings)
    supernet = Supernet(
        space, affine=strategy.affine, batch_norm=strategy.batch_norm, channels_last=settings.channels_last
    )
    batches = Minibatches(task, settings, device)
    scorer = Scorer(strategy, supernet, batches, task.objective, settings, device)
    steps = Steps(strategy, supernet, batches, scorer, task, settings, device)
    strategy.start_epoch(0, 1)
    for step in range(STEPS):
        chosen = torch.arange(case.batch)
        steps.minibatch_step(step, batches.weights.take(chosen), batches.held_out.take(chosen), 0.01)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"forecast": forecast, "measured": peak * (1 if sys.platform == "darwin" else 1024) - before}


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def warm_up() -> None:
    """Loads kernels, with tensors so small that they don't count."""
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 11, 11)), torch.zeros(4, dtype=torch.long))
    loss.backward()
    optimizer.step()


def random_task(space: Any, count: int, length: int) -> Any:
    import torch

    from nasdsl.space.tensor import Shape
    from nasdsl.training.tasks import Classification, Split, Task

    inputs, shapes = [], []
    for node in space.inputs:
        found = space.graph.node(node).type
        dims = tuple(dim if isinstance(dim, int) else length for dim in found.dims)
        shapes.append(Shape(dims, found.dtype))
        inputs.append(
            torch.randint(0, 8, (count, *dims)) if found.dtype == "int" else torch.randn(count, *dims)
        )
    output = space.graph.node(space.outputs[0][1]).type
    sizes = tuple(dim if isinstance(dim, int) else length for dim in output.dims)
    split = Split(tuple(inputs), torch.arange(count) % sizes[-1])
    objective = Classification() if len(sizes) == 1 else Sequence()
    return Task("random", "random numbers", split, split, tuple(shapes), Shape(sizes), objective)


class Sequence:
    """Cross-entropy at each place of a sequence, of the example's class."""

    name = "accuracy"

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        import torch.nn.functional as F

        return F.cross_entropy(outputs.transpose(1, 2), targets[:, None].expand(outputs.shape[:2]))

    def metric(self, outputs: Any, targets: Any) -> Any:
        return (outputs.argmax(-1) == targets[:, None]).float().mean(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(CASES[int(sys.argv[2])])))
    else:
        main(sys.argv[1:])
