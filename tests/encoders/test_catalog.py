from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from terraseek.encoders import list_models, model_fingerprint, model_info
from terraseek.errors import NotFoundError

MakeModel = Callable[..., Path]


def test_lists_whole_and_damaged_models(make_model: MakeModel, tmp_path: Path) -> None:
    good, bad = make_model("runs/good"), make_model("bad")
    make_model(".half-written")
    (bad / "model.safetensors").write_bytes(b"short")
    infos = {info.name: info for info in list_models(tmp_path)}
    assert set(infos) == {"runs/good", "bad"}
    info = infos["runs/good"]
    assert info.problem is None
    assert info.config is not None
    assert info.config.architecture == "mean-colour"
    assert info.fingerprint == model_fingerprint(good)
    assert info.files == ("config.json", "image.onnx", "model.safetensors")
    assert info.bytes == sum(path.stat().st_size for path in good.iterdir())
    assert infos["bad"].fingerprint is None
    assert "not a safetensors file" in str(infos["bad"].problem)


def test_no_folder_no_models(tmp_path: Path) -> None:
    assert list_models(tmp_path / "none") == []


def test_info_on_one(make_model: MakeModel, tmp_path: Path) -> None:
    assert model_info(make_model()).name == "mean-colour"
    with pytest.raises(NotFoundError, match="no model at"):
        model_info(tmp_path)
