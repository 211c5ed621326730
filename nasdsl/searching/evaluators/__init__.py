"""What scores a genotype where no supernet does: training, zero-cost proxies, measures. One is a file."""

from nasdsl.searching.evaluators import (  # noqa: F401  (they register themselves)
    fisher,
    grad_norm,
    jacob_cov,
    measures,
    naswot,
    snip,
    synflow,
    train,
)
from nasdsl.searching.evaluators.evaluator import EVALUATORS, Budgeted, Evaluator, Given

__all__ = ["EVALUATORS", "Budgeted", "Evaluator", "Given"]
