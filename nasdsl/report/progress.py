"""Progress that a person can follow: a line now and then, and on a terminal one that changes in place."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from nasdsl.diagnostics.quantities import counted, grouped, size_text

if TYPE_CHECKING:
    from nasdsl.training.train import Epoch


class Progress:
    """Prints what happens; ``lines`` is about how many stay for each stage, ``indent`` stands before each."""

    def __init__(self, stream: TextIO | None = None, *, lines: int = 10, indent: str = "  ") -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.lines = lines
        self.indent = indent
        self.metric = "metric"
        self._passing = False
        self._trials = 0
        self._epochs = 0
        self._proposals = 0

    # --- events of a search ----------------------------------------------------------------------

    def search(self, event: Mapping[str, Any]) -> None:
        """To be handed to a search as ``on_event``."""
        kind = event["event"]
        if kind == "start":
            self._epochs = event["epochs"]
            if "evaluator" in event:
                self.metric = event["score"]
                how = f"at most {grouped(event['evaluations'])} scored by {event['evaluator']}"
            else:
                how = f"{counted(event['epochs'], 'epoch')} of {counted(event['steps'], 'step')}, "
                how += f"in about {size_text(event['memory']['total'])} of memory"
                if "proposals" in event:
                    self._proposals = event["proposals"]
                    how += f", then up to {grouped(event['proposals'])} scored"
                if "optimise" in event:
                    how += f"; {switches_text(event['optimise'])}"
                if "ordinary" in event:
                    how += f" (no static graph: {event['ordinary']})"
            self.say(
                f"searching {event['space']}: {grouped(event['architectures'])} architectures, "
                f"{event['choices']} choices; {event['strategy']} on {event['task']}, {how}"
            )
        elif kind == "resume":
            self._epochs = event["epochs"]
            steps = f"{counted(event['epoch'], 'epoch')} and {counted(event['step'], 'step')}"
            done = f"{steps} were done, {event['trials']} scored"
            if "evaluator" in event:
                self.metric = event["score"]
                done = f"{event['trials']} of at most {grouped(event['evaluations'])} were scored"
            self.say(f"going on with {event['space']}, {event['strategy']} on {event['task']}: {done}")
        elif kind == "epoch":
            parts = [f"epoch {event['epoch']:>3}/{self._epochs or '?'}", f"loss {event['loss']:.3f}"]
            parts.append(f"{self.metric} {event['metric']:.3f}")
            if "architecture_loss" in event:
                parts.append(f"architecture {event['architecture_loss']:.3f}")
            if "entropy" in event:
                parts.append(f"undecided {event['entropy']:.0%}")
            self._line("  ".join(parts), event["epoch"], self._epochs, event["seconds"])
        elif kind == "rollback":
            self.say(f"went back to step {event['step']}: {event['why']}")
        elif kind == "trial":
            self._trials += 1
            whole = f"/{self._proposals}" if self._proposals else ""
            text = f"scored {event['number']:>4}{whole}  {self.metric} {event['metric']:.3f}"
            self._line(text, event["number"], self._proposals, event["seconds"])
        elif kind == "end":
            self.say(f"winner {genotype_text(event['genotype'])}")

    # --- epochs of training ----------------------------------------------------------------------

    def training(self, epoch: Epoch, epochs: int) -> None:
        """To be handed to training as ``on_epoch``, with the number of epochs."""
        text = f"epoch {epoch.epoch + 1:>3}/{epochs}  loss {epoch.loss:.3f}  {self.metric} {epoch.metric:.3f}"
        self._line(text, epoch.epoch + 1, epochs)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._wipe()
        print(f"{self.indent}{text}", file=self.stream, flush=True)

    # --- how -------------------------------------------------------------------------------------

    def _line(self, text: str, number: int, total: int, seconds: float | None = None) -> None:
        if seconds is not None:
            text += f"  {seconds:.0f} s"
        step = max(1, -(-total // self.lines)) if total else 10
        if number == 1 or number % step == 0 or number == total:
            self.say(text)
        elif self.stream.isatty():
            self._wipe()
            print(f"{self.indent}{text}", end="", file=self.stream, flush=True)
            self._passing = True

    def _wipe(self) -> None:
        if self._passing:
            print("\r\033[K", end="", file=self.stream)
            self._passing = False


def switches_text(switches: Mapping[str, Any]) -> str:
    """Optimisations that were set, for people.

    >>> switches_text({"share": False, "recompute": True, "compile": "inductor"})
    'share off, recompute on, compile inductor'
    """
    words = {True: "on", False: "off"}
    return ", ".join(f"{name} {words.get(value, value)}" for name, value in switches.items())


def genotype_text(genotype: Mapping[str, Any]) -> str:
    """A genotype on a line, for people.

    >>> genotype_text({"width": "32", "skips": ("0", "2")})
    'width = 32, skips = [0, 2]'
    """
    return ", ".join(
        f"{name} = {taken if isinstance(taken, str) else '[' + ', '.join(taken) + ']'}"
        for name, taken in genotype.items()
    )
