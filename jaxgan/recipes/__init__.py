"""Recipes: networks in, three pure functions out."""

from jaxgan.recipes.cyclegan import constant_then_linear as constant_then_linear
from jaxgan.recipes.cyclegan import cyclegan as cyclegan
from jaxgan.recipes.gan import Warmup as Warmup
from jaxgan.recipes.gan import gan as gan
from jaxgan.recipes.gan import rmsprop as rmsprop
from jaxgan.recipes.gan import uniform_labels as uniform_labels
from jaxgan.recipes.gan import wgan as wgan
from jaxgan.recipes.stylegan2 import stylegan2 as stylegan2
