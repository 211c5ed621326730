"""What all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Several workers share the cores, and results differ between one thread and two. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write what was printed as what is expected")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are written anew."""
    return bool(request.config.getoption("--bless"))


@pytest.fixture(autouse=True)
def _plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours and one width, wherever the tests run."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever an earlier test, or a command that it ran, asked for."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch

        if not torch.cuda.is_available():
            skip = pytest.mark.skip(reason="no CUDA device here")
            for item in gpu_tests:
                item.add_marker(skip)


def real_data(name: str) -> Path:
    """A folder of real data that doesn't ship: in NASDSL_DATA, or in shared/data beside the checkout. Skips where it is
    absent."""
    places = [Path(os.environ["NASDSL_DATA"])] if "NASDSL_DATA" in os.environ else []
    places.append(Path(__file__).parent.parent.parent / "shared" / "data")
    for place in places:
        if (place / name).exists():
            return place / name
    pytest.skip(f"no real data here: `{name}` is neither in NASDSL_DATA nor in ../shared/data")


@pytest.fixture
def fashion_mnist() -> Path:
    """The published IDX files."""
    return real_data("fashion_mnist")


@pytest.fixture(scope="session")
def nasbench201_table() -> Path:
    """CIFAR-10 of NAS-Bench-201."""
    return real_data("nasbench201/cifar10.csv")


@pytest.fixture
def penn_treebank() -> Path:
    """The published zip of three texts."""
    return real_data("penn_treebank/ptb.zip")
