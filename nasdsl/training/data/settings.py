"""What is trained on, as configuration: the table ``data`` of a run's settings, ``-c data.size=32`` on the command line."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nasdsl.training.config import Config

KINDS = ("image", "words", "bytes", "texts", "table", "arrays", "module")
"""The kinds of data that ``--task`` can name beside tasks that bring their own."""


class DataSettings(Config):
    """Data of the user's own. ``path`` is empty where the task brings its data itself."""

    path: str = Field(
        default="",
        description="a file or folder, or module:function; empty for a task that brings its own data",
    )
    kind: Literal["auto", "image", "words", "bytes", "texts", "table", "arrays", "module"] = Field(
        default="auto", description="what the data is; auto looks at it"
    )
    test: float = Field(
        default=0.2, gt=0, lt=1, description="share that is cut off as test part, where the data has none"
    )
    validation: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of the training part that the architecture is chosen on, the weights being trained on the rest; where the data has a validation part, that one",
    )
    seed: int = Field(default=0, ge=0, description="of these cuts; the same in every run")
    size: int = Field(
        default=0, ge=0, description="images become so many pixels high and wide; 0 leaves their size"
    )
    colours: Literal["auto", "grey", "rgb"] = Field(
        default="auto", description="channels of images from files: grey 1, rgb 3, auto what they have"
    )
    target: str = Field(
        default="", description="the column to predict, of a table or of a data set of Hugging Face"
    )
    classes: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="whether that column holds classes; auto: where it has words, or up to 20 whole numbers",
    )
    bptt: int = Field(default=35, ge=1, description="tokens of text that go through the network at once")
    carried: bool = Field(
        default=True,
        description="text: a recurrent network goes on with the state of the segment before; false: it starts each at zero",
    )
    tokens: int = Field(
        default=0, ge=0, description="largest number of tokens of each part of a text, its first; 0 keeps all"
    )
    vocabulary: int = Field(
        default=0, ge=0, description="largest number of words; rarer ones become <unk>; 0 keeps all"
    )
    memory: float = Field(
        default=4.0,
        gt=0,
        description="GB that the data may take on the device; larger data stays on disk or CPU",
    )
    cache: str = Field(
        default="",
        description="folder for decoded images that don't fit in memory; empty: the user's cache folder",
    )
    fingerprint: str = Field(
        default="", description="of the data as it was read; set by the run, and compared when it goes on"
    )
    split: str = Field(default="", description="of which example is in which part; set and compared likewise")
