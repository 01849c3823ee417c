"""Torch's convolutions with TensorFlow's padding, as modules of [batch, channels, ...] tensors."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dovetail.layers.inputs import too_small
from dovetail.layers.padding import same_padding


class Convolution1d(nn.Conv1d):
    """Torch's convolution of [batch, channels, length] with TensorFlow's padding."""

    same = False

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride, rate = self.kernel_size[0], self.stride[0], self.dilation[0]
        if not self.same:
            window = (kernel - 1) * rate + 1
            if input.shape[2] < window:
                raise too_small(input.transpose(1, 2).shape, (window,), "conv1d")
            return F.conv1d(input, self.weight, self.bias, stride, 0, rate)
        before, after = same_padding(input.shape[2], kernel, stride, rate)
        if before == after:
            return F.conv1d(input, self.weight, self.bias, stride, before, rate)
        return F.conv1d(F.pad(input, (before, after)), self.weight, self.bias, stride, 0, rate)


class Convolution2d(nn.Conv2d):
    """Torch's convolution of [batch, channels, height, width] with TensorFlow's padding."""

    same = False

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride, rate = self.kernel_size, self.stride, self.dilation
        height, width = input.shape[2], input.shape[3]
        if not self.same:
            window = ((kernel[0] - 1) * rate[0] + 1, (kernel[1] - 1) * rate[1] + 1)
            if height < window[0] or width < window[1]:
                raise too_small(input.permute(0, 2, 3, 1).shape, window, "conv2d")
            return F.conv2d(input, self.weight, self.bias, stride, 0, rate)
        top, bottom = same_padding(height, kernel[0], stride[0], rate[0])
        left, right = same_padding(width, kernel[1], stride[1], rate[1])
        if top == bottom and left == right:
            return F.conv2d(input, self.weight, self.bias, stride, (top, left), rate)
        padded = F.pad(input, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, self.bias, stride, 0, rate)


class ConvolutionTranspose2d(nn.ConvTranspose2d):
    """The gradient of `Convolution2d` by its inputs, as a layer of [batch, channels, ...]."""

    same = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        kernel, stride = self.kernel_size, self.stride
        # A window shorter than the stride leaves places that no window reaches: they are bias only.
        extra = (max(stride[0] - kernel[0], 0), max(stride[1] - kernel[1], 0))
        y = F.conv_transpose2d(input, self.weight, self.bias, stride, 0, extra)
        if not self.same:
            return y
        # SAME's padding of an output whose size is a whole number of strides.
        top, left = max(kernel[0] - stride[0], 0) // 2, max(kernel[1] - stride[1], 0) // 2
        height, width = input.shape[2] * stride[0], input.shape[3] * stride[1]
        return y[:, :, top : top + height, left : left + width]
