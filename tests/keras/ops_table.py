"""Functions of ``keras.ops`` called once or twice: tests and `make_ops_figures.py` come from this."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(5)
V = RNG.normal(size=7).astype(np.float32)
M = RNG.normal(size=(4, 5)).astype(np.float32)
N = np.where(RNG.random((4, 5)) < 0.2, np.nan, M).astype(np.float32)
S = (M @ M.T + 4 * np.eye(4)).astype(np.float32)
LOW = np.tril(S)
B = RNG.normal(size=(4, 2)).astype(np.float32)
I = np.array([[2, 0, 1], [1, 1, 0]])
C = RNG.normal(size=(2, 3, 4)).astype(np.float32)
PIC = RNG.uniform(0.05, 1, (2, 6, 5, 3)).astype(np.float32)
SIG = RNG.normal(size=(2, 64)).astype(np.float32)
Q = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)
K = RNG.normal(size=(2, 6, 2, 3)).astype(np.float32)
LOGITS = RNG.normal(size=(2, 6, 4)).astype(np.float32)
CORNERS = np.array([[0, 0], [4, 0], [0, 5], [4, 5]], np.float32)
POINTS = np.array([[1, 0], [4, 1], [0, 4], [4, 5]], np.float32)
TURN = np.array([[0.9, 0.1, 0.3, -0.2, 1.1, 0.5, 0, 0]] * 2, np.float32)
MASK = RNG.random((2, 1, 5, 6)) < 0.7

TABLE = {
    **{name: (lambda o, name=name: [getattr(o, name)(N), getattr(o, name)(N, axis=1, keepdims=True)])
       for name in ("nanmax", "nanmin", "nanprod", "nanvar", "nanstd", "nanmedian")},
    "nanarg": lambda o: [o.nanargmax(N, axis=1), o.nanargmin(N, axis=0)],
    "nancum": lambda o: [o.nancumsum(N, axis=1), o.nancumprod(N, axis=0)],
    "nanquantile": lambda o: [o.nanquantile(N, 0.3, axis=1), o.nanpercentile(N, 30.0)],
    "percentile": lambda o: [o.percentile(M, 25.0, axis=1), o.percentile(M, [10.0, 60.0])],
    "ptp": lambda o: [o.ptp(M), o.ptp(M, axis=0, keepdims=True)],
    "close": lambda o: [o.isclose(V, V + 1e-9), o.allclose(V, V + 1.0), o.isin(I, [0, 2]), o.isin(I, [1], invert=True)],
    "elementwise": lambda o: [o.fabs(V), o.cbrt(V), o.bitwise_invert(I), o.bitwise_not(I)],
    "cast": lambda o: [o.saturate_cast(V * 200, "uint8"), o.saturate_cast(I * 100, "int8")],
    "append": lambda o: [o.append(M, M), o.append(M, M, axis=1)],
    "splits": lambda o: [*o.array_split(V, 3), *o.hsplit(C, 3), *o.vsplit(C, 2), *o.dsplit(C, [1, 3])],
    "flips": lambda o: [o.fliplr(M), o.flipud(M), o.rot90(M, 3), o.rot90(C, 1, axes=(1, 2))],
    "matrices": lambda o: [o.diagflat(V, 1), o.kron(M, B), o.vander(V, 3), o.vander(V, increasing=True)],
    "unravel_index": lambda o: list(o.unravel_index(np.array([0, 7, 19]), (4, 5))),
    "nonzero": lambda o: list(o.nonzero(np.array([[0, 3, 0], [1, 0, 2]]))),
    "unique": lambda o: list(o.unique(np.array([3, 1, 3, 2]), return_inverse=True, return_counts=True)),
    "correlation": lambda o: [o.corrcoef(M), *(o.correlate(V, V[:3], m) for m in ("valid", "same", "full"))],
    "histogram": lambda o: list(o.histogram(V, 5, range=(-2.0, 2.0))),
    "trapezoid": lambda o: [o.trapezoid(M), o.trapezoid(M, dx=0.5, axis=0)],
    "sequences": lambda o: [o.logspace(0.0, 2.0, 5), o.geomspace(1.0, 100.0, 4, endpoint=False)],
    "select": lambda o: [o.select([V > 0.5, V > 0], [V, -V], 9.0)],
    "windows": lambda o: [o.bartlett(7), o.blackman(7), o.hamming(7), o.hanning(7), o.kaiser(7, 3.0)],
    "cdist": lambda o: [o.cdist(M, M[:2])],
    "cholesky": lambda o: [o.cholesky(S), o.cholesky(S, upper=True), o.cholesky_inverse(np.linalg.cholesky(S))],
    "dets": lambda o: [o.det(S), o.logdet(S), *o.slogdet(S)],
    "eigh": lambda o: [o.eigh(S)[0]],
    "inverse": lambda o: [o.inv(S), o.pinv(M)],
    "lu": lambda o: list(o.lu_factor(S)),
    "rank": lambda o: [o.matrix_rank(M), o.norm(M), o.norm(M, ord=1, axis=0)],
    "qr": lambda o: [o.abs(r) for r in o.qr(M)],
    "svd": lambda o: [o.svd(M, compute_uv=False), o.svd(M)[1]],
    "solve": lambda o: [o.solve(S, B), o.solve(S, B[:, 0]), o.solve_triangular(LOW, B, lower=True), o.lstsq(S, B)],
    "fft": lambda o: [*o.fft((M, -M)), *o.fft2((M, M)), *o.ifft2((M, M)), *o.rfft(M), o.irfft(o.rfft(M), 5)],
    "stft": lambda o: list(o.stft(SIG, 12, 4, 16)),
    "stft_plain": lambda o: list(o.stft(SIG, 16, 8, 16, window=None, center=False)),
    "istft": lambda o: [o.istft(o.stft(SIG, 12, 4, 16), 12, 4, 16, length=64)],
    "frames": lambda o: [o.extract_sequences(SIG, 8, 5)],
    "scan": lambda o: list(o.scan(lambda c, x: (c + x, c * x), o.convert_to_tensor(0.5), o.convert_to_tensor(V))),
    "associative_scan": lambda o: [o.associative_scan(lambda a, b: a + b, o.convert_to_tensor(M), axis=1)],
    "switch": lambda o: [o.switch(1, [lambda x: x, lambda x: 2 * x], o.convert_to_tensor(V))],
    "scatter": lambda o: [o.scatter(np.array([[0], [2], [0]]), M[:3], (4, 5)),
                          o.scatter_update(M, np.array([[0, 1], [3, 2]]), np.array([9.0, 8.0], np.float32))],
    "segments": lambda o: [getattr(o, f"segment_{n}")(M, np.array([0, 2, 0, 2]), 3) for n in ("sum",)],
    "segments_max": lambda o: [o.segment_max(M, np.array([0, 1, 0, 1]), 2), o.segment_min(M, np.array([0, 1, 0, 1]), 2),
                               o.segment_prod(M, np.array([0, 1, 0, 1]), 2)],
    "vectorize": lambda o: [o.vectorize(lambda a, b: a * b + 1)(V, 2.0),
                            o.vectorize(lambda a: o.sum(a), signature="(n)->()")(C)],
    "norms": lambda o: [o.batch_normalization(PIC, V[:3], V[:3] ** 2, -1, V[1:4], V[2:5]),
                        o.layer_normalization(M, V[:5], V[1:6], epsilon=1e-3), o.rms_normalization(M, V[:5])],
    "adaptive": lambda o: [o.adaptive_average_pool(PIC, (2, 3)), o.adaptive_max_pool(PIC, 2)],
    "folding": lambda o: [o.unfold(PIC.transpose(0, 3, 1, 2), 2, stride=2),
                          o.fold(o.unfold(PIC.transpose(0, 3, 1, 2), 2), (6, 5), 2)],
    "blocks": lambda o: [o.space_to_depth(PIC[:, :, :4], 2), o.depth_to_space(LOGITS[:, :, None], 2)],
    "rearrange": lambda o: [o.rearrange(PIC, "b (h p) w c -> b h (p w) c", p=2)],
    "psnr": lambda o: [o.psnr(PIC, PIC * 0.9, 1.0)],
    "polar": lambda o: [o.view_as_real(o.polar(V, V))],
    "attention": lambda o: [o.dot_product_attention(Q, Q, Q), o.dot_product_attention(Q, K, K, mask=MASK),
                            o.dot_product_attention(Q, Q, Q, is_causal=True, scale=0.3),
                            o.dot_product_attention(Q, K, K, bias=MASK.astype(np.float32))],
    "ctc_loss": lambda o: [o.ctc_loss(np.array([[1, 2, 2], [3, 1, 0]]), LOGITS, np.array([3, 2]), np.array([6, 5]))],
    "ctc_greedy": lambda o: list(o.ctc_decode(LOGITS, np.array([6, 4]))),
    "colours": lambda o: [o.image.rgb_to_grayscale(PIC), o.image.rgb_to_hsv(PIC), o.image.hsv_to_rgb(PIC)],
    "resize": lambda o: [o.image.resize(PIC, (4, 7), i) for i in ("bilinear", "nearest", "bicubic", "lanczos3")],
    "margins": lambda o: [o.image.pad_images(PIC, 1, 2, target_height=9, target_width=8),
                          o.image.crop_images(PIC, 1, 1, target_height=3, target_width=2)],
    "patches": lambda o: [o.image.extract_patches(PIC, (3, 2), strides=(2, 1), padding="same"),
                          o.image.extract_patches(PIC, 2)],
    "blur": lambda o: [o.image.gaussian_blur(PIC, (3, 5), (1.0, 0.7), data_format="channels_last"),
             o.image.sobel_edges(PIC)],
    "ssim": lambda o: [o.image.ssim(PIC, PIC * 0.8, filter_size=3)],
    "affine": lambda o: [o.image.affine_transform(PIC, np.array([[0.9, 0.1, 0.3, -0.2, 1.1, 0.5, 0, 0]] * 2, "f4"),
                                                  fill_mode=m) for m in ("constant", "nearest", "wrap", "mirror",
                                                                         "reflect")],
    "perspective": lambda o: [o.image.perspective_transform(PIC[0], CORNERS, POINTS)],
    "map_coordinates": lambda o: [o.image.map_coordinates(C, RNG_PLACES, k, m) for k in (0, 1)
                                  for m in ("constant", "nearest", "reflect")],
    "scale_and_translate": lambda o: [o.image.scale_and_translate(
        PIC, (2, 8, 7, 3), np.array([1.4, 1.2], np.float32), np.array([0.3, -0.5], np.float32), (1, 2), "linear")],
}  # fmt: skip
RNG_PLACES = np.random.default_rng(6).uniform(-0.6, 3.4, (3, 8)).astype(np.float32)
