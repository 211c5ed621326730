"""How a picture becomes the input of an exported network, as it did in training (:mod:`nasdsl.training.data.pictures`)."""

from __future__ import annotations

from nasdsl.exporting.job import Job
from nasdsl.training.split import Pixels

FORMATS = {1: ("L", "grey"), 3: ("RGB", "RGB, in this order")}
"""Pillow's mode, and its name to people, by the number of channels."""


def takes_pictures(job: Job) -> bool:
    """Whether the one input is made from pictures, stored as bytes."""
    if job.task is None or job.about.preprocessing is None:
        return False
    views = job.task.train.views
    dims = job.network.input_shapes[0].dims
    return (
        len(views) == 1
        and isinstance(views[0], Pixels)
        and len(dims) == 3
        and dims[0] in FORMATS
        and all(isinstance(dim, int) for dim in dims)
    )


def described(job: Job) -> str:
    """What the ONNX file takes, in words."""
    channels, height, width = job.network.input_shapes[0].dims
    assert job.task is not None and isinstance(channels, int)
    inside = job.options.with_preprocessing
    sized = job.task.data.size
    made = (
        f"Pictures for training were cut to their middle square and resampled to {sized} x {sized} (`data.size`)"
        if sized
        else f"Pictures for training were {width} pixels wide and {height} high; the lines below bring others to that"
    )
    return (
        f"Pictures are float32 [N, {channels}, {height}, {width}], {FORMATS[channels][1]}, with values 0..255"
        f"{', which the ONNX file normalises itself' if inside else ' that are then normalised'}. {made}."
    )


def read_picture(job: Job) -> list[str]:
    """Lines that read a picture with Pillow into ``inputs``, not yet normalised."""
    channels, height, width = job.network.input_shapes[0].dims
    assert isinstance(channels, int)
    axes = "transpose(2, 0, 1)[None]" if channels == 3 else "reshape(1, 1, *image.size[::-1])"
    return [
        f'image = Image.open("picture.png").convert("{FORMATS[channels][0]}")',
        f"image = ImageOps.fit(image, ({width}, {height}), Image.Resampling.BILINEAR)",
        f'inputs = {{"{job.network.input_names[0]}": np.asarray(image, np.float32).{axes}}}',
    ]
