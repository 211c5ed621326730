"""The spaces that ship, at sizes that a test can run."""

from __future__ import annotations

from nasdsl import pipeline, resources
from nasdsl.pipeline import SearchSpace

SMALL = {
    "nasbench201": {"width": 4, "cells": 1},
    "darts": {"width": 2, "layers": 3},
    "darts_none": {"width": 2, "layers": 3},
    "gdas_frc": {"width": 4, "cells": 1},
    "mobilenet_small": {"size": 16},
    "decoder_lm": {"layers": 2, "vocab": 16},
    "speech_1d": {"channels": 8, "width": 16},
    "darts_rnn": {"hidden": 6, "embed": 6, "nodes": 4, "vocab": 11},
    "one_shot": {"width": 4, "cells": 3},
    "enas_macro": {"width": 4, "layers": 6},
    "enas_micro": {"width": 2, "cells": 1},
    "enas_rnn": {"hidden": 6, "embed": 6, "nodes": 5, "vocab": 11},
}
SHIPPED = sorted(path.stem for path in resources.spaces().glob("*.nas"))


def load(name: str, **sizes: int) -> SearchSpace:
    """A shipped space by name; ``sizes`` go over the small ones."""
    return pipeline.load(resources.spaces() / f"{name}.nas", **SMALL.get(name, {}) | sizes)
