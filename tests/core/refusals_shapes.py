"""Shapes and indices that must be refused. ``refusals.py`` says how to read it."""

from __future__ import annotations

SHAPES = r"""
cat
    [x, q] -> shape.{name}
    {name}: shapes (2, 3) and (2, 2, 2) differ outside of axis 0
concat concatenate vstack row_stack
    [x, q] -> shape.cat
    cat: shapes (2, 3) and (2, 2, 2) differ outside of axis 0
stack
    [x, v] -> shape.{name}
    {name}: shapes (2, 3) and (3,) differ
hstack column_stack
    [x, q] -> shape.cat
    cat: shapes (2, 3) and (2, 2, 2) differ outside of axis 1
dstack
    [x, q] -> shape.cat
    cat: shapes (2, 3, 1) and (2, 2, 2) differ outside of axis 2
block_diag
    q -> shape.{name}
    {name}: expects tensors of at most 2 dimensions, got (2, 2, 2)
cartesian_prod
    x, v -> shape.{name}
    {name}: expects vectors, got (2, 3)
combinations
    x -> shape.{name}
    {name}: expects a vector, got (2, 3)
meshgrid
    v, v, indexing="ab" -> argument
    {name}: indexing is 'ij' or 'xy', got 'ab'
flip
    x, 2 -> index.axis
    {name}: axis 2 is out of range for a tensor of 2 dimensions
fliplr
    v -> shape.{name}
    {name}: expects at least 2 dimensions, got shape (3,)
flipud
    s -> shape.{name}
    {name}: expects at least 1 dimensions, got shape ()
roll
    x, 1, 2 -> index.axis
    {name}: axis 2 is out of range for a tensor of 2 dimensions
rot90
    x, 1, (0, 0) -> shape.axis
    {name}: axis given twice in (0, 0)
tile
    x, -1 -> shape.{name}
    {name}: numbers of copies must not be negative, got (-1,)
tril triu matrix_transpose
    v -> shape.{name}
    {name}: expects at least 2 dimensions, got shape (3,)
diag
    q -> shape.{name}
    {name}: expects a vector or a matrix, got (2, 2, 2)
diag_embed diagonal
    x, 0, 1, 1 -> shape.axis
    {name}: axis given twice in (1, 1)
diagflat
    x, 1.5 -> dtype.integer
    {name}: offset must be an integer, got 1.5 (float)
kron
    x, "text" -> dtype.data
    tensor: data of type str are no numbers
constant_pad_nd
    x, [1] -> shape.pad
    pad: 1 pads for a tensor of 2 dimensions
unravel_index
    i, (0, 2) -> shape.{name}
    {name}: shape (0, 2) has no elements
repeat
    x, [1, 2, 3] -> shape.repeat_interleave
    repeat_interleave: repeats of shape (3,) for 6 entries
repeat_interleave
    x, -1 -> argument
    {name}: repeats must not be negative, got -1
channel_shuffle
    q, 3 -> shape.{name}
    {name}: 2 channels do not divide into 3 groups
pixel_shuffle
    q, 2 -> shape.{name}
    {name}: 2 channels do not divide by 2**2
pixel_unshuffle
    q, 3 -> shape.{name}
    {name}: images (2, 2) do not divide by 3
clone ravel alias_copy
    1.0 -> dtype.argument
    {name}: input must be a tensor, got 1.0
is_same_size
    x, 3 -> dtype.argument
    {name}: other must be a tensor, got 3
adjoint
    v -> shape.matrix_transpose
    matrix_transpose: expects at least 2 dimensions, got shape (3,)
t
    q -> shape.{name}
    {name}: expects at most 2 dimensions, got shape (2, 2, 2)
atleast_1d atleast_2d atleast_3d
    "text" -> dtype.data
    tensor: data of type str are no numbers
expand_dims unsqueeze
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 3 dimensions
squeeze
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
flatten
    x, 1, 0 -> shape.{name}
    {name}: start_dim 1 comes after end_dim 0
moveaxis
    x, 0, 5 -> index.axis
    movedim: axis 5 is out of range for a tensor of 2 dimensions
movedim
    x, (0, 1), 0 -> shape.{name}
    {name}: 2 source axes and 1 destinations
permute
    x, (0, 0) -> shape.{name}
    {name}: (0, 0) is no order of 2 axes
permute_dims
    x, (0,) -> shape.permute
    permute: (0,) is no order of 2 axes
reshape
    x, (4, 2) -> shape.{name}
    {name}: shape (2, 3) has 6 elements, (4, 2) has 8
swapaxes swapdims transpose_copy
    x, 0, 5 -> index.axis
    transpose: axis 5 is out of range for a tensor of 2 dimensions
transpose
    x, 0, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
unflatten
    x, 1, (2, 2) -> shape.reshape
    reshape: shape (3,) has 3 elements, (2, 2) has 4
chunk tensor_split
    x, 0 -> argument
    {name}: the number of pieces must be at least 1, got 0
split
    x, [1, 5], 1 -> shape.{name}
    {name}: sizes [1, 5] do not add up to 3, the size of axis 1
split_with_sizes unsafe_split_with_sizes split_with_sizes_copy
    x, [1, 1], 1 -> shape.split
    split: sizes [1, 1] do not add up to 3, the size of axis 1
unsafe_chunk
    x, 0 -> argument
    chunk: the number of pieces must be at least 1, got 0
unsafe_split split_copy
    x, -1 -> shape.split
    split: pieces of size -1 of an axis of size 2
hsplit
    x, 4 -> shape.{name}
    {name}: axis 1 of (2, 3) does not divide into 4 equal pieces
vsplit
    x, 4 -> shape.{name}
    {name}: axis 0 of (2, 3) does not divide into 4 equal pieces
dsplit
    x, 2 -> shape.{name}
    {name}: expects at least 3 dimensions, got shape (2, 3)
narrow
    x, 1, 2, 5 -> index.{name}
    {name}: 5 entries from 2 on are not within axis 1 of (2, 3)
select
    x, 1, 7 -> index.range
    {name}: index 7 is out of range for axis 1 of size 3
unbind
    x, 4 -> index.axis
    {name}: axis 4 is out of range for a tensor of 2 dimensions
unstack unbind_copy
    x, 4 -> index.axis
    unbind: axis 4 is out of range for a tensor of 2 dimensions
as_strided
    x, (9, 9), (3, 1) -> shape.{name}
    {name}: sizes (9, 9) with strides (3, 1) from 0 on reach beyond 6 elements
broadcast_shapes
    (2, 3), (4,) -> shape.broadcast
    {name}: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
broadcast_tensors broadcast_arrays
    x, v4 -> shape.broadcast
    broadcast_shapes: shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4
broadcast_to
    x, (2, 4) -> shape.broadcast
    {name}: shape (2, 3) does not broadcast to (2, 4)
as_strided_copy
    x, (9, 9), (3, 1) -> shape.as_strided
    as_strided: sizes (9, 9) with strides (3, 1) from 0 on reach beyond 6 elements
as_strided_scatter
    x, v, (9, 9), (3, 1) -> shape.as_strided
    as_strided: sizes (9, 9) with strides (3, 1) from 0 on reach beyond 6 elements
detach_copy
    "text" -> dtype.argument
    {name}: input must be a tensor, got 'text' (str)
diagonal_copy
    x, 0, 1, 1 -> shape.axis
    diagonal: axis given twice in (1, 1)
diagonal_scatter
    x, x -> shape.{name}
    {name}: src has shape (2, 3), the part it replaces (2,)
expand_copy
    x, (2, 4) -> shape.broadcast
    broadcast_to: shape (2, 3) does not broadcast to (2, 4)
narrow_copy
    x, 1, 2, 5 -> index.narrow
    narrow: 5 entries from 2 on are not within axis 1 of (2, 3)
permute_copy
    x, (0, 0) -> shape.permute
    permute: (0, 0) is no order of 2 axes
select_copy
    x, 1, 7 -> index.range
    select: index 7 is out of range for axis 1 of size 3
select_scatter
    x, x, 0, 0 -> shape.{name}
    {name}: src has shape (2, 3), the part it replaces (3,)
slice_copy
    x, 0, 0, 2, 0 -> argument
    slice: step must be at least 1, got 0
slice_scatter
    x, x, 0, 0, 1 -> shape.{name}
    {name}: src has shape (2, 3), the part it replaces (1, 3)
squeeze_copy
    x, 5 -> index.axis
    squeeze: axis 5 is out of range for a tensor of 2 dimensions
t_copy
    q -> shape.t
    t: expects at most 2 dimensions, got shape (2, 2, 2)
unfold_copy
    x, 0, 5, 1 -> shape.unfold
    unfold: windows of 5 every 1 over axis 0 of (2, 3)
unsqueeze_copy
    x, 5 -> index.axis
    unsqueeze: axis 5 is out of range for a tensor of 3 dimensions
view_as_complex_copy
    x -> shape.complex
    view_as_complex: the last axis must hold 2 numbers, got shape (2, 3)
view_as_real_copy
    x -> dtype.view_as_real
    view_as_real: dtype float32 is not complex
view_copy
    x, (4, 2) -> shape.reshape
    reshape: shape (2, 3) has 6 elements, (4, 2) has 8
get_device
    1.0 -> dtype.argument
    {name}: input must be a tensor, got float
"""

INDEXING = r"""
gather
    x, 0, q -> shape.{name}
    {name}: index (2, 2, 2) and input (2, 3) differ in rank
index_select
    x, 0, x -> shape.{name}
    {name}: the index has shape (2, 3), expected one dimension
one_hot
    i, 2 -> index.label
    label out of range, expected 0 <= label < 2
take
    x, i9 -> index.{name}
    index out of range for axis 0 of size 6: index 99 at position 0, expected -6 <= index < 6
take_along_axis take_along_dim
    x, x, 0 -> dtype.index
    index: dtype float32 is not an integer dtype
index_add index_copy
    x, 1, i[:2], x -> shape.{name}
    {name}: source (2, 3) does not fit an index of 2 along axis 1 of (2, 3): expected (2, 2)
index_fill
    x, 0, x, 1.0 -> shape.{name}
    {name}: the index has shape (2, 3), expected one dimension
index_put
    x, (i, i, i), v -> index.rank
    index: 3 indices for a tensor of 2 dimensions, shape (2, 3)
index_reduce
    x, 0, i[:2], x, "sum" -> argument
    {name}: reduce='sum' is index_add; expected 'prod', 'mean', 'amax' or 'amin'
put
    x, i, x -> shape.{name}
    {name}: 3 indices and a source of 6 elements
put_along_axis
    x, x, 1.0, 0 -> dtype.index
    index: dtype float32 is not an integer dtype
scatter
    x, 0, q, x -> shape.{name}
    {name}: index (2, 2, 2) and input (2, 3) differ in rank
scatter_add
    x, 0, q, x -> shape.scatter
    scatter: index (2, 2, 2) and input (2, 3) differ in rank
scatter_reduce
    x, 0, ii, x, "median" -> argument
    {name}: reduce='median'; expected one of 'sum', 'prod', 'mean', 'amax', 'amin'
argwhere nonzero unique unique_all unique_counts unique_inverse unique_values
    "text" -> dtype.data
    tensor: data of type str are no numbers
masked_fill
    x, x, 1.0 -> dtype.{name}
    {name}: the mask is float32, expected bool
masked_scatter
    x, b, s -> index.{name}
    number of elements out of range, expected 0 <= number of elements < 2
masked_select
    x, x -> dtype.{name}
    {name}: the mask is float32, expected bool
nonzero_static
    x, size=-1 -> shape.{name}
    {name}: size -1 is negative
sort argsort median mode
    x, 5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
msort
    "text" -> dtype.argument
    {name}: input must be a tensor, got 'text' (str)
topk kthvalue
    x, 9 -> index.{name}
    {name}: k = 9 is out of range for an axis of 3 elements
searchsorted
    s, x -> shape.{name}
    {name}: sorted_sequence needs at least one dimension
bucketize
    x, x -> shape.{name}
    {name}: boundaries must have one dimension, not 2
unique_consecutive
    x, dim=5 -> index.axis
    {name}: axis 5 is out of range for a tensor of 2 dimensions
isin
    x, "text" -> dtype.data
    tensor: data of type str are no numbers
bincount
    x -> dtype.{name}
    {name}: dtype float32 is not an integer dtype
corrcoef
    q -> shape.cov
    cov: expects at most two dimensions, got (2, 2, 2)
cov
    q -> shape.{name}
    {name}: expects at most two dimensions, got (2, 2, 2)
histc histogram
    x, 0 -> argument
    {name}: bins must be at least 1, got 0
histogramdd
    v, 3 -> shape.histogram
    {name}: input (3,) needs two dimensions or more
nanmedian
    x, 5 -> index.axis
    median: axis 5 is out of range for a tensor of 2 dimensions
quantile nanquantile
    x, 1.5 -> argument
    {name}: q must be within [0, 1], got 1.5
"""
