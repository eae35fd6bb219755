"""Image models beside torchvision's: names, shapes and options, outputs, losses, gradients and one step, as recorded.

``facts.json`` is written by ``python -m tests.vision.record`` where torchvision is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import GradloomError, ShapeError
from gradloom.vision import models

sys.path.insert(0, str(Path(__file__).parent))
from facts import CLASSES, LABELS, MODELS, RATE, RATES, SHAPES, digest, images, recorded, values

OURS = ("lenet", "unet", "cifar_resnet18", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
SMALL = {
    "squeezenet1_0",
    "squeezenet1_1",
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "densenet121",
}


def _filled(name: str) -> nn.Module:
    model = models.get_model(name, num_classes=CLASSES).double()
    model.load_state_dict({k: gl.from_numpy(values(k, tuple(v.shape))) for k, v in model.state_dict().items()})
    return model


def _marked(names: object, slow: object) -> list[object]:
    return [pytest.param(n, marks=pytest.mark.slow) if slow(n) else n for n in names]


def test_every_model_is_listed_and_recorded() -> None:
    assert set(models.list_models()) == {*MODELS, *SHAPES, *OURS}
    assert models.list_models("vgg*", exclude="*_bn") == ["vgg11", "vgg13", "vgg16", "vgg19"]


@pytest.mark.parametrize("name", _marked([*MODELS, *SHAPES], lambda n: n not in SMALL))
def test_names_shapes_and_options_are_torchvisions(name: str) -> None:
    model = models.get_model(name)
    assert sum(p.numel() for p in model.parameters()) == recorded()[name]["parameters"]
    assert digest(model) == recorded()[name]["keys"]


@pytest.mark.parametrize("name", _marked(MODELS, lambda n: MODELS[n][1]))
def test_outputs_loss_gradients_and_a_step_are_torchvisions(name: str) -> None:
    model, facts = _filled(name), recorded()[name]
    for m in model.modules():  # nothing is drawn at random
        if hasattr(m, "p"):
            m.p = 0.0
    x, y = gl.from_numpy(images(MODELS[name][0])), gl.tensor(LABELS)
    with gl.no_grad():
        np.testing.assert_allclose(model.eval()(x).numpy(), facts["eval"], rtol=1e-7, atol=1e-7)
    model.train()
    optimizer = gl.optim.SGD(model.parameters(), lr=RATES.get(name, RATE))
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    assert loss.item() == pytest.approx(facts["loss"], rel=1e-7)
    found = np.array([p.grad.norm().item() for p in model.parameters()])
    np.testing.assert_allclose(found, facts["gradients"], rtol=1e-6, atol=1e-9 * max(facts["gradients"]))
    optimizer.step()
    after = np.array(facts["eval after"])
    with gl.no_grad():
        np.testing.assert_allclose(model.eval()(x).numpy(), after, rtol=1e-6, atol=1e-6 * np.abs(after).max())


# -- the models that torchvision does not have, beside the same written for PyTorch ---------------------------
def _torch_lenet() -> object:
    from torch import nn as tn

    class Net(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = tn.Conv2d(1, 6, 5, padding=2), tn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = tn.Linear(400, 120), tn.Linear(120, 84), tn.Linear(84, 10)

        def forward(self, x: object) -> object:
            pool = tn.functional.max_pool2d
            x = pool(self.conv2(pool(self.conv1(x).relu(), 2)).relu(), 2).flatten(1)
            return self.fc3(self.fc2(self.fc1(x).relu()).relu())

    return Net()


def _torch_cifar(depth: int) -> object:
    import torch
    from torch import nn as tn

    class Block(tn.Module):
        def __init__(self, a: int, b: int, stride: int) -> None:
            super().__init__()
            self.stride, self.more = stride, b - a
            self.conv1, self.bn1 = tn.Conv2d(a, b, 3, stride, 1, bias=False), tn.BatchNorm2d(b)
            self.conv2, self.bn2 = tn.Conv2d(b, b, 3, 1, 1, bias=False), tn.BatchNorm2d(b)

        def forward(self, x: object) -> object:
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            x = x[:, :, :: self.stride, :: self.stride]
            if self.more:
                zeros = torch.zeros_like(x[:, : self.more // 2])
                x = torch.cat([zeros, x, zeros], 1)
            return (x + y).relu()

    class Net(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = tn.Conv2d(3, 16, 3, 1, 1, bias=False), tn.BatchNorm2d(16)
            n = (depth - 2) // 6
            for k, (a, b, s) in enumerate(((16, 16, 1), (16, 32, 2), (32, 64, 2)), 1):
                setattr(self, f"layer{k}", tn.Sequential(Block(a, b, s), *(Block(b, b, 1) for _ in range(n - 1))))
            self.fc = tn.Linear(64, 10)

        def forward(self, x: object) -> object:
            x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
            return self.fc(x.mean((2, 3)))

    return Net()


def _torch_unet(bilinear: bool) -> object:
    import torch
    from torch import nn as tn

    def double(a: int, b: int) -> object:
        layers = []
        for c in (a, b):
            layers += [tn.Conv2d(c, b, 3, padding=1, bias=False), tn.BatchNorm2d(b), tn.ReLU()]
        return tn.Sequential(*layers)

    class Net(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = tn.ModuleList([double(3, 4), double(4, 8), double(8, 16)])
            ups = [tn.Conv2d(w, w // 2, 1) if bilinear else tn.ConvTranspose2d(w, w // 2, 2, 2) for w in (16, 8)]
            self.up, self.merge = tn.ModuleList(ups), tn.ModuleList([double(16, 8), double(8, 4)])
            self.head = tn.Conv2d(4, 5, 1)

        def forward(self, x: object) -> object:
            a = self.down[0](x)
            b = self.down[1](tn.functional.max_pool2d(a, 2))
            x = self.down[2](tn.functional.max_pool2d(b, 2))
            for up, merge, beside in zip(self.up, self.merge, (b, a), strict=True):
                x = tn.functional.interpolate(x, scale_factor=2, mode="bilinear") if bilinear else x
                x = merge(torch.cat([beside, up(x)], 1))
            return self.head(x)

    return Net()


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (lambda: models.lenet(), _torch_lenet, (3, 1, 28, 28)),
        (lambda: models.CifarResNet(8), lambda: _torch_cifar(8), (2, 3, 16, 16)),
        (lambda: models.unet(width=4, depth=2, num_classes=5), lambda: _torch_unet(False), (2, 3, 16, 24)),
        (lambda: models.unet(width=4, depth=2, num_classes=5, bilinear=True), lambda: _torch_unet(True), (2, 3, 8, 8)),
    ],
    ids=["lenet", "cifar", "unet", "unet bilinear"],
)
def test_our_models_beside_the_same_in_pytorch(ours: object, theirs: object, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    a, b = ours().double(), theirs().double()
    state = {k: values(k, tuple(v.shape)) for k, v in a.state_dict().items()}
    a.load_state_dict({k: gl.from_numpy(v) for k, v in state.items()})
    b.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    x = np.random.default_rng(0).standard_normal(shape)
    for mode in (False, True):
        p, q = a.train(mode)(gl.tensor(x)), b.train(mode)(torch.tensor(x))
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-9, atol=1e-9)
    weight = np.random.default_rng(1).standard_normal(tuple(p.shape))
    one, two = gl.optim.SGD(a.parameters(), lr=RATE), torch.optim.SGD(b.parameters(), lr=RATE)
    (p * gl.tensor(weight)).mean().backward()
    (q * torch.tensor(weight)).mean().backward()
    one.step()
    two.step()
    for (name, u), v in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        np.testing.assert_allclose(u.numpy(), v.numpy(), rtol=1e-8, atol=1e-10, err_msg=name)


def test_cifar_resnet18_keeps_the_size_in_its_stem() -> None:
    model = models.cifar_resnet18(in_channels=1)
    assert sum(p.numel() for p in models.cifar_resnet18().parameters()) == 11_173_962  # as is known of it
    assert isinstance(model.maxpool, nn.Identity) and model.conv1.stride == (1, 1)
    with gl.no_grad():
        assert model.eval()(gl.randn(2, 1, 32, 32)).shape == (2, 10)


# -- options --------------------------------------------------------------------------------------------------
def test_dilation_instead_of_stride() -> None:
    model = models.resnet50(replace_stride_with_dilation=(False, True, True))
    assert model.layer3[0].conv2.stride == (1, 1) and model.layer3[1].conv2.dilation == (2, 2)
    assert model.layer4[0].conv2.dilation == (2, 2) and model.layer4[1].conv2.dilation == (4, 4)


def test_zero_init_residual_starts_with_blocks_that_do_nothing() -> None:
    model = models.resnet18(zero_init_residual=True)
    assert not model.layer2[1].bn2.weight.numpy().any()
    assert model.layer2[1].bn1.weight.numpy().all()


def test_narrower_mobilenet_has_widths_in_multiples_of_eight() -> None:
    model = models.mobilenet_v2(width_mult=0.35, num_classes=5)
    assert {m.out_channels % 8 for m in model.modules() if isinstance(m, nn.Conv2d)} == {0}
    assert models.mobilenet_v3_small(reduced_tail=True, dilated=True).classifier[0].out_features == 512


def test_densenet_that_computes_again_has_the_same_gradients() -> None:
    x = gl.from_numpy(images(32)).float()
    found = []
    for again in (False, True):
        gl.manual_seed(3)
        model = models.DenseNet(4, (2, 2), 8, memory_efficient=again, num_classes=3)
        model(x).sum().backward()
        found.append([p.grad.numpy() for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: models.resnet18(weights="IMAGENET1K_V9"), ValueError, "no weights 'IMAGENET1K_V9'"),
        (lambda: models.lenet(weights="DEFAULT"), ValueError, "no weights"),
        (lambda: models.resnet18(weights=models.ResNet34_Weights.DEFAULT), ValueError, "not weights of resnet18"),
        (lambda: models.resnet18(weights=7), TypeError, "int"),
        (lambda: models.resnet18(weights="nowhere/x.pth"), FileNotFoundError, "x.pth"),
        (lambda: models.resnet18(weights="DEFAULT", num_classes=7), ValueError, "1000 classes"),
        (lambda: models.get_model("resnet19"), ValueError, "resnet18"),
        (lambda: models.get_model_weights("unet"), ValueError, "no published weights"),
        (lambda: models.get_weight("ResNet18.V1"), ValueError, "ResNet50_Weights"),
        (lambda: models.CifarResNet(21), ValueError, "6n"),
        (lambda: models.ResNet(models.BasicBlock, (1, 1, 1, 1), groups=2), ValueError, "Bottleneck"),
        (lambda: models.resnet50(replace_stride_with_dilation=[True]), ValueError, "three entries"),
        (lambda: models.SqueezeNet("2_0"), ValueError, "1_1"),
        (lambda: models.MobileNetV2(inverted_residual_setting=[(1, 2, 3)]), ValueError, "rows"),
        (lambda: models.UNet(width=2, depth=2)(gl.zeros(1, 3, 10, 8)), ShapeError, "multiples of 4"),
        (lambda: models.lenet()(gl.zeros(1, 3, 28, 28)), GradloomError, "channels"),
        (lambda: models.Nothing_Weights, AttributeError, "Nothing_Weights"),
    ],
)  # fmt: skip
def test_refusals(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_an_error_names_the_layer() -> None:
    with pytest.raises(GradloomError) as caught:
        models.resnet20()(gl.zeros(1, 4, 8, 8))
    assert any("CifarResNet.conv1" in note for note in caught.value.__notes__)
