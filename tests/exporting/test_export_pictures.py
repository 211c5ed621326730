"""The README of a network of pictures, followed by somebody who has a file, Pillow and onnxruntime alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasdsl import pipeline
from nasdsl.exporting.export import export
from nasdsl.training.data.pictures import pixels
from nasdsl.training.split import Pixels
from nasdsl.training.tasks import Task
from tests.exporting import cases
from tests.training.data_files import load, pictures

KINDS = ("heron", "kestrel", "owl")


@pytest.fixture(scope="module", params=["rgb", "grey"])
def birds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Noise, 20 pixels wide and 12 high, which `data.size` cuts to a square and makes smaller."""
    folder = tmp_path_factory.mktemp("birds")
    for number, kind in enumerate(KINDS):
        (folder / kind).mkdir()
        for i, picture in enumerate(pictures(8, (12, 20, 3), seed=number)):
            Image.fromarray(picture).save(folder / kind / f"{i}.png")
    return load(folder, size=8, colours=request.param)


@pytest.mark.parametrize("inside", [True, False])
def test_the_lines_read_a_picture_as_training_did(birds: Task, inside: bool, tmp_path: Path) -> None:
    channels = birds.sizes["channels"]
    space = pipeline.loads(
        f"space s {{\n  input image: [{channels}, 8, 8]\n"
        "  return image -> conv(8, kernel = 3) -> batchnorm -> relu -> global_avgpool -> linear(3)\n}"
    )
    net = cases.make(space, 0)
    precisions = ["fp32", "int8", "fp16"] if inside else ["fp32"]
    export(
        net, tmp_path, ["onnx"], task=birds, with_preprocessing=inside, precisions=precisions, max_loss=100
    )
    readme = (tmp_path / "README.md").read_text()
    said = " ".join(readme.split())
    order = "RGB, in this order" if channels == 3 else "grey"
    assert f"Pictures are float32 [N, {channels}, 8, 8], {order}, with values 0..255" in said
    assert "middle square and resampled to 8 x 8 (`data.size`)" in said
    assert "Classes, in the order of the scores: heron, kestrel, owl." in said
    for file in ("model.int8.onnx", "model.fp16.onnx"):
        assert (f"`{file}` is run in the same way" in said) == inside
        assert (tmp_path / file).exists() == inside
    image = Image.fromarray(pictures(1, (12, 20, 3), seed=9)[0])
    image.save(tmp_path / "picture.png")
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "PIL" in c)
    blocked = "import sys\nsys.modules['nasdsl'] = sys.modules['torch'] = None\n"
    more = "\nprint(json.dumps(scores[0].tolist()))"
    shown = subprocess.run(
        [sys.executable, "-c", blocked + code + more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    told, scores = shown.stdout.splitlines()
    # What training makes of the same file.
    (view,) = birds.train.views
    assert isinstance(view, Pixels)
    stored = torch.from_numpy(pixels(image, channels, 8)[None].copy())
    with torch.no_grad():
        expected = net.eval()(view(stored, torch.contiguous_format))[0]
    np.testing.assert_allclose(json.loads(scores), expected.numpy(), rtol=1e-4, atol=1e-4)
    assert told == KINDS[int(expected.argmax())]
