"""Bayesian optimisation: a sampler of optuna, behind the same protocol. It says so where optuna isn't installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, ClassVar, Literal

from pydantic import Field

from nasdsl.diagnostics import failure
from nasdsl.searching.assign import follow, within_bounds
from nasdsl.searching.history import History, Trial
from nasdsl.searching.replay import Replaying
from nasdsl.searching.strategy import STRATEGIES
from nasdsl.space.choice import Choice, Genotype
from nasdsl.space.space import Space
from nasdsl.training.config import Config
from nasdsl.training.seeds import derive


class BayesianOptions(Config):
    sampler: Literal["tpe", "multivariate_tpe"] = Field(
        default="tpe",
        description="choices one by one, or jointly where they always exist (multivariate_tpe)",
    )
    startup: int = Field(default=10, ge=1, description="random genotypes before the model is asked")


@STRATEGIES.add("bayesian")
class Bayesian(Replaying):
    """Bayesian optimisation with the tree-structured Parzen estimator of optuna (Bergstra et al., NIPS 2011; Akiba et
    al., KDD 2019).

    Each choice is a categorical parameter, asked for where its guard holds; each candidate of a sub-list is one with two
    values, and the sub-list is put within its bounds. What is told of a trial is what its genotype took. A genotype that
    breaks a ``require`` is drawn at random instead; trials that failed are left out.
    """

    Options: ClassVar[type[Config]] = BayesianOptions

    def __init__(self, space: Space, options: Any, seed: int) -> None:
        """Raises NasError N972 without optuna."""
        if find_spec("optuna") is None:
            raise failure(
                "N972", "strategy `bayesian` needs optuna, which isn't here", "pip install 'nasdsl[bayesian]'"
            )
        super().__init__(space, options, seed)

    def reset(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize", sampler=self.sampler(0))

    def sampler(self, number: int) -> Any:
        """A new one for each proposal, so that a resumed search draws the same."""
        import optuna

        return optuna.samplers.TPESampler(
            seed=derive(self.seed, "sampler", number) & 0xFFFFFFFF,
            n_startup_trials=self.options.startup,
            multivariate=self.options.sampler == "multivariate_tpe",
        )

    def tell(self, trial: Trial, number: int) -> None:
        if trial.metric != trial.metric:
            return
        import optuna

        taken: dict[str, Any] = {}
        kinds: dict[str, Any] = {}
        for name, value in trial.genotype.items():
            choice = self.space.choice(name)
            if isinstance(value, str):
                taken[name] = value
                kinds[name] = optuna.distributions.CategoricalDistribution(choice.labels)
                continue
            for label in choice.labels:
                taken[f"{name} has {label}"] = label in value
                kinds[f"{name} has {label}"] = optuna.distributions.CategoricalDistribution((False, True))
        self.study.add_trial(optuna.trial.create_trial(params=taken, distributions=kinds, value=trial.metric))

    def next(self, history: History) -> Genotype | None:
        import optuna

        self.study.sampler = self.sampler(len(history))
        asked = self.study.ask()

        def decide(choice: Choice) -> tuple[int, ...]:
            if not choice.is_sublist:
                return (choice.labels.index(asked.suggest_categorical(choice.name, choice.labels)),)
            inside = [
                asked.suggest_categorical(f"{choice.name} has {label}", (False, True))
                for label in choice.labels
            ]
            return within_bounds(choice, [1.0 if member else -1.0 for member in inside])

        genotype, _ = follow(self.space, decide)
        self.study.tell(asked, state=optuna.trial.TrialState.FAIL)  # what it came to is told by the history
        if self.space.permits(genotype):
            return genotype
        return self.space.sample(derive(self.seed, "fallback", len(history)))
