"""Networks of the tokenizer's losses, of the right kind and of no size."""

from torch import Tensor, nn
from torch.nn import functional as F


def small_vgg() -> nn.Sequential:
    """The kinds of layers of VGG-16's `features`, in its order, in-place ReLU included."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True)
    ).requires_grad_(False)


def small_dino(images: Tensor) -> list[Tensor]:
    """Five depths of a class slot and four patches of 384 features."""
    slots = F.adaptive_avg_pool2d(images, (5, 128)).permute(0, 2, 3, 1).reshape(len(images), 5, 384)
    return [slots * scale for scale in (1, 2, 3, 4, 5)]
