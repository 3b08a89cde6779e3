"""Layers and networks; they know nothing of training."""

from jaxgan.nn.attention import SelfAttention as SelfAttention
from jaxgan.nn.conditional import ConcatDiscriminator as ConcatDiscriminator
from jaxgan.nn.conditional import ConcatGenerator as ConcatGenerator
from jaxgan.nn.conditional import ConditionalBatchNorm as ConditionalBatchNorm
from jaxgan.nn.conditional import check_labels as check_labels
from jaxgan.nn.conditional import encode as encode
from jaxgan.nn.conv import Conv as Conv
from jaxgan.nn.conv import ConvTranspose as ConvTranspose
from jaxgan.nn.conv import conv as conv
from jaxgan.nn.conv import conv_transpose as conv_transpose
from jaxgan.nn.dcgan import DCGANDiscriminator as DCGANDiscriminator
from jaxgan.nn.dcgan import DCGANGenerator as DCGANGenerator
from jaxgan.nn.dcgan import doublings as doublings
from jaxgan.nn.minibatch import MinibatchStd as MinibatchStd
from jaxgan.nn.mlp import MLPDiscriminator as MLPDiscriminator
from jaxgan.nn.mlp import MLPGenerator as MLPGenerator
from jaxgan.nn.resnet import ResNetDiscriminator as ResNetDiscriminator
from jaxgan.nn.resnet import ResNetGenerator as ResNetGenerator
from jaxgan.nn.spectral import SpectralNorm as SpectralNorm
