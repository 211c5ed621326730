"""The display of a search: a panel on a terminal, lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from nasdsl.report.live import Display, watching
from nasdsl.report.progress import Progress

EVENTS = [
    {"event": "start", "space": "mine", "architectures": "9", "choices": 2, "task": "digits", "strategy": "gdas",
     "epochs": 4, "steps": 10, "memory": {"total": 10**8}, "seconds": 0.0},
    *(
        {"event": "epoch", "epoch": i, "loss": 2.0 / i, "metric": 0.2 * i, "architecture_loss": 1.5, "entropy": 0.5,
         "lr": 0.1, "leading": {"a": "conv", "b": "skip"}, "probabilities": {"a": [0.6, 0.4], "b": [0.1, 0.9]},
         "seconds": 10.0 * i}
        for i in (1, 2, 3)
    ),
    {"event": "trial", "number": 1, "genotype": {"a": "conv"}, "metric": 0.75, "loss": 1.0, "seconds": 41.0},
]  # fmt: skip


def test_the_panel_has_what_one_wants_to_know() -> None:
    display = Display("accuracy")
    for event in EVENTS:
        display.take(event)
    console = Console(file=io.StringIO(), width=100)
    console.print(display)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for said in (
        "epoch 3/4",
        "about 10 s left",
        "loss 0.667",
        "architecture 1.500",
        "accuracy 0.600",
        "undecided 50%",
    ):
        assert said in text
    assert "scored 1, best 0.750" in text
    # The least decided choice first.
    assert text.index("0.60 conv") < text.index("0.90 skip")


def test_without_a_supernet_it_counts_what_is_scored() -> None:
    display = Display("accuracy")
    display.take({**EVENTS[0], "epochs": 0, "evaluator": "synflow", "evaluations": 40, "score": "synflow"})
    display.take({**EVENTS[-1], "number": 10, "metric": 123.0})
    console = Console(file=io.StringIO(), width=100)
    console.print(display)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "scored 10/40" in text and "best 123.000" in text and "epoch" not in text


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    with watching(Progress(stream, indent="")) as shown:
        for event in EVENTS:
            shown.search(event)
    assert "\033" not in stream.getvalue() and "\r" not in stream.getvalue()
    assert "epoch   3/4  loss 0.667" in stream.getvalue()
