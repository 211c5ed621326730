"""Search strategies, the loop that runs them, and the folder of a run."""

from nasdsl.search import gdas, random  # noqa: F401  (they register themselves)
from nasdsl.search.assign import is_connected, sample_connected
from nasdsl.search.history import History, Trial
from nasdsl.search.interrupt import Interrupted
from nasdsl.search.search import SearchResult, search
from nasdsl.search.settings import SearchSettings, settings_for
from nasdsl.search.strategy import STRATEGIES, Path, Strategy, WeightSharing

__all__ = [
    "STRATEGIES",
    "History",
    "Interrupted",
    "Path",
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
