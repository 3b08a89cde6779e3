"""Run configurations: frozen dataclasses that are data and nothing else.

A configuration names its recipe, and everything in it can be written to JSON and read back without running code.
"""

from jaxgan.config.base import Config as Config
from jaxgan.config.cyclegan import CycleGANConfig as CycleGANConfig
from jaxgan.config.evaluated import EvaluatedConfig as EvaluatedConfig
from jaxgan.config.files import RECIPES as RECIPES
from jaxgan.config.files import float_fields as float_fields
from jaxgan.config.files import from_data as from_data
from jaxgan.config.files import read as read
from jaxgan.config.files import write as write
from jaxgan.config.gan import GANConfig as GANConfig
from jaxgan.config.r3gan import R3GANConfig as R3GANConfig
from jaxgan.config.sampled import SampledConfig as SampledConfig
from jaxgan.config.stylegan2 import StyleGAN2Config as StyleGAN2Config
