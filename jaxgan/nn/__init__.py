"""Layers and networks; they know nothing of training."""

from jaxgan.nn.conv import Conv as Conv
from jaxgan.nn.conv import ConvTranspose as ConvTranspose
from jaxgan.nn.conv import conv as conv
from jaxgan.nn.conv import conv_transpose as conv_transpose
from jaxgan.nn.dcgan import DCGANDiscriminator as DCGANDiscriminator
from jaxgan.nn.dcgan import DCGANGenerator as DCGANGenerator
from jaxgan.nn.dcgan import doublings as doublings
from jaxgan.nn.mlp import MLPDiscriminator as MLPDiscriminator
from jaxgan.nn.mlp import MLPGenerator as MLPGenerator
