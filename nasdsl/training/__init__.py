"""Tasks, recipes, the training of one network, and evaluation."""

from nasdsl.training.config import Config, override, read_toml, write_toml
from nasdsl.training.device import autocast, resolve_device
from nasdsl.training.recipe import Recipe
from nasdsl.training.seeds import initialise
from nasdsl.training.tasks import TASKS, Task, load_task
from nasdsl.training.train import Epoch, Evaluation, evaluate, fit

__all__ = [
    "TASKS",
    "Config",
    "Epoch",
    "Evaluation",
    "Recipe",
    "Task",
    "autocast",
    "evaluate",
    "fit",
    "initialise",
    "load_task",
    "override",
    "read_toml",
    "resolve_device",
    "write_toml",
]
