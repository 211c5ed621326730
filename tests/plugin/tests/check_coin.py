"""What the package's own tests would be: the contract of strategies, run over its strategy."""

from __future__ import annotations

from nasdsl.searching.contract import StrategyContract


class TestCoin(StrategyContract):
    strategy = "coin"
