"""Every layer once: how it is made and what it is given. The tests and `make_figures.py` are generated from this."""

from __future__ import annotations

import zlib

import numpy as np

STEPS, IMAGES, VOLUMES = (2, 6, 3), (2, 6, 5, 4), (2, 4, 5, 4, 2)
FIRST = (2, 4, 6, 5)

# name, class, arguments, shapes of the inputs
TABLE = [
    ("dense", "Dense", {"units": 4, "activation": "tanh"}, [(3, 5)]),
    ("dense_3d", "Dense", {"units": 2, "use_bias": False}, [STEPS]),
    ("einsum", "EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 4), "bias_axes": "d"}, [STEPS]),
    ("activation", "Activation", {"activation": "gelu"}, [(3, 4)]),
    ("relu", "ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, [(3, 4)]),
    ("leaky", "LeakyReLU", {"negative_slope": 0.2}, [(3, 4)]),
    ("prelu", "PReLU", {"shared_axes": [1]}, [STEPS]),
    ("elu", "ELU", {"alpha": 0.7}, [(3, 4)]),
    ("softmax", "Softmax", {"axis": 1}, [STEPS]),
    ("identity", "Identity", {}, [(3, 4)]),
    ("masking", "Masking", {"mask_value": 0.0}, [STEPS]),
    ("add", "Add", {}, [(3, 4), (3, 4)]),
    ("subtract", "Subtract", {}, [(3, 4), (3, 4)]),
    ("multiply", "Multiply", {}, [(3, 4), (3, 4), (3, 4)]),
    ("average", "Average", {}, [(3, 4), (3, 4)]),
    ("maximum", "Maximum", {}, [(3, 4), (3, 4)]),
    ("minimum", "Minimum", {}, [(3, 4), (3, 4)]),
    ("concatenate", "Concatenate", {"axis": 1}, [(3, 4, 2), (3, 2, 2)]),
    ("dot", "Dot", {"axes": (2, 1), "normalize": True}, [(2, 4, 3), (2, 3, 5)]),
    ("flatten", "Flatten", {}, [IMAGES]),
    ("flatten_first", "Flatten", {"data_format": "channels_first"}, [FIRST]),
    ("reshape", "Reshape", {"target_shape": (3, -1)}, [STEPS]),
    ("permute", "Permute", {"dims": (2, 1)}, [STEPS]),
    ("repeat", "RepeatVector", {"n": 3}, [(3, 4)]),
    ("cropping1d", "Cropping1D", {"cropping": (1, 2)}, [STEPS]),
    ("cropping2d", "Cropping2D", {"cropping": ((1, 2), (0, 1))}, [IMAGES]),
    ("cropping3d", "Cropping3D", {"cropping": 1}, [VOLUMES]),
    ("padding1d", "ZeroPadding1D", {"padding": (1, 2)}, [STEPS]),
    ("padding2d", "ZeroPadding2D", {"padding": ((1, 0), (2, 1))}, [IMAGES]),
    ("padding2d_first", "ZeroPadding2D", {"padding": 1, "data_format": "channels_first"}, [FIRST]),
    ("padding3d", "ZeroPadding3D", {"padding": 1}, [VOLUMES]),
    ("up1d", "UpSampling1D", {"size": 2}, [STEPS]),
    ("up2d", "UpSampling2D", {"size": (2, 3)}, [IMAGES]),
    ("up2d_bilinear", "UpSampling2D", {"size": 2, "interpolation": "bilinear"}, [IMAGES]),
    ("up3d", "UpSampling3D", {"size": 2}, [VOLUMES]),
    ("batch_norm", "BatchNormalization", {}, [IMAGES]),
    ("batch_norm_axis", "BatchNormalization", {"axis": 1, "center": False}, [FIRST]),
    ("layer_norm", "LayerNormalization", {}, [STEPS]),
    ("layer_norm_axes", "LayerNormalization", {"axis": [1, 2]}, [STEPS]),
    ("group_norm", "GroupNormalization", {"groups": 2}, [IMAGES]),
    ("unit_norm", "UnitNormalization", {}, [STEPS]),
    ("rms_norm", "RMSNormalization", {}, [STEPS]),
    ("conv1d", "Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, [STEPS]),
    ("conv2d", "Conv2D", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, [IMAGES]),
    ("conv2d_groups", "Conv2D", {"filters": 4, "kernel_size": (2, 3), "groups": 2, "activation": "relu"}, [IMAGES]),
    ("conv2d_dilated", "Conv2D", {"filters": 2, "kernel_size": 2, "dilation_rate": (2, 3)}, [IMAGES]),
    ("conv3d", "Conv3D", {"filters": 3, "kernel_size": 2, "strides": (1, 2, 1)}, [VOLUMES]),
    ("conv1d_t", "Conv1DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2}, [STEPS]),
    ("conv2d_t", "Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, [IMAGES]),
    ("conv2d_t_more", "Conv2DTranspose", {"filters": 2, "kernel_size": 2, "strides": 3}, [IMAGES]),
    ("conv3d_t", "Conv3DTranspose", {"filters": 2, "kernel_size": 2, "strides": 2}, [VOLUMES]),
    ("depthwise1d", "DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, [STEPS]),
    ("depthwise2d", "DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "strides": 2}, [IMAGES]),
    ("separable1d", "SeparableConv1D", {"filters": 4, "kernel_size": 3, "padding": "same"}, [STEPS]),
    ("separable2d", "SeparableConv2D", {"filters": 3, "kernel_size": 2, "depth_multiplier": 2}, [IMAGES]),
    ("max1d", "MaxPooling1D", {"pool_size": 2, "padding": "same", "strides": 1}, [STEPS]),
    ("max2d", "MaxPooling2D", {"pool_size": (3, 2), "strides": (2, 1)}, [IMAGES]),
    ("max2d_same", "MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, [IMAGES]),
    ("max3d", "MaxPooling3D", {}, [VOLUMES]),
    ("average1d", "AveragePooling1D", {"pool_size": 3, "strides": 2}, [STEPS]),
    ("average2d", "AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, [IMAGES]),
    ("average3d", "AveragePooling3D", {"pool_size": 2}, [VOLUMES]),
    ("global_max1d", "GlobalMaxPooling1D", {}, [STEPS]),
    ("global_max2d", "GlobalMaxPooling2D", {"keepdims": True}, [IMAGES]),
    ("global_max3d", "GlobalMaxPooling3D", {}, [VOLUMES]),
    ("global_average1d", "GlobalAveragePooling1D", {}, [STEPS]),
    ("global_average2d", "GlobalAveragePooling2D", {}, [IMAGES]),
    ("global_average3d", "GlobalAveragePooling3D", {}, [VOLUMES]),
    ("adaptive_max2d", "AdaptiveMaxPooling2D", {"output_size": (3, 2)}, [IMAGES]),
    ("adaptive_average2d", "AdaptiveAveragePooling2D", {"output_size": 2}, [IMAGES]),
    ("rescaling", "Rescaling", {"scale": 0.5, "offset": -1.0}, [IMAGES]),
    ("resizing", "Resizing", {"height": 4, "width": 7}, [IMAGES]),
    ("center_crop", "CenterCrop", {"height": 3, "width": 2}, [IMAGES]),
    ("normalization", "Normalization", {"mean": 0.5, "variance": 2.0}, [(3, 4)]),
    ("dropout", "Dropout", {"rate": 0.5}, [(3, 4)]),
    ("noise", "GaussianNoise", {"stddev": 0.5}, [(3, 4)]),
]
# arguments that must be refused
REFUSED = [
    ("Dense", {"units": 0}, "at least 1"),
    ("Conv2D", {"filters": 0, "kernel_size": 3}, "strictly positive"),
    ("Conv2D", {"filters": 3, "kernel_size": (3, 0)}, "kernel_size"),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "groups": 2}, "evenly divisible"),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "padding": "causal"}, "padding"),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "data_format": "NHWC"}, "data_format"),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 1, "output_padding": 1}, "smaller than `strides`"),
    ("MaxPooling2D", {"pool_size": 0}, "pool_size"),
    ("Dropout", {"rate": 1.5}, "between 0 and 1"),
    ("ReLU", {"negative_slope": -1.0}, "negative"),
    ("Permute", {"dims": (0, 1)}, "dims"),
    ("Reshape", {"target_shape": (-1, -1)}, "more than one"),
    ("CategoryEncoding", {"num_tokens": 0}, "num_tokens"),
    ("Hashing", {"num_bins": 0}, "num_bins"),
    ("StringLookup", {"vocabulary": ["a", "a"]}, "repeated"),
]


def inputs_of(name, shapes):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def weights_of(name, old):
    rng = np.random.default_rng(zlib.crc32(name.encode()) + 1)
    return [np.abs(rng.normal(size=w.shape)).astype(np.float32) * 0.5 + 0.1 for w in old]


def cotangent_of(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode()) + 2).normal(size=shape).astype(np.float32)
