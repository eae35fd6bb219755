"""Transforms of tensors and pictures: beside PyTorch's interpolation, Pillow, and each other; draws and refusals."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import DTypeError, GradientError, GradloomError, ShapeError
from gradloom.vision import models
from gradloom.vision import transforms as T
from gradloom.vision.transforms import functional as F

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (2, 3, 13, 17), dtype=np.uint8)
FLOATS = RNG.random((3, 13, 17), dtype=np.float32)
MODES = T.InterpolationMode


@pytest.fixture
def picture() -> object:
    image = pytest.importorskip("PIL.Image")
    return image.fromarray(np.ascontiguousarray(BYTES[0].transpose(1, 2, 0)))


def _array(x: object) -> np.ndarray:
    """(C, H, W), whatever it is."""
    return x.numpy() if isinstance(x, gl.Tensor) else np.asarray(x).reshape(x.height, x.width, -1).transpose(2, 0, 1)


# -- sizes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(6, 20), (30, 9), (13, 17)])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_resize_is_pytorchs_interpolation(mode: str, antialias: bool, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    smooth = {"align_corners": False, "antialias": antialias} if mode.startswith("bi") else {}
    want = torch.nn.functional.interpolate(torch.tensor(FLOATS)[None], size=size, mode=mode, **smooth)[0]
    got = F.resize(gl.tensor(FLOATS), size, MODES(mode), antialias=antialias)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_resize_of_bytes_is_near_pillows(mode: str, picture: object) -> None:
    got = F.resize(gl.tensor(BYTES[0]), (7, 11), mode)
    assert got.dtype is gl.uint8
    want = _array(F.resize(picture, (7, 11), mode)).astype(int)
    if mode == "nearest":  # Pillow takes the pixel under the middle
        got = F.resize(gl.tensor(BYTES[0]), (7, 11), "nearest-exact")
    assert np.abs(got.numpy() - want).max() <= (2 if mode == "bicubic" else 1)  # Pillow rounds between the axes


@pytest.mark.parametrize(
    ("size", "limit", "want"),
    [(26, None, (26, 34)), ([26], None, (26, 34)), (26, 30, (22, 30)), (None, 34, (26, 34)), ((5, 6), None, (5, 6))],
)
def test_sizes_in_proportion(size: object, limit: int | None, want: tuple[int, int], picture: object) -> None:
    tall = gl.tensor(BYTES).transpose(-1, -2)
    for img, shape in ((gl.tensor(BYTES), want), (picture, want)):
        got = T.Resize(size, max_size=limit)(img)
        assert F.get_image_size(got) == [shape[1], shape[0]] and F.get_dimensions(got)[0] == 3
    if not isinstance(size, tuple):
        assert F.resize(tall, size, max_size=limit).shape[-2:] == want[::-1]


# -- the same for tensors and pictures ---------------------------------------------------------------------------
SAME = {
    "hflip": F.hflip,
    "vflip": F.vflip,
    "crop": lambda x: F.crop(x, 2, 3, 5, 6),
    "crop beyond": lambda x: F.crop(x, -2, -3, 20, 10),
    "crop behind": lambda x: F.crop(x, 10, 15, 9, 9),
    "crop outside": lambda x: F.crop(x, 14, 2, 3, 3),
    "center crop": T.CenterCrop(7),
    "center crop beyond": T.CenterCrop((20, 5)),
    "pad": T.Pad(2),
    "pad with a value": T.Pad((1, 2), fill=7),
    "pad edge": T.Pad((1, 2, 3, 4), padding_mode="edge"),
    "pad reflect": T.Pad((1, 2, 3, 4), padding_mode="reflect"),
    "pad symmetric": T.Pad((1, 2, 3, 4), padding_mode="symmetric"),
    "rotate 90": lambda x: F.rotate(x, 90, expand=True),
    "rotate 180": lambda x: F.rotate(x, 180),
    "invert": F.invert,
}
NEAR = {  # Pillow rounds otherwise
    "brightness": (lambda x: F.adjust_brightness(x, 1.4), 1),
    "contrast": (lambda x: F.adjust_contrast(x, 0.6), 1),
    "saturation": (lambda x: F.adjust_saturation(x, 1.7), 2),
    "gamma": (lambda x: F.adjust_gamma(x, 0.7, 1.1), 1),
    "grey": (lambda x: F.rgb_to_grayscale(x, 3), 1),
}


@pytest.mark.parametrize("name", SAME)
def test_pictures_and_tensors_agree(name: str, picture: object) -> None:
    got = SAME[name](gl.tensor(BYTES))
    assert got.shape[0] == 2 and got.dtype is gl.uint8
    np.testing.assert_array_equal(got[0].numpy(), _array(SAME[name](picture)))


@pytest.mark.parametrize("name", NEAR)
def test_colours_of_pictures_and_tensors_are_near(name: str, picture: object) -> None:
    change, apart = NEAR[name]
    got = change(gl.tensor(BYTES[0]))
    assert got.dtype is gl.uint8
    assert np.abs(got.numpy().astype(int) - _array(change(picture))).max() <= apart
    floats = change(gl.tensor(BYTES[0].astype(np.float32) / 255))
    assert np.abs(floats.numpy() * 255 - got.numpy()).max() <= 1.5


def test_hue_turns() -> None:
    red = gl.tensor([[[1.0]], [[0.2]], [[0.2]]])
    np.testing.assert_allclose(F.adjust_hue(red, 1 / 3).numpy().ravel(), [0.2, 1, 0.2], atol=1e-6)
    np.testing.assert_allclose(F.adjust_hue(red, -1 / 3).numpy().ravel(), [0.2, 0.2, 1], atol=1e-6)
    x = gl.tensor(FLOATS)
    np.testing.assert_allclose(F.adjust_hue(x, 0.0).numpy(), FLOATS, atol=1e-6)
    np.testing.assert_allclose(F.adjust_hue(F.adjust_hue(x, 0.3), -0.3).numpy(), FLOATS, atol=1e-5)


def test_hue_of_a_picture(picture: object) -> None:
    got = F.adjust_hue(gl.tensor(BYTES[0]), 0.25).numpy().astype(int)
    assert np.abs(got - _array(F.adjust_hue(picture, 0.25))).mean() < 3  # Pillow keeps hues in 256 steps


@pytest.mark.parametrize("angle", [30, -75.5])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_rotation_is_pytorchs_grid_sampling(angle: float, mode: str) -> None:
    torch = pytest.importorskip("torch")
    h, w = FLOATS.shape[1:]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    theta = torch.tensor([[[c, -s * h / w, 0], [s * w / h, c, 0]]], dtype=torch.float64)
    grid = torch.nn.functional.affine_grid(theta, (1, 3, h, w), align_corners=False)
    want = torch.nn.functional.grid_sample(torch.tensor(FLOATS[None]).double(), grid, mode, align_corners=False)[0]
    got = F.rotate(gl.tensor(FLOATS), angle, MODES(mode)).numpy()
    assert (np.abs(got - want.numpy()) < 1e-5).mean() > (0.98 if mode == "nearest" else 0.999)  # but for ties


def test_rotation_fills_and_keeps_its_centre() -> None:
    x = gl.ones(3, 9, 9)
    turned = F.rotate(x, 45, fill=[2.0, 3.0, 4.0])
    np.testing.assert_array_equal(turned[:, 0, 0].numpy(), [2, 3, 4])
    assert F.rotate(x, 45, expand=True).shape == (3, 13, 13)
    dot = gl.zeros(1, 9, 9)
    dot[0, 2, 6] = 1
    assert F.rotate(dot, 90, center=[6.5, 2.5])[0, 2, 6].item() == 1


# -- conversion ------------------------------------------------------------------------------------------------
def test_pictures_to_tensors_and_back(picture: object) -> None:
    got = T.ToTensor()(picture)
    assert got.dtype is gl.float32
    np.testing.assert_array_equal(got.numpy(), BYTES[0].astype(np.float32) / 255)
    np.testing.assert_array_equal(T.PILToTensor()(picture).numpy(), BYTES[0])
    np.testing.assert_array_equal(_array(T.ToPILImage()(got)), BYTES[0])
    np.testing.assert_array_equal(_array(T.ToPILImage()(gl.tensor(BYTES[0, 0]))), BYTES[0, :1])
    np.testing.assert_array_equal(F.to_tensor(BYTES[0].transpose(1, 2, 0)).numpy(), got.numpy())
    assert F.to_tensor(np.zeros((4, 5))).shape == (1, 4, 5)
    assert F.pil_to_tensor(picture.convert("1")).numpy().max() == 255
    assert F.pil_to_tensor(picture.convert("F")).dtype is gl.float32


@pytest.mark.parametrize(
    ("source", "target", "value", "want"),
    [
        ("uint8", "float32", 51, 0.2), ("float32", "uint8", 1.0, 255), ("float32", "uint8", 0.5, 127),
        ("uint8", "int16", 3, 384), ("int16", "uint8", 384, 3), ("float32", "float64", 0.5, 0.5),
        ("uint8", "uint8", 9, 9),
    ],
)  # fmt: skip
def test_dtypes_scale(source: str, target: str, value: float, want: float) -> None:
    x = gl.tensor(np.full((1, 2, 2), value, source))
    got = T.ConvertImageDtype(getattr(gl, target))(x)
    assert got.dtype is getattr(gl, target)
    assert got.numpy()[0, 0, 0] == pytest.approx(want)


def test_normalize() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    want = (FLOATS - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    x = gl.tensor(FLOATS.copy())
    np.testing.assert_allclose(T.Normalize(mean, std)(x).numpy(), want, rtol=1e-5, atol=1e-6)
    assert F.normalize(x, mean, std, inplace=True) is x
    np.testing.assert_allclose(x.numpy(), want, rtol=1e-5, atol=1e-6)


def test_the_preset_of_published_weights(picture: object) -> None:
    prepare = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert prepare(picture).shape == (3, 224, 224)
    assert prepare(gl.tensor(BYTES)).shape == (2, 3, 224, 224)
    assert "resize_size=[232]" in repr(prepare)
    assert models.EfficientNet_B1_Weights.IMAGENET1K_V1.transforms(crop_size=32)(picture).shape == (3, 32, 32)


# -- what is drawn -----------------------------------------------------------------------------------------------
DRAWN = {
    "RandomCrop": T.RandomCrop(6, padding=2),
    "RandomResizedCrop": T.RandomResizedCrop(8),
    "RandomHorizontalFlip": T.RandomHorizontalFlip(),
    "RandomVerticalFlip": T.RandomVerticalFlip(),
    "RandomRotation": T.RandomRotation(40),
    "ColorJitter": T.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "RandomErasing": T.RandomErasing(value="random"),
    "RandomGrayscale": T.RandomGrayscale(0.5),
    "RandomChoice": T.RandomChoice([F.hflip, F.vflip]),
    "RandomOrder": T.RandomOrder([F.hflip, lambda x: F.crop(x, 0, 0, 8, 9)]),
    "RandomApply": T.RandomApply([F.hflip]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_draws_follow_the_seed(name: str) -> None:
    transform, x = DRAWN[name], gl.tensor(FLOATS)

    def series(seed: int) -> list[np.ndarray]:
        gl.manual_seed(seed)
        return [transform(x).numpy() for _ in range(12)]

    first, again = series(4), series(4)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(a.shape != first[0].shape or (a != first[0]).any() for a in first[1:])
    assert repr(transform).startswith(name)


def test_crops_and_flips_are_even() -> None:
    gl.manual_seed(0)
    places = np.array([T.RandomCrop.get_params(gl.zeros(1, 8, 9), (6, 6))[:2] for _ in range(600)])
    counts = np.unique(places, axis=0, return_counts=True)[1]
    assert len(counts) == 12 and counts.min() > 25
    x = gl.tensor(np.arange(2.0).reshape(1, 1, 2))
    assert 0.4 < np.mean([T.RandomHorizontalFlip()(x)[0, 0, 0].item() for _ in range(300)]) < 0.6
    assert T.RandomCrop(20, pad_if_needed=True)(gl.tensor(FLOATS)).shape == (3, 20, 20)


def test_resized_crops_keep_their_bounds() -> None:
    gl.manual_seed(0)
    for _ in range(100):
        _, _, h, w = T.RandomResizedCrop.get_params(gl.zeros(1, 40, 60), (0.2, 0.6), (0.7, 1.4))
        assert 0.17 < h * w / 2400 < 0.65 and 0.62 < w / h < 1.55
    assert T.RandomResizedCrop.get_params(gl.zeros(1, 4, 90), (1, 1), (0.5, 2)) == (0, 41, 4, 8)


def test_erasing_a_rectangle() -> None:
    gl.manual_seed(2)
    got = T.RandomErasing(p=1.0, value=[5.0, 6.0, 7.0])(gl.zeros(3, 20, 20)).numpy()
    rows, columns = np.nonzero(got[0])
    assert got[:, rows[0], columns[0]].tolist() == [5, 6, 7]
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert T.RandomErasing(p=0.0)(x := gl.zeros(3, 4, 4)) is x


def test_five_and_ten() -> None:
    x = gl.tensor(FLOATS)
    five = T.FiveCrop(4)(x)
    np.testing.assert_array_equal(five[3].numpy(), FLOATS[:, -4:, -4:])
    ten = T.TenCrop((4, 5), vertical_flip=True)(x)
    np.testing.assert_array_equal(ten[5].numpy(), FLOATS[:, ::-1][:, :4, :5])


def test_composition() -> None:
    both = T.Compose([T.Lambda(lambda x: x + 1), T.Pad(1)])
    np.testing.assert_array_equal(both(gl.zeros(1, 1, 1)).numpy(), [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]])
    assert repr(both).splitlines()[0] == "Compose("
    assert "padding=1" in repr(both) and repr(T.ToTensor()) == "ToTensor()"
    assert T.Grayscale(3)(gl.tensor(FLOATS)).shape == (3, 13, 17)


# -- refusals ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: F.hflip([1]), TypeError, "list"),
        (lambda: F.hflip(gl.zeros(3)), ShapeError, "(..., C, H, W)"),
        (lambda: F.hflip(gl.zeros(3, 3, requires_grad=True)), GradientError, "grid_sample"),
        (lambda: F.resize(gl.zeros(1, 4, 4), (2, 2), "lanczos"), ValueError, "bilinear"),
        (lambda: F.resize(gl.zeros(1, 4, 4), (2, 2, 2)), ValueError, "one or two"),
        (lambda: F.resize(gl.zeros(1, 4, 4), (2, 2), max_size=5), ValueError, "max_size"),
        (lambda: F.resize(gl.zeros(1, 4, 4), 5, max_size=5), ValueError, "greater"),
        (lambda: F.resize(gl.zeros(1, 4, 4), None), ValueError, "max_size"),
        (lambda: F.pad(gl.zeros(1, 4, 4), (1, 2, 3)), ValueError, "four"),
        (lambda: F.pad(gl.zeros(1, 4, 4), 1, padding_mode="wrap"), ValueError, "symmetric"),
        (lambda: F.rotate(gl.zeros(1, 4, 4), 5, "bicubic"), ValueError, "nearest"),
        (lambda: F.rotate(gl.zeros(1, 4, 4), 5, fill=[1, 2]), ShapeError, "channels"),
        (lambda: F.five_crop(gl.zeros(1, 4, 4), 5), ValueError, "larger"),
        (lambda: F.normalize(gl.zeros(3, 4, 4).long(), [0], [1]), DTypeError, "int64"),
        (lambda: F.normalize(gl.zeros(3, 4, 4), [0], [0]), ValueError, "zero"),
        (lambda: F.normalize(gl.zeros(3, 4, 4), [0, 0], [1, 1]), ShapeError, "channels"),
        (lambda: F.to_tensor(np.zeros(3)), ShapeError, "no image"),
        (lambda: F.pil_to_tensor(gl.zeros(3)), TypeError, "Tensor"),
        (lambda: F.to_pil_image(gl.zeros(2, 3, 4, 4)), ShapeError, "batch"),
        (lambda: F.to_pil_image(gl.zeros(3, 4, 4).long()), DTypeError, "int64"),
        (lambda: F.convert_image_dtype(gl.zeros(1, 2, 2), gl.int32), DTypeError, "wider"),
        (lambda: F.adjust_hue(gl.zeros(3, 2, 2), 0.6), ValueError, "0.5"),
        (lambda: F.adjust_brightness(gl.zeros(3, 2, 2), -1), ValueError, "negative"),
        (lambda: F.adjust_contrast(gl.zeros(2, 2, 2), 1), ShapeError, "1 or 3"),
        (lambda: F.rgb_to_grayscale(gl.zeros(3, 2, 2), 2), ValueError, "1 or 3"),
        (lambda: F.to_grayscale(gl.zeros(3, 2, 2)), TypeError, "rgb_to_grayscale"),
        (lambda: T.RandomCrop(5)(gl.zeros(1, 4, 4)), ValueError, "pad_if_needed"),
        (lambda: T.RandomHorizontalFlip(2), ValueError, "probability"),
        (lambda: T.RandomRotation(-3), ValueError, "degrees"),
        (lambda: T.RandomRotation((1, 2, 3)), ValueError, "degrees"),
        (lambda: T.ColorJitter(brightness=-1), ValueError, "negative"),
        (lambda: T.ColorJitter(hue=0.7), ValueError, "hue"),
        (lambda: T.RandomErasing(value="noise"), ValueError, "random"),
        (lambda: T.RandomErasing(scale=(0.5, 0.2)), ValueError, "range"),
        (lambda: T.RandomErasing(p=1, value=[1, 2])(gl.zeros(3, 9, 9)), ValueError, "channels"),
        (lambda: T.RandomResizedCrop(4, scale=(2, 1)), ValueError, "least"),
        (lambda: T.RandomChoice([F.hflip], p=[0.5, 0.5]), ValueError, "probabilities"),
        (lambda: T.Lambda(3), TypeError, "int"),
        (lambda: T.CenterCrop((1, 2, 3)), ValueError, "height"),
    ],
)  # fmt: skip
def test_refusals(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert match in str(caught.value)
    assert not isinstance(caught.value, GradloomError) or caught.value.code
