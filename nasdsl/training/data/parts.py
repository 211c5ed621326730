"""Training, validation and test part: those that were published are kept; where there is no test part, one is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.training.cuts import cut
from nasdsl.training.data.dataset import Array
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.seeds import generator
from nasdsl.training.split import Split


@dataclass(frozen=True, eq=False)
class Parts:
    """``notes`` say what was cut."""

    train: Split
    test: Split
    validation: Split | None = None
    notes: tuple[str, ...] = ()

    def changed(self, change: Callable[[Split], Split]) -> Parts:
        validation = None if self.validation is None else change(self.validation)
        return replace(self, train=change(self.train), test=change(self.test), validation=validation)


def parts_of(
    name: str, train: Split, test: Split | None, validation: Split | None, settings: DataSettings
) -> Parts:
    """The parts of a data set, on the CPU. Raises NasError N919 where one would be empty."""
    notes: tuple[str, ...] = ()
    if test is None:
        held_out, kept = cut(train, settings.test, generator(settings.seed, "test part"))
        train, test = train.part(kept), train.part(held_out)
        notes = (
            f"`{name}` has no test part: {len(test)} of {len(test) + len(train)} examples are kept for it "
            f"(data.test = {settings.test:g}, data.seed = {settings.seed})",
        )
    for what, split in (("training", train), ("test", test), ("validation", validation)):
        if split is not None and len(split) < (2 if what == "training" else 1):
            raise failure("N919", f"`{name}` is too small: its {what} part has {len(split)} examples")
    return Parts(train, test, validation, notes)


def check_classes(name: str, labels: Array, classes: Sequence[str]) -> None:
    """Raises NasError N919 where there is one class, or where a class has too few examples to be in every part."""
    if len(classes) < 2:
        raise failure(
            "N919",
            f"`{name}` has one class, `{classes[0]}`: there is nothing to tell apart"
            if classes
            else f"`{name}` has no classes",
        )
    counts = np.bincount(labels, minlength=len(classes))
    few = [i for i, count in enumerate(counts) if count < 3]
    if few:
        count = counts[few[0]]
        raise failure(
            "N919",
            f"class `{classes[few[0]]}` of `{name}` has {count} example{'s' if count != 1 else ''} to train on",
            "three at least are wanted: for the weights, for the architecture and for the test",
        )
