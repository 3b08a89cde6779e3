"""Recipes: networks in, three pure functions out."""

from jaxgan.recipes.cyclegan import constant_then_linear as constant_then_linear
from jaxgan.recipes.cyclegan import cyclegan as cyclegan
from jaxgan.recipes.gan import Warmup as Warmup
from jaxgan.recipes.gan import gan as gan
from jaxgan.recipes.gan import rmsprop as rmsprop
from jaxgan.recipes.gan import uniform_labels as uniform_labels
from jaxgan.recipes.gan import wgan as wgan
from jaxgan.recipes.r3gan import burn_in as burn_in
from jaxgan.recipes.r3gan import r3gan as r3gan
from jaxgan.recipes.r3gan import r3gan_augment as r3gan_augment
from jaxgan.recipes.stylegan2 import stylegan2 as stylegan2
