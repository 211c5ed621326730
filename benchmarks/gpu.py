"""What a CUDA device does: one command that checks, measures and searches, within the minutes that it is given.

    python -m benchmarks.gpu --minutes 8 --data cifar-10-batches-bin     # needs a CUDA device; says so where there is none
    python -m benchmarks.gpu --stages search --data cifar-10-batches-bin --minutes 9     # goes on with its searches
    python -m benchmarks.gpu --device cpu --cells 1 --batch 4 --rounds 1 --minutes 2     # the same code, in miniature

In this order, each stage in a process of its own, so that what breaks one leaves the others alone:

- ``check``: a search on the static graph, recorded, against the same one call by call, in float64;
- ``float32``, ``bfloat16``: steps of NAS-Bench-201's network by turns, on data that the device holds: the plain module
  written by hand, eager; weight steps and pairs of GDAS steps as calls one by one and on the static graph
  (``optimise.static=on``), with all that the host does in them; a pair as two graphs with sample and update in them, what
  could be had at the most (:mod:`benchmarks._whole`); pairs of DARTS steps, candidates fused or not; an evaluation. For
  each the median time with the device waited for, that until the host has it all launched, and the largest memory;
- ``search``: GDAS as published on CIFAR-10 by `nasdsl search`, where there is ``--data``: some epochs on the static graph
  and call by call in float32, then on the static graph with ``--precision`` for the time that is left. Interrupted runs
  are gone on with by the same command; the published 250 epochs are worked out from what was seen;
- ``segments``: steps with ``optimise.compile=cudagraphs``, each kind of candidate recorded by itself;
- ``kernels``: how long kernels run in a step, and how many there are, as torch's profiler has it.

Goals on an H200: a weight step on the static graph at least 3 times faster than the plain module; the published search,
97 500 pairs of steps, in under 10 minutes. `optimise.static=auto` is worth to be the default where a pair of GDAS steps
takes less time on the static graph than call by call in both precisions: the result says so.

Results go to ``benchmarks/results/gpu.txt`` line by line, so that nothing is lost where the machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._timing import machine

RESULTS = Path(__file__).parent / "results" / "gpu.txt"
STAGES = ("check", "float32", "bfloat16", "search", "segments", "kernels")
RECORDED = ("segments", "kernels")
"""Those that are of a CUDA device alone."""
PAIRS = 250 * 390
"""Weight and architecture steps of the published search: 250 epochs over 25 000 images, 64 at once."""
TARGET = 10.0
"""Minutes that it may take."""
RATIO = 3.0
"""How many times faster than the plain module a weight step on the static graph is to be."""
LEAST = 20.0
"""Seconds without which nothing is begun."""
STOPPING = 30.0
"""Seconds that a search may take to keep its state and end."""


class Report:
    """Lines that are on the screen and in the file as soon as they are told."""

    def __init__(self, path: Path, *, afresh: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if afresh:
            path.write_text("", encoding="utf-8")
        # Appended, as stages write to it too, from processes of their own.
        self.file = path.open("a", encoding="utf-8")

    def tell(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)
            self.file.write(line.rstrip() + "\n")
        self.file.flush()

    def failed(self, what: str) -> None:
        self.tell(f"  {what} failed:", *("    " + line for line in traceback.format_exc().splitlines()))


@dataclass(frozen=True)
class Clock:
    """``end`` is when there is no more time, of :func:`time.monotonic`."""

    end: float

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    @property
    def is_over(self) -> bool:
        return self.left < LEAST


# --- the stages, each in its own process --------------------------------------------------------------


def check(given: argparse.Namespace, report: Report, clock: Clock) -> None:
    """The recorded search against the one call by call."""
    import torch

    from nasdsl import pipeline, resources
    from nasdsl.searching import search, settings_for
    from nasdsl.training.tasks import classification

    torch.backends.cudnn.deterministic = True
    torch.set_default_dtype(torch.float64)
    space = pipeline.load(resources.spaces() / "nasbench201.nas", cells=1, width=4, size=8)
    random = torch.Generator().manual_seed(0)
    images = torch.randn(160, 3, 8, 8, generator=random)
    task = classification("noise", "", images, torch.arange(160) % 10)
    for estimator in ("selected_only", "ones_for_others"):
        found = []
        for static in ("off", "on"):
            assignments = [
                "search.epochs=3",
                "search.batch=8",
                "options.lr=0.1",
                f"options.estimator={estimator}",
                f"optimise.static={static}",
            ]
            chosen = settings_for("gdas", assignments=assignments, device=given.device)
            found.append(search(space, chosen, task=task))
        weights = [
            torch.cat([p.detach().flatten() for p in f.supernet.parameters()])  # type: ignore[union-attr]
            for f in found
        ]
        apart = float((weights[0] - weights[1]).abs().max())
        same = found[0].genotype == found[1].genotype
        report.tell(
            f"  {estimator}: weights of the static graph differ by {apart:.1e} at most, winners are "
            f"{'the same' if same else 'NOT THE SAME'}: {'right' if same and apart < 1e-8 else 'WRONG'}"
        )


def steps(
    given: argparse.Namespace, report: Report, clock: Clock, precision: str, slow: bool = False
) -> None:
    """The table of steps."""
    import torch

    from benchmarks._gpu_steps import PLAIN, SLOW_STEPS, STEPS, Setting
    from benchmarks.speed import Bench

    device = torch.device(given.device)
    layout = f"channels_last={'false' if given.contiguous else 'true'}"
    setting = Setting(Bench(given.cells, given.batch), device, precision, layout)
    wanted = {PLAIN: STEPS[PLAIN], **SLOW_STEPS} if slow else STEPS
    rows: dict[str, Row] = {}
    for label, make in wanted.items():
        if clock.is_over:
            report.tell(f"  {label}: no time left")
            continue
        try:
            row = Row(partial(make, setting), device, given.times)
            row.run()
            report.tell(f"  {label}: {row.milliseconds:.2f} ms to begin with")
            rows[label] = row
        except Exception:
            report.failed(label)
    for _ in range(given.rounds):
        for label, row in list(rows.items()):
            if clock.is_over:
                break
            try:
                row.run()
            except Exception:
                report.failed(label)
                del rows[label]
    report.tell("", f"  {'':<32}{'ms':>9}{'launched':>10}{'MB':>8}")
    for label, row in rows.items():
        report.tell(f"  {label:<32}{row}")
    verdict({label: row.milliseconds for label, row in rows.items()}, report)


def kernels(given: argparse.Namespace, report: Report, clock: Clock) -> None:
    """What the profiler sees of a few steps. By itself, and last: it may slow down what it has seen, or find no device."""
    import torch

    from benchmarks._gpu_steps import CALLED_PAIR, PLAIN, STATIC_PAIR, STATIC_STEP, STEPS, Setting
    from benchmarks.speed import Bench

    device = torch.device(given.device)
    report.tell(f"  {'':<42}{'ms':>9}{'how many':>10}")
    for precision in ("float32", "bfloat16"):
        setting = Setting(Bench(given.cells, given.batch), device, precision)
        for label in (STATIC_PAIR, STATIC_STEP, CALLED_PAIR, PLAIN):
            if clock.is_over:
                return
            try:
                row = Row(partial(STEPS[label], setting), device, given.times)
                busy, count = row.kernels()
                report.tell(f"  {precision + ', ' + label:<42}{busy:>9.2f}{count:>10}")
            except Exception:
                report.failed(f"the profile of {label}")


def verdict(found: dict[str, float], report: Report) -> None:
    """Goals beside what was measured."""
    from benchmarks._gpu_steps import CALLED_PAIR, PLAIN, STATIC_PAIR, STATIC_STEP

    def judged(ok: bool) -> str:
        return "met" if ok else "MISSED"

    if PLAIN in found and STATIC_STEP in found:
        ratio = found[PLAIN] / found[STATIC_STEP]
        report.tell(
            f"  static weight step: {ratio:.2f} times as fast as the plain module "
            f"(goal {RATIO:g}: {judged(ratio >= RATIO)})"
        )
    for label in found:
        if label.startswith("GDAS pair"):
            minutes = PAIRS * found[label] / 60_000
            report.tell(
                f"  published search, {label.partition(', ')[2]}: {minutes:.1f} minutes "
                f"(goal {TARGET:g}: {judged(minutes < TARGET)})"
            )
    if CALLED_PAIR in found and STATIC_PAIR in found:
        gain = found[CALLED_PAIR] / found[STATIC_PAIR]
        report.tell(
            f"  `optimise.static=auto` pays here: {'yes' if gain > 1 else 'no'}, "
            f"a pair takes 1 / {gain:.2f} of the time"
        )


class Row:
    """One step: made, warmed up and looked at, then timed round by round."""

    def __init__(self, make: Callable[[], Callable[[], object]], device: Any, times: int) -> None:
        import torch

        self.device, self.times = device, times
        self.on_gpu = device.type == "cuda"
        before = 0
        if self.on_gpu:
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
        self.step = make()
        for _ in range(max(2, times // 4)):
            self.step()
        self.wait()
        self.memory = (torch.cuda.max_memory_allocated(device) - before) / 1e6 if self.on_gpu else None
        self.found: list[float] = []
        self.launched: list[float] = []

    def wait(self) -> None:
        import torch

        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def run(self) -> None:
        self.wait()
        start = time.perf_counter()
        for _ in range(self.times):
            self.step()
        launched = time.perf_counter()
        self.wait()
        end = time.perf_counter()
        self.launched.append(1e3 * (launched - start) / self.times)
        self.found.append(1e3 * (end - start) / self.times)

    @property
    def milliseconds(self) -> float:
        return median(self.found) if self.found else float("nan")

    def kernels(self) -> tuple[float, int]:
        """How long kernels and copies of a step run, in ms, and how many there are."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            self.step()
            self.wait()
        ran = [e for e in seen.events() or () if str(e.device_type).endswith("CUDA")]
        return sum(e.time_range.elapsed_us() for e in ran) / 1e3, len(ran)

    def __str__(self) -> str:
        launched = median(self.launched) if self.launched else float("nan")
        memory = "-" if self.memory is None else f"{self.memory:.0f}"
        return f"{self.milliseconds:>9.2f}{launched:>10.2f}{memory:>8}"


# --- the search ---------------------------------------------------------------------------------------


def searches(given: argparse.Namespace, report: Report, clock: Clock) -> None:
    """`nasdsl search` as published, for as long as there is time."""
    if given.data is None:
        report.tell("  no --data, so no search")
        return
    long = f"static=on, {given.precision}"
    kinds = [("static=on, float32", 0.2), ("static=off, float32", 0.25), (long, 1.0)]
    if (given.runs / folder_of(long)).exists():
        kinds = kinds[-1:]  # what was begun is gone on with
    for label, share in kinds:
        seconds = share * (clock.left - STOPPING)
        if seconds <= 0:
            report.tell(f"  {label}: no time left")
            continue
        try:
            one_search(given, report, label, seconds)
        except Exception:
            report.failed(label)


def folder_of(label: str) -> str:
    return label.replace("=", "-").replace(", ", "-")


def one_search(given: argparse.Namespace, report: Report, label: str, seconds: float) -> None:
    static, precision = label.removeprefix("static=").split(", ")
    folder = given.runs / folder_of(label)
    command = [
        sys.executable, "-m", "nasdsl", "search", "nasbench201", "--set", f"cells={given.cells}",
        "--data", str(given.data), "--strategy", "gdas", "--device", given.device, "--precision", precision,
        "-c", f"search.batch={given.batch}", "-c", "search.crop=4", "-c", "search.flip=true",
        "-c", f"optimise.static={static}", "-o", str(folder),
    ]  # fmt: skip
    if given.epochs:
        command += ["--epochs", str(given.epochs)]
    report.tell(f"  {label}: for {seconds:.0f} seconds at most")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it keeps its state
        try:
            said, _ = process.communicate(timeout=STOPPING - 10)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    report.tell(*("    " + line for line in said.splitlines()[-6:]))
    report.tell(f"    {speed_of(folder / 'events.jsonl')}")


def speed_of(file: Path) -> str:
    """What the events of a run say of its epochs, those of this process and of earlier ones."""
    if not file.exists():
        return "it has not begun"
    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    times = [e["seconds"] for e in events if e["event"] in ("start", "resume", "epoch")]
    kinds = [e["event"] for e in events if e["event"] in ("start", "resume", "epoch")]
    epochs = [e for e in events if e["event"] == "epoch"]
    # An epoch takes from the one before it to its end; what records and warms up is in the first.
    lasted = [
        b - a
        for a, b, before, kind in zip(times, times[1:], kinds, kinds[1:], strict=False)
        if before == kind == "epoch"
    ]
    done = f"{len(epochs)} epochs are done"
    if not epochs or not lasted:
        return f"{done}: too few to tell their speed"
    start = next(e for e in events if e["event"] == "start")
    count, steps = int(start["epochs"]), int(start["steps"])
    each = median(lasted)
    return (
        f"{done}, loss {epochs[-1]['loss']:.3f}, accuracy {epochs[-1]['metric']:.3f}; {each:.2f} seconds each, "
        f"{1e3 * each / steps:.2f} ms a pair; all {count} take {count * each / 60:.1f} minutes"
    )


# --- the order ----------------------------------------------------------------------------------------

RUN: dict[str, Callable[[argparse.Namespace, Report, Clock], None]] = {
    "check": check,
    "float32": lambda given, report, clock: steps(given, report, clock, "float32"),
    "bfloat16": lambda given, report, clock: steps(given, report, clock, "bfloat16"),
    "search": searches,
    "segments": lambda given, report, clock: steps(given, report, clock, "float32", slow=True),
    "kernels": kernels,
}


def head(given: argparse.Namespace) -> list[str]:
    """What the figures were taken on."""
    import torch

    found = [*machine(), "python -m benchmarks.gpu " + " ".join(sys.argv[1:])]
    if torch.device(given.device).type != "cuda":
        return [*found, "on the CPU: nothing is recorded"]
    properties = torch.cuda.get_device_properties(torch.device(given.device))
    driver = "unknown"
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    return [
        *found,
        f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, {properties.multi_processor_count} processors; "
        f"driver, clock and power limit: {driver}",
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}; TF32 in convolutions {tf32[0]}, in products {tf32[1]}",
    ]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="how long all of it may take")
    parser.add_argument("--stages", default=",".join(STAGES), help="those that are wanted, in this order")
    parser.add_argument("--data", type=Path, help="CIFAR-10, for the search")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="where searches are kept")
    parser.add_argument("--precision", default="bfloat16", help="of the long search")
    parser.add_argument("--epochs", type=int, default=0, help="of a search, in place of the published 250")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cells", type=int, default=5, help="of each of the three sizes")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=0, help="steps a round; 20 on a GPU, else 1")
    parser.add_argument("--contiguous", action="store_true", help="images not laid out as channels_last")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # of a stage: the clock of its parent
    given = parser.parse_args(argv)
    given.times = given.times or (20 if given.device.startswith("cuda") else 1)
    unknown = set(given.stages.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    return given


def main() -> None:
    given = arguments()
    if given.until is not None:
        report = Report(given.out)
        try:
            RUN[given.stages](given, report, Clock(given.until))
        except Exception:
            report.failed(given.stages)
        return
    import torch

    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "needs a CUDA device, and there is none here; `--device cpu` runs the same code without recording"
        )
        return
    clock = Clock(time.monotonic() + 60 * given.minutes)
    report = Report(given.out, afresh=given.stages.startswith(STAGES[0]) or not given.out.exists())
    report.tell(*head(given))
    for stage in given.stages.split(","):
        report.tell("", f"{stage}: {clock.left:.0f} seconds left")
        if stage in RECORDED and not given.device.startswith("cuda"):
            report.tell("  on a CUDA device alone")
            continue
        if clock.is_over:
            continue
        run_stage(stage, report, clock)


def run_stage(stage: str, report: Report, clock: Clock) -> None:
    """In a process of its own: after some errors a CUDA device does nothing more for the one that it has."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        *sys.argv[1:],
        "--stages",
        stage,
        "--until",
        str(clock.end),
    ]
    began = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(timeout=max(1.0, clock.left))
    except BaseException as error:
        # With what it has started: a search would go on, and is given the time to keep its state.
        end_group(process)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        report.tell(f"  {stage}: stopped, out of time")
        return
    ended = "" if code == 0 else f" and ended with {code}"
    report.tell(f"  {stage} took {time.monotonic() - began:.0f} seconds{ended}")


def end_group(process: subprocess.Popen[bytes], wait: float = STOPPING) -> None:
    """Ends a process that leads a group, and all of the group."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=wait)


if __name__ == "__main__":
    main()
