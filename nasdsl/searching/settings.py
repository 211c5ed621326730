"""The configuration of a run: what is searched how, and how the winner is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from pydantic import Field, create_model

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.searching.evaluators import EVALUATORS
from nasdsl.searching.optimise import OptimiseSettings
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.training.config import Config, assignment, check_entries, override, put, validated
from nasdsl.training.data.settings import DataSettings
from nasdsl.training.device import Precision
from nasdsl.training.entries import Entry
from nasdsl.training.recipe import Recipe
from nasdsl.training.recipes import published

Number = int | float | str  # exact rationals that are no whole number are written as text, "1/3"


class SearchSettings(Config):
    """What a run is made with. Two runs with equal settings (and versions, threads and device) give equal results."""

    space: str = Field(default="", description="the space's name")
    parameters: dict[str, Number] = Field(
        default_factory=dict, description="the space's parameters, set with --set"
    )
    task: str = Field(default="digits", description="what is trained on")
    data: DataSettings = Field(default=DataSettings(), description="data of your own, where there is some")
    strategy: str = Field(default="gdas", description="who decides what is trained and what wins")
    seed: int = Field(default=0, ge=0, description="of every use of chance in the run")
    device: str = Field(default="auto", description="auto, cpu or cuda")
    precision: Precision = Field(
        default="float32",
        description="float32, or bfloat16 or float16 for matrix products (autocast; float16 with scaled gradients)",
    )
    channels_last: bool = Field(
        default=True, description="memory layout of images; faster for convolutions on most machines"
    )
    budget: float = Field(
        default=0.0,
        ge=0,
        description="seconds for the epochs of the search, which were counted when the run began (--budget); 0 is no limit",
    )
    batch_norm: Literal["published", "batch", "running", "recalibrate"] = Field(
        default="published",
        description="whose statistics batch norms use in the search: those of the batch, running ones, running ones that are re-estimated for each genotype that is scored; published is as the strategy was",
    )
    ranking_batch: int = Field(
        default=256, ge=2, description="examples at once where a genotype is scored with shared weights"
    )
    on_divergence: Literal["stop", "rollback"] = Field(
        default="stop",
        description="what a loss that is no number does: stop, or rollback to the last checkpoint with half the learning rate",
    )
    rollbacks: int = Field(default=3, ge=0, description="how often a run may roll back before it stops")
    checkpoint_steps: int = Field(
        default=0, ge=0, description="a checkpoint after so many steps, besides one an epoch; 0 is none"
    )
    checkpoint_seconds: float = Field(
        default=300.0, ge=0, description="a checkpoint after so many seconds, besides one an epoch; 0 is none"
    )
    timeout: float = Field(
        default=600.0,
        gt=0,
        description="seconds after which one of several processes that doesn't answer has ended",
    )
    evaluator: str = Field(
        default="",
        description="what scores genotypes where the strategy trains no supernet: train, synflow, …",
    )
    evaluations: int = Field(
        default=100, ge=1, description="genotypes that an evaluator scores, unless the strategy ends before"
    )
    epoch_budget: int = Field(
        default=0,
        ge=0,
        description="epochs of training that all evaluations may take together; 0 is any number",
    )
    finalists: int = Field(
        default=10, ge=1, description="the best so many genotypes are kept in finalists.json"
    )
    objectives: tuple[str, ...] = Field(
        default=("accuracy",),
        description="accuracy, and costs that are to be small beside it: params, flops, memory, training_memory, latency (--objective)",
    )
    latency: str = Field(
        default="",
        description="the file of operation latencies that `nasdsl latency` measured, for latency among objectives and constraints (--latency)",
    )
    constraints: tuple[str, ...] = Field(
        default=(), description="what every architecture must keep to, such as `flops <= 100M` (--constraint)"
    )
    cost_weight: float = Field(
        default=0.1,
        ge=0,
        description="what the (expected) share of the largest cost weighs in the loss of an architecture step, or the reward of a sample, for each cost among the objectives",
    )
    search: Recipe = Field(default=Recipe(), description="how the supernet's weights are trained")
    optimise: OptimiseSettings = Field(
        default=OptimiseSettings(), description="what is done for speed and memory"
    )
    options: Config = Field(default=Config(), description="the strategy's own options")
    evaluation: Config = Field(default=Config(), description="the evaluator's own options")
    training: Recipe = Field(default=Recipe(), description="how a network is trained from scratch")

    def elsewhere(self, key: str) -> str | None:
        """Which strategies have an option that this one hasn't."""
        table, _, option = key.partition(".")
        having = [name for name, kind in sorted(STRATEGIES.items()) if option in kind.Options.model_fields]
        if table != "options" or not having:
            return None
        own = ", ".join(type(self.options).model_fields) or "none"
        return f"it is an option of {', '.join(having)}; those of `{self.strategy}`: {own}"


CHANGEABLE = frozenset({"on_divergence", "rollbacks", "checkpoint_steps", "checkpoint_seconds", "timeout"})
"""What a run may be resumed with other values of: nothing that was computed so far depends on it."""

GROWING = frozenset({"evaluations", "epoch_budget"})
"""What a run with an evaluator may be resumed with more of, also when it was done: each genotype rests on the trials
before it, and not on how many are to come."""


def grows(key: str, before: int, now: int) -> bool:
    """Whether an entry of :data:`GROWING` allows for more than before; for ``epoch_budget`` 0 is any number."""
    if key == "epoch_budget" and 0 in (before, now):
        return now == 0 != before
    return now > before


TRAINING_PRESETS: dict[str, Sequence[str]] = {
    "published": (),
    "demo": ("training.epochs=30", "training.smoothing=0.1"),
}


def settings_for(
    strategy: str,
    *,
    evaluator: str = "",
    preset: str = "published",
    recipe: str = "",
    entries: Sequence[Entry] = (),
    epochs: int | None = None,
    assignments: Sequence[str] = (),
    **given: Any,
) -> SearchSettings:
    """The settings of a search. In this order, later ones winning: the strategy's published recipe and options, a preset,
    a published ``recipe`` for the winner's training, ``entries`` of files, fields by name (``task="digits"``),
    ``epochs`` of the search (to which its schedule is stretched), assignments such as ``search.lr=0.05``.

    Raises NasError: N940 for an unknown strategy, N963 for an unknown evaluator, N941 for an unknown preset, N1020 for an unknown recipe, N920 to N922
    for an entry or an assignment.
    """
    kind = STRATEGIES.find(strategy)
    if preset not in kind.presets:
        help = did_you_mean(preset, kind.presets) or f"there are: {', '.join(kind.presets)}"
        raise failure("N941", f"strategy `{strategy}` has no preset `{preset}`", help)
    settings = settings_type(strategy, evaluator).model_validate(
        {"strategy": strategy, "evaluator": evaluator}
    )
    settings = override(settings, [*TRAINING_PRESETS.get(preset, ()), *kind.presets[preset]])
    if recipe:
        settings = settings.model_copy(update={"training": published(recipe)})
    of_files = [entry for entry in entries if entry.key not in ("strategy", "evaluator")]
    assigned = [assignment(text) for text in assignments]
    check_entries(settings, of_files, assigned)
    settings = put(settings, of_files)
    settings = validated(type(settings), settings.model_dump() | given)
    if epochs is not None:
        settings = settings.model_copy(update={"search": settings.search.lasting(epochs)})
    return put(settings, assigned)


def settings_type(strategy: str, evaluator: str = "") -> type[SearchSettings]:
    """The settings with the options of one strategy and one evaluator, and the strategy's published recipe as default.
    Raises NasError: N940 for an unknown strategy, N963 for an unknown evaluator."""
    kind = STRATEGIES.find(strategy)
    recipe = getattr(kind, "recipe", Recipe())
    scored_by = EVALUATORS.find(evaluator).Options if evaluator else Config
    fields: dict[str, Any] = {
        "options": (
            kind.Options,
            Field(default_factory=kind.Options, description="the strategy's own options"),
        ),
        "evaluation": (
            scored_by,
            Field(default_factory=scored_by, description="the evaluator's own options"),
        ),
        "search": (Recipe, Field(default=recipe, description="how the supernet's weights are trained")),
    }
    return cast(
        type[SearchSettings], create_model(f"{kind.__name__}Settings", __base__=SearchSettings, **fields)
    )
