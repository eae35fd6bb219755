"""ViT beside the same network written with torch.nn: outputs, gradients, steps, stems, positions for other sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, ShapeError
from gradloom.vision import models
from gradloom.vision.models import ConvStemConfig, VisionTransformer, interpolate_embeddings
from gradloom.vision.models.weights import load_into

SIZES: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24,
    "num_classes": 5,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "patches": {}, "hidden layer": {"representation_size": 12}, "stem": {"stem": (8, 12, 8)},
}  # fmt: skip


def beside(representation_size: int | None = None, stem: tuple[int, ...] = ()) -> Any:
    """The network in PyTorch, from its layers, with the names that torchvision gives them."""
    torch = pytest.importorskip("torch")
    from torch import nn as tn

    class Block(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1 = tn.LayerNorm(16, 1e-6)
            self.self_attention = tn.MultiheadAttention(16, 2, batch_first=True)
            self.ln_2 = tn.LayerNorm(16, 1e-6)
            self.mlp = tn.Sequential(tn.Linear(16, 24), tn.GELU(), tn.Dropout(0), tn.Linear(24, 16), tn.Dropout(0))

        def forward(self, x: Any) -> Any:
            y = self.ln_1(x)
            x = x + self.self_attention(y, y, y)[0]
            return x + self.mlp(self.ln_2(x))

    class Net(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            if stem:
                self.conv_proj, before = tn.Sequential(), 3
                for n, c in enumerate(stem):
                    parts = (tn.Conv2d(before, c, 3, 2, 1, bias=False), tn.BatchNorm2d(c), tn.ReLU())
                    self.conv_proj.add_module(f"conv_bn_relu_{n}", tn.Sequential(*parts))
                    before = c
                self.conv_proj.add_module("conv_last", tn.Conv2d(before, 16, 1))
            else:
                self.conv_proj = tn.Conv2d(3, 16, 8, 8)
            self.class_token = tn.Parameter(torch.zeros(1, 1, 16))
            self.encoder = tn.Module()
            self.encoder.pos_embedding = tn.Parameter(torch.zeros(1, 17, 16))
            self.encoder.layers = tn.Sequential()
            for n in range(2):
                self.encoder.layers.add_module(f"encoder_layer_{n}", Block())
            self.encoder.ln = tn.LayerNorm(16, 1e-6)
            self.heads = tn.Sequential()
            if representation_size:
                self.heads.add_module("pre_logits", tn.Linear(16, representation_size))
                self.heads.add_module("act", tn.Tanh())
            self.heads.add_module("head", tn.Linear(representation_size or 16, 5))

        def forward(self, x: Any) -> Any:
            x = self.conv_proj(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.encoder.pos_embedding
            return self.heads(self.encoder.ln(self.encoder.layers(x))[:, 0])

    return Net().double()


def ours(representation_size: int | None = None, stem: tuple[int, ...] = ()) -> VisionTransformer:
    settings = [ConvStemConfig(c, 3, 2) for c in stem] or None
    return VisionTransformer(**SIZES, representation_size=representation_size, conv_stem_configs=settings).double()


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_gradients_and_a_step(name: str) -> None:
    torch = pytest.importorskip("torch")
    a, b = ours(**VARIANTS[name]), beside(**VARIANTS[name])
    rng = np.random.default_rng(0)
    state = {k: np.abs(rng.standard_normal(tuple(v.shape))) * 0.3 for k, v in b.state_dict().items()}
    assert {k: tuple(v.shape) for k, v in a.state_dict().items()} == {k: v.shape for k, v in state.items()}
    assert list(a.state_dict()) == list(b.state_dict())
    a.load_state_dict({k: gl.tensor(v) for k, v in state.items()})
    b.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    x = rng.standard_normal((3, 3, 32, 32))
    with gl.no_grad(), torch.no_grad():
        np.testing.assert_allclose(a.eval()(gl.tensor(x)).numpy(), b.eval()(torch.tensor(x)).numpy(), 1e-9, 1e-12)
    one = gl.optim.AdamW(a.train().parameters(), 1e-3)
    two = torch.optim.AdamW(b.train().parameters(), 1e-3)
    for _ in range(2):
        one.zero_grad()
        two.zero_grad()
        mine = gl.nn.functional.cross_entropy(a(gl.tensor(x)), gl.tensor([1, 4, 0]))
        theirs = torch.nn.functional.cross_entropy(b(torch.tensor(x)), torch.tensor([1, 4, 0]))
        mine.backward()
        theirs.backward()
        assert mine.item() == pytest.approx(theirs.item(), rel=1e-9)
        for u, v in zip(a.parameters(), b.parameters(), strict=True):
            np.testing.assert_allclose(u.grad.numpy(), v.grad.numpy(), 1e-7, 1e-10)
        one.step()
        two.step()


def test_positions_for_images_of_another_size() -> None:
    torch = pytest.importorskip("torch")
    state = ours().state_dict()
    larger = interpolate_embeddings(48, 8, state)
    grid = torch.tensor(state["encoder.pos_embedding"].numpy())[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    want = torch.nn.functional.interpolate(grid, (6, 6), mode="bicubic", align_corners=True).flatten(2).transpose(1, 2)
    got = larger["encoder.pos_embedding"].numpy()
    np.testing.assert_allclose(got[:, 1:], want.numpy(), 1e-9, 1e-12)
    np.testing.assert_array_equal(got[:, 0], state["encoder.pos_embedding"].numpy()[:, 0])
    model = VisionTransformer(**{**SIZES, "image_size": 48}).double()
    model.load_state_dict(larger)
    assert model(gl.zeros(1, 3, 48, 48, dtype=gl.float64)).shape == (1, 5)
    rest = interpolate_embeddings(32, 8, state, reset_heads=True)
    assert rest["encoder.pos_embedding"] is state["encoder.pos_embedding"]
    assert set(state) - set(rest) == {"heads.head.weight", "heads.head.bias"}
    with pytest.raises(ShapeError, match="no square"):
        interpolate_embeddings(32, 8, {"encoder.pos_embedding": gl.zeros(1, 8, 4)})
    with pytest.raises(ShapeError, match="expected"):
        interpolate_embeddings(32, 8, {"encoder.pos_embedding": gl.zeros(17, 4)})


def test_old_names_load() -> None:
    model, other = ours(), ours()
    old = {
        k.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v
        for k, v in model.state_dict().items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.bias" in old
    load_into(other, old)
    for u, v in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(u.numpy(), v.numpy())


def test_first_values_and_refusals() -> None:
    model = ours()
    assert not model.heads.head.weight.numpy().any() and not model.class_token.numpy().any()
    assert abs(float(model.encoder.pos_embedding.numpy().std()) - 0.02) < 0.005
    with pytest.raises(ShapeError, match="images of 32x16, made for 32x32"):
        model(gl.zeros(1, 3, 32, 16, dtype=gl.float64))
    with pytest.raises(ArgumentError, match="image_size 30 is no multiple of patch_size 8"):
        VisionTransformer(**{**SIZES, "image_size": 30})


def test_the_size_is_that_of_the_weights() -> None:
    weights = models.ViT_B_16_Weights
    assert weights.DEFAULT is weights.IMAGENET1K_V1 and models.ViT_H_14_Weights.DEFAULT.name.endswith("E2E_V1")
    assert weights.IMAGENET1K_SWAG_E2E_V1.meta["num_params"] == 86_859_496
    assert weights.IMAGENET1K_SWAG_E2E_V1.transforms().crop_size == [384]
    with pytest.raises(ValueError, match="are for images of 384x384, not image_size=224"):
        models.vit_b_16(weights=weights.IMAGENET1K_SWAG_E2E_V1, image_size=224)
