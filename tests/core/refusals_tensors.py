"""Elementwise calls, reductions, creation and windows that must be refused. ``refusals.py`` says how to read it."""

from __future__ import annotations

ELEMENTWISE = r"""
abs absolute acos acosh angle arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh conj conj_physical
cos cosh deg2rad degrees detach exp exp2 expm1 isfinite isinf isnan log log10 log1p log2 logical_not neg negative
rad2deg radians reciprocal rsqrt sgn sigmoid sin sinc sinh sqrt tan tanh fabs logit nan_to_num hardshrink
    "text" -> dtype.data
    tensor: data of type str are no numbers
resolve_conj resolve_neg
    "text" -> dtype.argument
    {name}: input must be a tensor, got str
square positive isreal real
    "text" -> dtype.argument
    {name}: input must be a tensor, got 'text' (str)
ceil digamma erf erfc erfinv floor frac i0 lgamma relu round sign signbit trunc isneginf isposinf
    c -> dtype.{name}
    {name}: dtype complex64 is not supported
fix
    c -> dtype.trunc
    trunc: dtype complex64 is not supported
frexp
    c -> dtype.frexp_mantissa
    frexp_mantissa: dtype complex64 is not supported
rint
    c -> dtype.round
    round: dtype complex64 is not supported
bitwise_not
    x -> dtype.{name}
    {name}: dtype float32 is not supported
bitwise_invert invert
    x -> dtype.bitwise_not
    bitwise_not: dtype float32 is not supported
add sub mul div eq ne pow atan2 copysign hypot logaddexp logaddexp2 nextafter xlogy igamma igammac complex
    x, v4 -> shape.broadcast
    {name}: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
subtract
    x, v4 -> shape.broadcast
    sub: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
multiply ldexp polar
    x, v4 -> shape.broadcast
    mul: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
divide true_divide
    x, v4 -> shape.broadcast
    div: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
not_equal
    x, v4 -> shape.broadcast
    ne: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
logical_and
    x, v4 -> shape.broadcast
    bitwise_and: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
logical_or
    x, v4 -> shape.broadcast
    bitwise_or: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
logical_xor
    x, v4 -> shape.broadcast
    bitwise_xor: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
power float_power
    x, v4 -> shape.broadcast
    pow: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
floor_divide
    x, c1 -> dtype.floordiv
    floordiv: dtype complex64 is not supported
fmod mod maximum minimum lt le gt ge fmax fmin
    x, c1 -> dtype.{name}
    {name}: dtype complex64 is not supported
remainder
    x, c1 -> dtype.mod
    mod: dtype complex64 is not supported
less
    x, c1 -> dtype.lt
    lt: dtype complex64 is not supported
less_equal
    x, c1 -> dtype.le
    le: dtype complex64 is not supported
greater
    x, c1 -> dtype.gt
    gt: dtype complex64 is not supported
greater_equal
    x, c1 -> dtype.ge
    ge: dtype complex64 is not supported
arctan2
    x, v4 -> shape.broadcast
    atan2: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
heaviside
    x, v4 -> shape.broadcast
    where: shapes (2, 3) and (4,) and (2, 3) do not broadcast: axis -1 has sizes 3 and 4
gcd lcm bitwise_and bitwise_or bitwise_xor
    x, x -> dtype.{name}
    {name}: dtype float32 is not supported
bitwise_left_shift
    x, x -> dtype.shift_left
    shift_left: dtype float32 is not supported
bitwise_right_shift
    x, x -> dtype.shift_right
    shift_right: dtype float32 is not supported
rsub
    x, v4 -> shape.broadcast
    sub: shapes (4,) and (2, 3) do not broadcast: axis -1 has sizes 4 and 3
lerp
    x, v4, 0.5 -> shape.broadcast
    sub: shapes (4,) and (2, 3) do not broadcast: axis -1 has sizes 4 and 3
addcdiv
    x, v4, x -> shape.broadcast
    div: shapes (4,) and (2, 3) do not broadcast: axis -1 has sizes 4 and 3
addcmul
    x, v4, x -> shape.broadcast
    mul: shapes (4,) and (2, 3) do not broadcast: axis -1 has sizes 4 and 3
clamp
    x -> argument
    {name}: at least one of min and max must be given
clip
    x -> argument
    clamp: at least one of min and max must be given
clamp_max
    x, v4 -> shape.broadcast
    gt: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
clamp_min
    x, v4 -> shape.broadcast
    lt: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
dropout
    x, 1.5 -> argument
    {name}: p must be within [0, 1], got 1.5
where
    b, x, v4 -> shape.broadcast
    {name}: shapes (2, 3) and (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
isclose
    x, x, -1.0 -> argument
    {name}: tolerances must not be negative, got rtol=-1.0 and atol=1e-08
mvlgamma
    x, 0 -> shape.{name}
    {name}: p must be at least 1, got 0
polygamma
    -1, x -> argument
    {name}: n must not be negative, got -1
prelu
    x, v4 -> shape.{name}
    {name}: weight has 4 entries, input of shape (2, 3) has 3 channels
imag view_as_real
    x -> dtype.{name}
    {name}: dtype float32 is not complex
view_as_complex
    x -> shape.complex
    {name}: the last axis must hold 2 numbers, got shape (2, 3)
is_complex is_floating_point
    1.0 -> dtype.argument
    {name}: input must be a tensor, got 1.0
is_conj is_neg
    1.0 -> dtype.argument
    {name}: input must be a tensor, got float
is_nonzero
    x -> shape.{name}
    {name}: a tensor of shape (2, 3) has 6 elements, expected 1
"""

REDUCTIONS = r"""
all any amax amin argmax argmin logsumexp mean prod sum var cummax cummin cumprod cumsum logcumsumexp
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
count_nonzero nanmean nansum
    x, 5 -> index.axis
    sum: axis 5 is out of range for a tensor of 2 dimensions
log_softmax softmax
    x, 5 -> index.axis
    amax: axis 5 is out of range for a tensor of 2 dimensions
max
    x, 5 -> index.axis
    argmax: axis 5 is out of range for a tensor of 2 dimensions
min
    x, 5 -> index.axis
    argmin: axis 5 is out of range for a tensor of 2 dimensions
std std_mean var_mean
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
aminmax
    x, dim=5 -> index.axis
    amin: axis 5 is out of range for a tensor of 2 dimensions
allclose equal
    x, 3 -> dtype.argument
    {name}: other must be a tensor, got 3
numel
    3 -> dtype.argument
    {name}: input must be a tensor, got 3
diff
    x, -1 -> argument
    {name}: n must not be negative, got -1
gradient
    x, edge_order=3 -> argument
    {name}: edge_order must be 1 or 2, got 3
trapezoid
    x, v4 -> shape.{name}
    {name}: x has 4 points, axis 1 of y has 3
trapz
    x, v4 -> shape.trapezoid
    trapezoid: x has 4 points, axis 1 of y has 3
cumulative_trapezoid
    x, v4 -> shape.trapezoid
    {name}: x has 4 points, axis 1 of y has 3
cumulative_sum cumulative_prod
    q -> shape.axis
    {name}: axis is needed for 3 dimensions
cdist
    x, q -> shape.{name}
    {name}: points (2, 3) and (2, 2, 2) must have two dimensions or more and equally many
pdist
    q -> shape.{name}
    {name}: expects a matrix, got (2, 2, 2)
dist
    x, v4 -> shape.broadcast
    sub: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
"""

CREATION = r"""
arange range
    0, 5, 0 -> argument
    {name}: step must not be 0
empty ones zeros rand randn
    -1 -> shape.negative
    sizes must not be negative, got (-1,)
empty_like ones_like zeros_like rand_like randn_like
    3 -> dtype.argument
    {name}: input must be a tensor, got 3
empty_permuted
    (2, 3), (0, 0) -> shape.permute
    {name}: (0, 0) is no order of 2 axes
empty_strided
    (2, 3), (1,) -> shape.strides
    {name}: sizes (2, 3) with strides (1,)
eye
    -1 -> shape.negative
    sizes must not be negative, got (-1, -1)
fill
    x, v -> shape.{name}
    {name}: the value must be 0-d, got shape (3,)
full
    (2,), "text" -> dtype.{name}
    {name}: the value must be a number, got 'text' (str)
full_like
    x, "text" -> dtype.full
    full: the value must be a number, got 'text' (str)
linspace logspace
    0, 1, -1 -> argument
    the number of steps must not be negative, got -1
scalar_tensor
    "text" -> dtype.full
    full: the value must be a number, got 'text' (str)
tril_indices triu_indices
    -1, 2 -> shape.negative
    sizes must not be negative, got (-1, 2)
asarray as_tensor
    ["text"] -> dtype.data
    tensor: data of type list are no numbers
from_dlpack
    3 -> exchange.capsule
    {name}: this is no DLPack capsule
frombuffer
    b"123", dtype=gl.float32 -> argument
    {name}: these arguments do not go: buffer=b'123', dtype=gradloom.float32 (buffer size must be a
tensor
    [[1], [1, 2]] -> shape.ragged
    {name}: nested lists of unequal lengths (setting an array element with a sequence. The
astype
    x, "float99" -> dtype.unknown
    'float99' is not a dtype
can_cast
    "float99", gl.int8 -> dtype.unknown
    'float99' is not a dtype
finfo
    gl.int32 -> dtype.{name}
    {name}: dtype int32 is not floating
iinfo
    gl.float32 -> dtype.{name}
    {name}: dtype float32 is not an integer dtype
promote_types
    gl.int8, "float99" -> dtype.unknown
    'float99' is not a dtype
result_type
    "text", x -> dtype.data
    tensor: data of type str are no numbers
set_default_dtype
    gl.int32 -> dtype.default
    the default dtype must be floating, got int32
bartlett_window blackman_window hamming_window hann_window kaiser_window
    -1 -> shape.window
    {name}: a window of -1 points
BFloat16Tensor BoolTensor ByteTensor CharTensor ComplexDoubleTensor ComplexFloatTensor DoubleTensor FloatTensor
HalfTensor IntTensor LongTensor ShortTensor poisson
    "text" -> dtype.data
    tensor: data of type str are no numbers
bernoulli
    x, 1.5 -> argument
    {name}: p must be within [0, 1], got 1.5
binomial
    x, v4 -> shape.broadcast
    {name}: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
multinomial
    x, 9 -> argument
    {name}: cannot draw 9 of 3 without replacement: 3 have a weight
normal
    0.0, -1.0, (2,) -> argument
    {name}: std must not be negative, got -1.0
randint
    5, 2, (2,) -> argument
    {name}: there is no integer of 5 <= i < 2
randint_like
    x, 5, 2 -> argument
    randint: there is no integer of 5 <= i < 2
randperm
    -1 -> argument
    {name}: n must not be negative, got -1
"""

SPECIAL = r"""
airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 digamma entr erf erfc erfcx erfinv i0 i0e i1 i1e log_ndtr
modified_bessel_k0 modified_bessel_k1 ndtr ndtri round scaled_modified_bessel_k0 scaled_modified_bessel_k1
spherical_bessel_j0
    c -> dtype.{name}
    {name}: dtype complex64 is not supported
gammaln
    c -> dtype.lgamma
    lgamma: dtype complex64 is not supported
modified_bessel_i0
    c -> dtype.i0
    i0: dtype complex64 is not supported
modified_bessel_i1
    c -> dtype.i1
    i1: dtype complex64 is not supported
psi
    c -> dtype.digamma
    digamma: dtype complex64 is not supported
exp2 expit expm1 log1p sinc logit
    "text" -> dtype.data
    tensor: data of type str are no numbers
gammainc
    x, v4 -> shape.broadcast
    igamma: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
gammaincc
    x, v4 -> shape.broadcast
    igammac: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
xlog1py xlogy zeta chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w
hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p
shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v
shifted_chebyshev_polynomial_w
    x, v4 -> shape.broadcast
    {name}: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
log_softmax softmax
    x, 5 -> index.axis
    amax: axis 5 is out of range for a tensor of 2 dimensions
logsumexp
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
multigammaln
    x, 0 -> shape.mvlgamma
    mvlgamma: p must be at least 1, got 0
polygamma
    -1, x -> argument
    {name}: n must not be negative, got -1
"""

WINDOWS = r"""
bartlett cosine
    -1 -> shape.window
    {name}: a window of -1 points
blackman hamming hann nuttall general_hamming
    -1 -> shape.window
    general_cosine: a window of -1 points
exponential
    3, tau=-1.0 -> argument
    {name}: tau must be positive, got -1.0
gaussian
    3, std=-1.0 -> argument
    {name}: std must be positive, got -1.0
general_cosine
    3, a=[] -> argument
    {name}: a must be the weights of the cosines, one or more, got []
kaiser
    3, beta=-1.0 -> argument
    {name}: beta must not be negative, got -1.0
"""
