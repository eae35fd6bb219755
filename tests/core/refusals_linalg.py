"""Linear algebra and Fourier transforms that must be refused. ``refusals.py`` says how to read it."""

from __future__ import annotations

LINALG = r"""
bmm
    x, x -> shape.rank
    {name}: input must have 3 dimensions, got shape (2, 3)
matmul
    x, x -> shape.{name}
    {name}: shapes (2, 3) and (2, 3) do not fit: axis -1 of the first (3) must equal axis -2 of the
mm
    v, x -> shape.rank
    {name}: input must have 2 dimensions, got shape (3,)
addbmm
    x, x, x -> shape.rank
    {name}: batch1 must have 3 dimensions, got shape (2, 3)
addmm
    x, x, x -> shape.matmul
    matmul: shapes (2, 3) and (2, 3) do not fit: axis -1 of the first (3) must equal axis -2 of the
addmv
    v, x, v4 -> shape.matmul
    matmul: shapes (2, 3) and (4,) do not fit: axis -1 of the first (3) must equal axis -1 of the
addr
    x, x, v -> shape.rank
    outer: input must have 1 dimension, got shape (2, 3)
baddbmm
    x, x, x -> shape.rank
    bmm: input must have 3 dimensions, got shape (2, 3)
chain_matmul
    x, x -> shape.matmul
    matmul: shapes (2, 3) and (2, 3) do not fit: axis -1 of the first (3) must equal axis -2 of the
cross
    v4, v4 -> shape.{name}
    {name}: no axis of size 3 in gradloom.Size([4])
dot outer vdot
    x, v -> shape.rank
    {name}: input must have 1 dimension, got shape (2, 3)
ger
    x, v -> shape.rank
    outer: input must have 1 dimension, got shape (2, 3)
inner
    x, v4 -> shape.matmul
    {name}: the last axes of (2, 3) and (4,) differ
mv
    x, v4 -> shape.matmul
    matmul: shapes (2, 3) and (4,) do not fit: axis -1 of the first (3) must equal axis -1 of the
tensordot
    x, x, 2.5 -> argument
    {name}: dims must be a number of axes or two lists of them, got 2.5
vander
    x -> shape.{name}
    {name}: expects a vector, got shape (2, 3)
vecdot
    x, v4 -> shape.broadcast
    mul: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
einsum
    "ij,jk", x, x -> shape.{name}
    {name}: a label has size 2 in operand 1 of shape (2, 3), and 3 elsewhere
cholesky cholesky_inverse det matrix_exp slogdet
    x -> shape.square
    {name}: expects square matrices (..., n, n), got shape (2, 3)
cholesky_solve
    x, x -> shape.square
    {name}: expects square matrices (..., n, n), got shape (2, 3)
inverse
    x -> shape.square
    inv: expects square matrices (..., n, n), got shape (2, 3)
logdet
    x -> shape.square
    slogdet: expects square matrices (..., n, n), got shape (2, 3)
matrix_power
    x, 2 -> shape.square
    {name}: expects square matrices (..., n, n), got shape (2, 3)
triangular_solve
    x, x -> shape.square
    solve_triangular: expects square matrices (..., n, n), got shape (2, 3)
pca_lowrank
    x, q=9 -> shape.lowrank
    svd_lowrank: q 9 must lie between 0 and 2
pinverse
    v -> shape.matrix
    pinv: expects matrices (..., n, m), got shape (3,)
svd geqrf lu qr
    v -> shape.matrix
    {name}: expects matrices (..., n, m), got shape (3,)
svd_lowrank
    x, q=9 -> shape.lowrank
    {name}: q 9 must lie between 0 and 2
lu_solve
    x, x, i -> shape.square
    {name}: expects square matrices (..., n, n), got shape (2, 3)
lu_unpack
    x, x -> dtype.pivots
    {name}: pivots have dtype float32, expected int32
orgqr
    x, q -> shape.householder
    householder_product: reflectors (2, 3) and tau (2, 2, 2) do not fit: needs (..., m, n) with n
ormqr
    x, v, v -> shape.householder
    {name}: reflectors (2, 3) and tau (3,) do not fit: needs (..., m, n) with n <= m, and (..., k)
frobenius_norm
    x, 5 -> index.axis
    vector_norm: axis 5 is out of range for a tensor of 2 dimensions
norm
    x, "text" -> argument
    {name}: p must be a number, 'fro' or 'nuc', got 'text'
nuclear_norm
    v -> shape.matrix
    matrix_norm: expects matrices, got shape (3,)
renorm
    s, 2.0, 0, 1.0 -> shape.rank
    {name}: expects at least 2 dimensions, got shape ()
trace
    v -> shape.rank
    {name}: expects a matrix, got shape (3,)
stft
    x, -1 -> state.stft
    {name}: return_complex must be given for real input
istft
    x, 4 -> shape.stft
    {name}: expects a complex (frequencies, frames) or (batch, frequencies, frames), got float32[2,
"""

LINALG_MODULE = r"""
cholesky cholesky_ex det eig eigh eigvals eigvalsh inv inv_ex ldl_factor ldl_factor_ex matrix_exp slogdet
    x -> shape.square
    {name}: expects square matrices (..., n, n), got shape (2, 3)
cond lu lu_factor lu_factor_ex qr svd svdvals pinv matrix_rank matrix_transpose
    v -> shape.matrix
    {name}: expects matrices (..., n, m), got shape (3,)
matrix_norm
    v -> shape.matrix
    {name}: expects matrices, got shape (3,)
diagonal
    v -> index.axis
    {name}: axis -2 is out of range for a tensor of 1 dimensions
trace
    v -> index.axis
    diagonal: axis -2 is out of range for a tensor of 1 dimensions
cross
    v4, v4 -> shape.{name}
    {name}: axis 0 of (4,) must have size 3
householder_product
    x, q -> shape.householder
    {name}: reflectors (2, 3) and tau (2, 2, 2) do not fit: needs (..., m, n) with n <= m, and
ldl_solve lu_solve
    m, v, x -> dtype.pivots
    {name}: pivots have dtype float32, expected int32
lstsq
    x, v4 -> shape.solve
    {name}: A (2, 3) and B (4,) do not fit
matmul
    x, x -> shape.{name}
    {name}: shapes (2, 3) and (2, 3) do not fit: axis -1 of the first (3) must equal axis -2 of the
matrix_power
    x, 2 -> shape.square
    {name}: expects square matrices (..., n, n), got shape (2, 3)
multi_dot
    [x] -> shape.matmul
    {name}: needs two tensors or more, got 1
norm
    x, "text" -> argument
    matrix_norm: ord must be 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2, got 'text'
outer
    x, v -> shape.rank
    {name}: input must have 1 dimension, got shape (2, 3)
solve
    m, v4 -> shape.{name}
    {name}: A (2, 2) and B (4,) do not fit: axis -2 of B must be 2
solve_ex
    m, v4 -> shape.solve
    {name}: A (2, 2) and B (4,) do not fit: axis -2 of B must be 2
solve_triangular
    m, v, upper=True -> shape.matrix
    {name}: expects matrices (..., n, m), got shape (3,)
tensordot
    x, x, 2.5 -> argument
    {name}: dims must be a number of axes or two lists of them, got 2.5
tensorinv
    x, 0 -> shape.{name}
    {name}: ind must be positive, got 0
tensorsolve
    x, v4 -> shape.{name}
    {name}: A (2, 3) is no square map onto B (4,)
vander
    "text" -> dtype.argument
    vander_of_each: x must be a tensor, got 'text' (str)
vecdot
    x, v4 -> shape.broadcast
    mul: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
vector_norm
    x, "text" -> argument
    {name}: ord must be a number, got 'text'
"""

FFT = r"""
fft
    x, 0 -> shape.{name}
    {name}: 0 points along axis 1 of (2, 3); at least 1 is needed
ifft hfft ihfft irfft rfft
    x, 0 -> shape.fft
    {name}: 0 points along axis 1 of (2, 3); at least 1 is needed
fft2 ifft2 hfft2 ihfft2 irfft2 rfft2
    v -> index.axis
    {name}: axis -2 is out of range for a tensor of 1 dimensions
fftn ifftn hfftn ihfftn irfftn rfftn
    x, (2,), (0, 1) -> shape.fft
    {name}: s (2,) and dim (0, 1) do not fit a tensor of 2 dimensions: they must be of one length,
fftshift ifftshift
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
fftfreq rfftfreq
    0 -> argument
    {name}: the number of samples must be at least 1, got 0
"""
