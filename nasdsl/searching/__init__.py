"""Search strategies, the loop that runs them, and the folder of a run."""

from nasdsl.searching import (  # noqa: F401  (they register themselves)
    advantage,
    bayesian,
    darts,
    drnas,
    enas,
    fair,
    gdas,
    local_search,
    nsga2,
    one_shot,
    pc_darts,
    proxyless,
    random,
    random_search,
    regularized_evolution,
    reinforce,
    sandwich,
    snas,
    spos,
    successive_halving,
)
from nasdsl.searching.assign import is_connected, sample_connected
from nasdsl.searching.evaluators import EVALUATORS, Evaluator
from nasdsl.searching.history import History, Trial
from nasdsl.searching.interrupt import Interrupted
from nasdsl.searching.search import SearchResult, search
from nasdsl.searching.settings import SearchSettings, settings_for
from nasdsl.searching.strategy import STRATEGIES, Path, Ranking, RewardDriven, Strategy, WeightSharing

__all__ = [
    "EVALUATORS",
    "STRATEGIES",
    "Evaluator",
    "History",
    "Interrupted",
    "Path",
    "Ranking",
    "RewardDriven",
    "SearchResult",
    "SearchSettings",
    "Strategy",
    "Trial",
    "WeightSharing",
    "is_connected",
    "sample_connected",
    "search",
    "settings_for",
]
