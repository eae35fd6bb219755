"""Image models under torchvision's names, module trees and keys, so that its weight files load."""

from __future__ import annotations

from typing import Any

from gradloom.vision.models.alexnet import AlexNet, alexnet
from gradloom.vision.models.cifar import CifarResNet, cifar_resnet18, resnet20, resnet32, resnet44, resnet56, resnet110
from gradloom.vision.models.convnext import (
    CNBlock,
    CNBlockConfig,
    ConvNeXt,
    convnext_base,
    convnext_large,
    convnext_small,
    convnext_tiny,
)
from gradloom.vision.models.densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from gradloom.vision.models.efficientnet import (
    EfficientNet,
    FusedMBConv,
    FusedMBConvConfig,
    MBConv,
    MBConvConfig,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
    efficientnet_v2_l,
    efficientnet_v2_m,
    efficientnet_v2_s,
)
from gradloom.vision.models.lenet import LeNet, lenet
from gradloom.vision.models.mobilenet import (
    InvertedResidual,
    InvertedResidualConfig,
    MobileNetV2,
    MobileNetV3,
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_small,
)
from gradloom.vision.models.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from gradloom.vision.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from gradloom.vision.models.squeezenet import Fire, SqueezeNet, squeezenet1_0, squeezenet1_1
from gradloom.vision.models.unet import UNet, unet
from gradloom.vision.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from gradloom.vision.models.vit import (
    ConvStemConfig,
    VisionTransformer,
    interpolate_embeddings,
    vit_b_16,
    vit_b_32,
    vit_h_14,
    vit_l_16,
    vit_l_32,
)
from gradloom.vision.models.weights import Weights, WeightsEnum

__all__ = [
    "AlexNet",
    "BasicBlock",
    "Bottleneck",
    "CNBlock",
    "CNBlockConfig",
    "CifarResNet",
    "ConvNeXt",
    "ConvStemConfig",
    "DenseNet",
    "EfficientNet",
    "Fire",
    "FusedMBConv",
    "FusedMBConvConfig",
    "InvertedResidual",
    "InvertedResidualConfig",
    "LeNet",
    "MBConv",
    "MBConvConfig",
    "MobileNetV2",
    "MobileNetV3",
    "ResNet",
    "SqueezeNet",
    "UNet",
    "VGG",
    "VisionTransformer",
    "Weights",
    "WeightsEnum",
    "alexnet",
    "cifar_resnet18",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_v2_l",
    "efficientnet_v2_m",
    "efficientnet_v2_s",
    "get_model",
    "get_model_builder",
    "get_model_weights",
    "get_weight",
    "interpolate_embeddings",
    "lenet",
    "list_models",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext50_32x4d",
    "squeezenet1_0",
    "squeezenet1_1",
    "unet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vit_b_16",
    "vit_b_32",
    "vit_h_14",
    "vit_l_16",
    "vit_l_32",
    "wide_resnet101_2",
    "wide_resnet50_2",
]


def __getattr__(name: str) -> Any:
    """The enumerations of weights, ``ResNet18_Weights`` and the others, made when asked for."""
    if name.endswith("_Weights"):
        from gradloom.vision.models.published import PUBLISHED
        from gradloom.vision.models.weights import named

        for model, (group, *_) in PUBLISHED.items():
            if group == name:
                return named(model)
    raise AttributeError(f"gradloom.vision.models has no {name!r}")
