"""The events of a run for programs that draw curves: TensorBoard, MLflow and Weights & Biases, each where it is installed.

All three get the same numbers under the same names: ``search/loss``, ``search/entropy``, ``trial/metric``,
``probability/<choice>/<label>``. Nothing leaves the machine: MLflow and Weights & Biases write into the run's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from nasdsl.diagnostics import did_you_mean, failure

Event = Mapping[str, Any]


class Tracker(Protocol):
    """Takes the numbers of one moment, and is closed in the end."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def scalars(event: Event, labels: Mapping[str, tuple[str, ...]]) -> tuple[int, dict[str, float]] | None:
    """The numbers of an event, and the epoch or trial they belong to; None where it has none. ``labels`` are those of
    the choices.

    >>> scalars({"event": "trial", "number": 2, "metric": 0.5, "loss": 1.0, "genotype": {}, "seconds": 1.0}, {})
    (2, {'trial/metric': 0.5, 'trial/loss': 1.0})
    """
    kind = event["event"]
    if kind not in ("epoch", "trial"):
        return None
    group, step = ("search", event["epoch"]) if kind == "epoch" else ("trial", event["number"])
    values = {
        f"{group}/{name}": float(value)
        for name, value in event.items()
        if isinstance(value, (int, float)) and name not in ("epoch", "number", "seconds")
    }
    for choice, shares in event.get("probabilities", {}).items():
        names = labels.get(choice, tuple(map(str, range(len(shares)))))
        for label, share in zip(names, shares, strict=False):
            values[f"probability/{choice}/{label}"] = float(share)
    return step, values


class TensorBoard:
    """Event files in ``tensorboard/`` of the run's folder. What a stopped run had told beyond its checkpoint is told
    again when it goes on; TensorBoard then keeps the newer one."""

    def __init__(self, folder: Path, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """A file store in ``mlruns/`` beside the run's folder, unless MLFLOW_TRACKING_URI says another place."""

    def __init__(self, folder: Path, name: str) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        if "MLFLOW_TRACKING_URI" not in os.environ:
            # Since version 3 a store of plain files has to be asked for; a database would need more packages.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri((folder.parent / "mlruns").resolve().as_uri())
        mlflow.set_experiment("nasdsl")
        mlflow.start_run(run_name=name)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        # MLflow allows few characters in a name.
        allowed = {
            "".join(c if c.isalnum() or c in "_-./ " else "_" for c in k): v for k, v in values.items()
        }
        self._mlflow.log_metrics(allowed, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class WeightsAndBiases:
    """Offline, in ``wandb/`` of the run's folder; `wandb sync` sends it on, if somebody wants that."""

    def __init__(self, folder: Path, name: str) -> None:
        import wandb

        self._run: Any = wandb.init(
            project="nasdsl", name=name, dir=str(folder), mode="offline", resume="allow"
        )

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()


TRACKERS: Mapping[str, tuple[Callable[[Path, str], Tracker], str]] = {
    "tensorboard": (TensorBoard, "tensorboard"),
    "mlflow": (MLflow, "mlflow-skinny"),
    "wandb": (WeightsAndBiases, "wandb"),
}
"""By name: what takes the numbers, and the package that it needs."""


def check_trackers(names: list[str]) -> None:
    """Raises NasError N1051 for an unknown one, N1052 for one whose package isn't there."""
    from importlib.util import find_spec

    for name in names:
        if name not in TRACKERS:
            help = did_you_mean(name, TRACKERS) or f"there are: {', '.join(TRACKERS)}"
            raise failure("N1051", f"there is no tracker `{name}`", help)
        if find_spec(name) is None:
            package = TRACKERS[name][1]
            raise failure(
                "N1052", f"tracker `{name}` needs a package that isn't here", f"pip install {package}"
            )


def _made(name: str, folder: Path) -> Tracker:
    try:
        return TRACKERS[name][0](folder, folder.name)
    except ImportError as error:
        raise failure(
            "N1052", f"tracker `{name}` can't be loaded: {error}", f"pip install {TRACKERS[name][1]}"
        ) from None


@contextmanager
def tracked(
    names: list[str], folder: Path, labels: Mapping[str, tuple[str, ...]]
) -> Iterator[Callable[[Event], None]]:
    """What takes events on behalf of trackers while the block lasts. Raises as :func:`check_trackers`."""
    check_trackers(names)
    trackers: list[Tracker] = []

    def take(event: Event) -> None:
        found = scalars(event, labels)
        if found is None:
            return
        if not trackers:  # the folder is the run's by now
            trackers.extend(_made(name, folder) for name in names)
        for tracker in trackers:
            tracker.numbers(*found)

    try:
        yield take
    finally:
        for tracker in trackers:
            tracker.close()
