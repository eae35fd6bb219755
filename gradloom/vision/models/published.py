"""The published weights: for each model the name of its enumeration, its parameters, and its files, the default last.

The files are those of torchvision, trained on ImageNet-1k; their names carry the first digits of their SHA-256.
A row ends with the number of parameters where that differs, for images of another size.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ADDRESS", "PUBLISHED"]

ADDRESS = "https://download.pytorch.org/models/"


def _at(resize: int, crop: int, interpolation: str = "bilinear", grey: Any = None) -> dict[str, Any]:
    """The preset of the transforms: the shorter side, the square cut from the middle, and how pixels are scaled.

    ``grey`` is mean and deviation of the colours, where they are not those of ImageNet.
    """
    preset: dict[str, Any] = {"resize_size": resize, "crop_size": crop, "interpolation": interpolation}
    return preset if grey is None else {**preset, "mean": grey, "std": grey}


# fmt: off
PUBLISHED: dict[str, tuple[str, int, tuple[tuple[Any, ...], ...]]] = {
    "alexnet": ("AlexNet_Weights", 61100840, (
        ("IMAGENET1K_V1", "alexnet-owt-7be5be79.pth", _at(256, 224)),
    )),
    "vgg11": ("VGG11_Weights", 132863336, (
        ("IMAGENET1K_V1", "vgg11-8a719046.pth", _at(256, 224)),
    )),
    "vgg11_bn": ("VGG11_BN_Weights", 132868840, (
        ("IMAGENET1K_V1", "vgg11_bn-6002323d.pth", _at(256, 224)),
    )),
    "vgg13": ("VGG13_Weights", 133047848, (
        ("IMAGENET1K_V1", "vgg13-19584684.pth", _at(256, 224)),
    )),
    "vgg13_bn": ("VGG13_BN_Weights", 133053736, (
        ("IMAGENET1K_V1", "vgg13_bn-abd245e5.pth", _at(256, 224)),
    )),
    "vgg16": ("VGG16_Weights", 138357544, (
        ("IMAGENET1K_V1", "vgg16-397923af.pth", _at(256, 224)),
    )),
    "vgg16_bn": ("VGG16_BN_Weights", 138365992, (
        ("IMAGENET1K_V1", "vgg16_bn-6c64b313.pth", _at(256, 224)),
    )),
    "vgg19": ("VGG19_Weights", 143667240, (
        ("IMAGENET1K_V1", "vgg19-dcbb9e9d.pth", _at(256, 224)),
    )),
    "vgg19_bn": ("VGG19_BN_Weights", 143678248, (
        ("IMAGENET1K_V1", "vgg19_bn-c79401a0.pth", _at(256, 224)),
    )),
    "resnet18": ("ResNet18_Weights", 11689512, (
        ("IMAGENET1K_V1", "resnet18-f37072fd.pth", _at(256, 224)),
    )),
    "resnet34": ("ResNet34_Weights", 21797672, (
        ("IMAGENET1K_V1", "resnet34-b627a593.pth", _at(256, 224)),
    )),
    "resnet50": ("ResNet50_Weights", 25557032, (
        ("IMAGENET1K_V1", "resnet50-0676ba61.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "resnet50-11ad3fa6.pth", _at(232, 224)),
    )),
    "resnet101": ("ResNet101_Weights", 44549160, (
        ("IMAGENET1K_V1", "resnet101-63fe2227.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "resnet101-cd907fc2.pth", _at(232, 224)),
    )),
    "resnet152": ("ResNet152_Weights", 60192808, (
        ("IMAGENET1K_V1", "resnet152-394f9c45.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "resnet152-f82ba261.pth", _at(232, 224)),
    )),
    "resnext50_32x4d": ("ResNeXt50_32X4D_Weights", 25028904, (
        ("IMAGENET1K_V1", "resnext50_32x4d-7cdf4587.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "resnext50_32x4d-1a0047aa.pth", _at(232, 224)),
    )),
    "resnext101_32x8d": ("ResNeXt101_32X8D_Weights", 88791336, (
        ("IMAGENET1K_V1", "resnext101_32x8d-8ba56ff5.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "resnext101_32x8d-110c445d.pth", _at(232, 224)),
    )),
    "resnext101_64x4d": ("ResNeXt101_64X4D_Weights", 83455272, (
        ("IMAGENET1K_V1", "resnext101_64x4d-173b62eb.pth", _at(232, 224)),
    )),
    "wide_resnet50_2": ("Wide_ResNet50_2_Weights", 68883240, (
        ("IMAGENET1K_V1", "wide_resnet50_2-95faca4d.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "wide_resnet50_2-9ba9bcbe.pth", _at(232, 224)),
    )),
    "wide_resnet101_2": ("Wide_ResNet101_2_Weights", 126886696, (
        ("IMAGENET1K_V1", "wide_resnet101_2-32ee1156.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "wide_resnet101_2-d733dc28.pth", _at(232, 224)),
    )),
    "densenet121": ("DenseNet121_Weights", 7978856, (
        ("IMAGENET1K_V1", "densenet121-a639ec97.pth", _at(256, 224)),
    )),
    "densenet161": ("DenseNet161_Weights", 28681000, (
        ("IMAGENET1K_V1", "densenet161-8d451a50.pth", _at(256, 224)),
    )),
    "densenet169": ("DenseNet169_Weights", 14149480, (
        ("IMAGENET1K_V1", "densenet169-b2777c0a.pth", _at(256, 224)),
    )),
    "densenet201": ("DenseNet201_Weights", 20013928, (
        ("IMAGENET1K_V1", "densenet201-c1103571.pth", _at(256, 224)),
    )),
    "squeezenet1_0": ("SqueezeNet1_0_Weights", 1248424, (
        ("IMAGENET1K_V1", "squeezenet1_0-b66bff10.pth", _at(256, 224)),
    )),
    "squeezenet1_1": ("SqueezeNet1_1_Weights", 1235496, (
        ("IMAGENET1K_V1", "squeezenet1_1-b8a52dc0.pth", _at(256, 224)),
    )),
    "mobilenet_v2": ("MobileNet_V2_Weights", 3504872, (
        ("IMAGENET1K_V1", "mobilenet_v2-b0353104.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "mobilenet_v2-7ebf99e0.pth", _at(232, 224)),
    )),
    "mobilenet_v3_large": ("MobileNet_V3_Large_Weights", 5483032, (
        ("IMAGENET1K_V1", "mobilenet_v3_large-8738ca79.pth", _at(256, 224)),
        ("IMAGENET1K_V2", "mobilenet_v3_large-5c1a4163.pth", _at(232, 224)),
    )),
    "mobilenet_v3_small": ("MobileNet_V3_Small_Weights", 2542856, (
        ("IMAGENET1K_V1", "mobilenet_v3_small-047dcff4.pth", _at(256, 224)),
    )),
    "efficientnet_b0": ("EfficientNet_B0_Weights", 5288548, (
        ("IMAGENET1K_V1", "efficientnet_b0_rwightman-7f5810bc.pth", _at(256, 224, "bicubic")),
    )),
    "efficientnet_b1": ("EfficientNet_B1_Weights", 7794184, (
        ("IMAGENET1K_V1", "efficientnet_b1_rwightman-bac287d4.pth", _at(256, 240, "bicubic")),
        ("IMAGENET1K_V2", "efficientnet_b1-c27df63c.pth", _at(255, 240)),
    )),
    "efficientnet_b2": ("EfficientNet_B2_Weights", 9109994, (
        ("IMAGENET1K_V1", "efficientnet_b2_rwightman-c35c1473.pth", _at(288, 288, "bicubic")),
    )),
    "efficientnet_b3": ("EfficientNet_B3_Weights", 12233232, (
        ("IMAGENET1K_V1", "efficientnet_b3_rwightman-b3899882.pth", _at(320, 300, "bicubic")),
    )),
    "efficientnet_b4": ("EfficientNet_B4_Weights", 19341616, (
        ("IMAGENET1K_V1", "efficientnet_b4_rwightman-23ab8bcd.pth", _at(384, 380, "bicubic")),
    )),
    "efficientnet_b5": ("EfficientNet_B5_Weights", 30389784, (
        ("IMAGENET1K_V1", "efficientnet_b5_lukemelas-1a07897c.pth", _at(456, 456, "bicubic")),
    )),
    "efficientnet_b6": ("EfficientNet_B6_Weights", 43040704, (
        ("IMAGENET1K_V1", "efficientnet_b6_lukemelas-24a108a5.pth", _at(528, 528, "bicubic")),
    )),
    "efficientnet_b7": ("EfficientNet_B7_Weights", 66347960, (
        ("IMAGENET1K_V1", "efficientnet_b7_lukemelas-c5b4e57e.pth", _at(600, 600, "bicubic")),
    )),
    "efficientnet_v2_s": ("EfficientNet_V2_S_Weights", 21458488, (
        ("IMAGENET1K_V1", "efficientnet_v2_s-dd5fe13b.pth", _at(384, 384)),
    )),
    "efficientnet_v2_m": ("EfficientNet_V2_M_Weights", 54139356, (
        ("IMAGENET1K_V1", "efficientnet_v2_m-dc08266a.pth", _at(480, 480)),
    )),
    "efficientnet_v2_l": ("EfficientNet_V2_L_Weights", 118515272, (
        ("IMAGENET1K_V1", "efficientnet_v2_l-59c71312.pth", _at(480, 480, "bicubic", (0.5, 0.5, 0.5))),
    )),
    "convnext_tiny": ("ConvNeXt_Tiny_Weights", 28589128, (
        ("IMAGENET1K_V1", "convnext_tiny-983f1562.pth", _at(236, 224)),
    )),
    "convnext_small": ("ConvNeXt_Small_Weights", 50223688, (
        ("IMAGENET1K_V1", "convnext_small-0c510722.pth", _at(230, 224)),
    )),
    "convnext_base": ("ConvNeXt_Base_Weights", 88591464, (
        ("IMAGENET1K_V1", "convnext_base-6075fbad.pth", _at(232, 224)),
    )),
    "convnext_large": ("ConvNeXt_Large_Weights", 197767336, (
        ("IMAGENET1K_V1", "convnext_large-ea097f82.pth", _at(232, 224)),
    )),
    "vit_b_16": ("ViT_B_16_Weights", 86567656, (
        ("IMAGENET1K_SWAG_E2E_V1", "vit_b_16_swag-9ac1b537.pth", _at(384, 384, "bicubic"), 86859496),
        ("IMAGENET1K_SWAG_LINEAR_V1", "vit_b_16_lc_swag-4e70ced5.pth", _at(224, 224, "bicubic")),
        ("IMAGENET1K_V1", "vit_b_16-c867db91.pth", _at(256, 224)),
    )),
    "vit_b_32": ("ViT_B_32_Weights", 88224232, (
        ("IMAGENET1K_V1", "vit_b_32-d86f8d99.pth", _at(256, 224)),
    )),
    "vit_l_16": ("ViT_L_16_Weights", 304326632, (
        ("IMAGENET1K_SWAG_E2E_V1", "vit_l_16_swag-4f3808c9.pth", _at(512, 512, "bicubic"), 305174504),
        ("IMAGENET1K_SWAG_LINEAR_V1", "vit_l_16_lc_swag-4d563306.pth", _at(224, 224, "bicubic")),
        ("IMAGENET1K_V1", "vit_l_16-852ce7e3.pth", _at(242, 224)),
    )),
    "vit_l_32": ("ViT_L_32_Weights", 306535400, (
        ("IMAGENET1K_V1", "vit_l_32-c7638314.pth", _at(256, 224)),
    )),
    "vit_h_14": ("ViT_H_14_Weights", 633470440, (
        ("IMAGENET1K_SWAG_LINEAR_V1", "vit_h_14_lc_swag-c1eb923e.pth", _at(224, 224, "bicubic"), 632045800),
        ("IMAGENET1K_SWAG_E2E_V1", "vit_h_14_swag-80465313.pth", _at(518, 518, "bicubic")),
    )),
}
# fmt: on
