"""Recipes: how weights are trained, as configuration. What the fields do stands in the files that they name:
:mod:`~nasdsl.training.optimizers`, :mod:`~nasdsl.training.schedule`, :mod:`~nasdsl.training.average`,
:mod:`~nasdsl.training.outputs`, :mod:`~nasdsl.training.augment`, :mod:`~nasdsl.operations.recurrent`,
:mod:`~nasdsl.training.regularisation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nasdsl.operations.recurrent import Dropouts
from nasdsl.training.config import Config

RECURRENT = (
    "dropout_words",
    "dropout_embedding",
    "dropout_input",
    "dropout_hidden",
    "dropout_output",
    "activity",
    "slowness",
)


class Recipe(Config):
    """How weights are trained. The defaults are those of NAS-Bench-201 (Dong & Yang, 2020) in 20 epochs of batch 64."""

    epochs: int = Field(default=20, ge=1, description="passes over the training part")
    batch: int = Field(default=64, ge=1, description="examples a step")
    ghosts: int = Field(
        default=1,
        ge=1,
        description="parts of a batch that run one after the other, each with batch-norm statistics of its own; more need less memory",
    )
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = Field(
        default="sgd",
        description="sgd as NAS-Bench-201 and DARTS; adamw for transformers; rmsprop for the mobile family",
    )
    lr: float = Field(
        default=0.1,
        gt=0,
        description="learning rate at the start; 0.1 with batch norm and sgd, about 1e-3 with adamw",
    )
    lr_end: float = Field(
        default=0.0,
        ge=0,
        description="learning rate at the end of cosine, linear and each restart; the least of exponential",
    )
    schedule: Literal["cosine", "linear", "constant", "step", "restarts", "exponential"] = Field(
        default="cosine",
        description="how the learning rate goes from lr to lr_end, step by step; step, restarts and exponential have fields of their own",
    )
    warmup: float = Field(
        default=0.0, ge=0, description="epochs in which the learning rate rises from 0 first"
    )
    drops: tuple[float, ...] = Field(
        default=(), description="schedule step: the epochs at which the learning rate is multiplied by drop"
    )
    drop: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="schedule step: what it is multiplied by; exponential: what every epoch, from the first of drops on",
    )
    period: float = Field(
        default=10.0, gt=0, description="schedule restarts: epochs of the first cosine (T0 of SGDR)"
    )
    period_growth: float = Field(
        default=2.0, ge=1, description="schedule restarts: how much longer each is than the one before (Tmul)"
    )
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="of sgd and rmsprop; beta1 of adam and adamw likewise"
    )
    nesterov: bool = Field(default=True, description="sgd looks ahead along its momentum")
    beta2: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="how slowly adam and adamw forget squared gradients; rmsprop (its alpha) likewise",
    )
    epsilon: float = Field(
        default=1e-8, gt=0, description="added to the root of squared gradients by adam, adamw and rmsprop"
    )
    weight_decay: float = Field(default=5e-4, ge=0, description="decay of all weights that a step used")
    decay: Literal["all", "matrices"] = Field(
        default="all",
        description="what decays: all weights, or matrices and kernels alone, not scales, offsets and biases",
    )
    clip: float = Field(
        default=5.0, ge=0, description="largest norm of a step's gradient; 0 leaves it as it is"
    )
    smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="label smoothing: the share of the target spread over all classes",
    )
    drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="chance that a candidate's summed output is dropped for an example; rises from 0 epoch by epoch",
    )
    auxiliary: float = Field(
        default=0.0, ge=0, description="weight of the loss of every output after the first; 0 leaves them out"
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="how slowly a moving average of the weights, which is what is kept, forgets; 0 keeps the last weights",
    )
    asgd: int = Field(
        default=0,
        ge=0,
        description="once the validation loss was no better for so many epochs, the mean of the weights of all later steps is what is kept (NT-ASGD); 0 is off",
    )
    dropout_words: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="recurrent networks: chance that a word's whole vector is dropped",
    )
    dropout_embedding: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="recurrent networks: of features that an embedding gives, the same at all times of a segment, as all that follow",
    )
    dropout_input: float = Field(
        default=0.0, ge=0, lt=1, description="recurrent networks: of features that a scan reads"
    )
    dropout_hidden: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="recurrent networks: of features that rest on a scan's state, where a matrix reads them",
    )
    dropout_output: float = Field(
        default=0.0, ge=0, lt=1, description="recurrent networks: of features that the last scan gives"
    )
    activity: float = Field(
        default=0.0,
        ge=0,
        description="recurrent networks: weight of the mean square of what the last scan gives (alpha of AWD-LSTM)",
    )
    slowness: float = Field(
        default=0.0,
        ge=0,
        description="recurrent networks: weight of the mean square of its change from one time to the next (beta)",
    )
    crop: int = Field(
        default=0, ge=0, description="augmentation: random crop of images with so many pixels around them"
    )
    flip: bool = Field(
        default=False, description="augmentation: every second image is turned from left to right"
    )
    cutout: int = Field(default=0, ge=0, description="augmentation: a square of so many pixels is set to 0")
    mixup: float = Field(
        default=0.0, ge=0, description="augmentation: alpha of mixup, which blends examples; 0 is off"
    )
    rand_augment: int = Field(
        default=0, ge=0, description="augmentation: so many random changes of an image, as RandAugment"
    )
    rand_magnitude: float = Field(
        default=9.0, ge=0, le=30, description="how strong the changes of rand_augment are"
    )

    @property
    def dropouts(self) -> Dropouts:
        """Those of recurrent networks."""
        return Dropouts(
            self.dropout_words,
            self.dropout_embedding,
            self.dropout_input,
            self.dropout_hidden,
            self.dropout_output,
        )

    @property
    def recurrent(self) -> list[str]:
        """The fields that are set and act on recurrent networks alone."""
        return [name for name in RECURRENT if getattr(self, name)]

    def lasting(self, epochs: int) -> Recipe:
        """The recipe in another number of epochs: what is measured in epochs is stretched along.

        >>> Recipe(epochs=100, schedule="step", drops=(50, 75), warmup=4).lasting(50).drops
        (25.0, 37.5)
        """
        if epochs == self.epochs:
            return self
        scale = epochs / self.epochs
        changed = {
            "epochs": epochs,
            "warmup": self.warmup * scale,
            "drops": tuple(at * scale for at in self.drops),
            # Only where it is used: two recipes that do the same stay equal.
            "period": self.period * (scale if self.schedule == "restarts" else 1),
            "drop": self.drop ** (1 / scale if self.schedule == "exponential" else 1),
        }
        return Recipe.model_validate(self.model_dump() | changed)
