"""Whisper's weights in the forms they come in: OpenAI's, Hugging Face's names, CTranslate2's container."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from gradloom.audio.models.whisper import ModelDimensions, Whisper
from gradloom.errors import FileError
from gradloom.io.files import load
from gradloom.tensor import Tensor, tensor

__all__ = ["load_whisper", "read_ctranslate2"]

_KINDS = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: ml_dtypes.bfloat16}


def read_ctranslate2(path: str | Path) -> tuple[str, dict[str, np.ndarray]]:
    """Name of the specification and arrays of a CTranslate2 file (``model.bin``), versions 5 and 6.

    Weights of 8 and 16 bits come back as float32: rows divided by their scale. Raises FileError for other files.
    """
    data = Path(path).read_bytes()
    at = 0

    def take(form: str) -> Any:
        nonlocal at
        size = struct.calcsize(form)
        if at + size > len(data):
            raise FileError(f"{path}: it ends at byte {len(data)}, in the middle", code="io.ctranslate2")
        at += size
        return struct.unpack_from(form, data, at - size)[0]

    def text() -> str:
        return take(f"<{take('<H')}s").rstrip(b"\0").decode("utf-8")

    version = take("<I")
    if version not in (5, 6):
        raise FileError(
            f"{path}: no CTranslate2 model of version 5 or 6 ({version} stands there)", code="io.ctranslate2",
            hint="the file is called model.bin",
        )  # fmt: skip
    name, _ = text(), take("<I")
    found: dict[str, np.ndarray] = {}
    for _ in range(take("<I")):
        key = text()
        shape = [take("<I") for _ in range(take("<B"))]
        kind, size = take("<B"), take("<I")
        if kind not in _KINDS or at + size > len(data):
            raise FileError(f"{path}: {key} has dtype {kind} and {size} bytes", code="io.ctranslate2")
        found[key] = np.frombuffer(data, np.dtype(_KINDS[kind]), size // np.dtype(_KINDS[kind]).itemsize, at)
        found[key] = found[key].reshape(shape)
        at += size
    for _ in range(take("<I")):
        alias = text()
        found[alias] = found[text()]
    for key in [k for k in found if k.endswith("_scale") and k.removesuffix("_scale") in found]:
        weight, scale = found[key.removesuffix("_scale")], found.pop(key).astype(np.float32)
        rows = scale.reshape(-1, *(1,) * (weight.ndim - 1)) if scale.size > 1 else scale.reshape(())
        found[key.removesuffix("_scale")] = weight.astype(np.float32) / rows
    return name, found


def load_whisper(path: str | Path) -> Whisper:
    """A model from a file, its sizes read off the weights.

    path : OpenAI's ``.pt``, ``.safetensors`` with OpenAI's or Hugging Face's names, or CTranslate2's ``model.bin``.
    Weights of half precision become float32. Raises FileError for a file of another model.
    """
    path = Path(path)
    if path.suffix == ".bin":
        name, arrays = read_ctranslate2(path)
        if name != "WhisperSpec":
            raise FileError(f"{path}: a model of kind {name}, expected WhisperSpec", code="io.whisper")
        return _built(*_from_ctranslate2(arrays), str(path))
    content: Any = load(path)
    if not isinstance(content, Mapping):
        raise FileError(f"{path}: a {type(content).__name__}, expected weights by name", code="io.whisper")
    state: Mapping[str, Any] = content.get("model_state_dict", content)
    arrays = {k: v.detach().float().numpy() if isinstance(v, Tensor) else np.asarray(v) for k, v in state.items()}
    if any(".self_attn." in k for k in arrays):
        arrays = _from_hugging_face(arrays)
    heads = content.get("dims", {}).get("n_audio_head")
    return _built(arrays, heads, str(path))


def _built(state: dict[str, np.ndarray], heads: int | None, path: str) -> Whisper:
    try:
        width, mels, _ = state["encoder.conv1.weight"].shape
        vocabulary, text_width = state["decoder.token_embedding.weight"].shape
        lengths = len(state["encoder.positional_embedding"]), len(state["decoder.positional_embedding"])
    except (KeyError, ValueError):
        raise FileError(f"{path}: no weights of Whisper: {', '.join(list(state)[:4])}…", code="io.whisper") from None
    layers = [
        1 + max(int(k.split(".")[2]) for k in state if k.startswith(f"{s}.blocks.")) for s in ("encoder", "decoder")
    ]
    heads = heads or width // 64  # so in all published sizes
    dims = ModelDimensions(
        mels, lengths[0], width, heads, layers[0], vocabulary, lengths[1], text_width, heads, layers[1]
    )
    model = Whisper(dims)
    model.load_state_dict({k: tensor(np.ascontiguousarray(v, np.float32)) for k, v in state.items()})
    return model.eval()


_HUGGING_FACE = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"\.embed_positions\.weight$", ".positional_embedding"),
    (r"\.embed_tokens\.", ".token_embedding."),
)


def _from_hugging_face(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {}
    for key, value in state.items():
        for pattern, new in _HUGGING_FACE:
            key = re.sub(pattern, new, key)
        if key != "proj_out.weight":  # the embedding itself
            out[key] = value
    return out


_PARTS = {"layer_norm/gamma": "weight", "layer_norm/beta": "bias"}


def _from_ctranslate2(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int | None]:
    """OpenAI's names: the products of queries, keys and values are one there."""
    out: dict[str, np.ndarray] = {}
    for key, value in arrays.items():
        side, _, rest = key.partition("/")
        layer = re.match(r"layer_(\d+)/(self_attention|attention|ffn)/(.+)/(.+)", rest)
        if layer:
            n, block, part, kind = layer.groups()
            at = f"{side}.blocks.{n}.{ {'self_attention': 'attn', 'attention': 'cross_attn', 'ffn': 'mlp'}[block] }"
            out.update(_layer(at, block, part, kind, value))
        elif rest.startswith("layer_norm/"):
            out[f"{side}.{'ln_post' if side == 'encoder' else 'ln'}.{_PARTS[rest]}"] = value
        elif rest.startswith("conv"):
            out[f"{side}.{rest.replace('/', '.')}"] = value
        elif rest == "embeddings/weight":
            out["decoder.token_embedding.weight"] = value
        elif rest == "position_encodings/encodings":
            out[f"{side}.positional_embedding"] = value
    heads = arrays.get("encoder/num_heads")
    return out, None if heads is None else int(heads)


def _layer(at: str, block: str, part: str, kind: str, value: np.ndarray) -> dict[str, np.ndarray]:
    if part == "layer_norm":
        return {f"{at}_ln.{_PARTS[f'layer_norm/{kind}']}": value}
    number = int(part.removeprefix("linear_"))
    if block == "ffn":
        return {f"{at}.{2 * number}.{kind}": value}
    names = {
        ("self_attention", 0): ("query", "key", "value"),
        ("attention", 0): ("query",),
        ("attention", 1): ("key", "value"),
    }
    whole = names.get((block, number), ("out",))
    pieces = dict(zip(whole, np.split(value, len(whole)), strict=True))
    return {f"{at}.{n}.{kind}": p for n, p in pieces.items() if not (n == "key" and kind == "bias")}
