"""How the players of a game move: rules beyond each one following its own gradient.

A game is its players' losses and optax transforms by name, and a rule makes one turn of it that moves all of them:

>>> game = {"discriminator": (d_loss, d_tx), "generator": (g_loss, g_tx)}  # doctest: +SKIP
>>> step = train_step(extragradient(game), average("generator", 10_000))  # doctest: +SKIP

Recipes take a rule, and slow weights for both players, as they take networks; ``partial`` sets a rule's own arguments:

>>> gan(generator, discriminator, rule=partial(unrolled, steps=5))  # doctest: +SKIP
>>> gan(generator, discriminator, rule=extragradient, lookahead=Lookahead(k=5))  # doctest: +SKIP

What changes a player's own steps alone is no rule but its transform:

- optimistic gradient descent (Daskalakis et al. 2018) is ``optax.optimistic_gradient_descent(eta)``. In simultaneous
  turns it is also extragradient with the extrapolation of the past (Gidel et al. 2019, section 3.3);
- optimistic Adam as in the paper is ``optax.optimistic_adam_v2(eta, nesterov=False)``: optax's default is Nesterov's;
- negative momentum (Gidel et al. 2019b) is ``optax.sgd(eta, momentum=-0.5)`` or ``optax.adam(eta, b1=-0.5)``;
- two time scales (Heusel et al. 2017) are two learning rates, ``g_tx`` and ``d_tx``.
"""

from jaxgan.games.adjusted import consensus as consensus
from jaxgan.games.adjusted import symplectic as symplectic
from jaxgan.games.extragradient import extragradient as extragradient
from jaxgan.games.game import Game as Game
from jaxgan.games.game import Rule as Rule
from jaxgan.games.lookahead import Lookahead as Lookahead
from jaxgan.games.lookahead import look_ahead as look_ahead
from jaxgan.games.lookahead import with_slow_weights as with_slow_weights
from jaxgan.games.unrolled import unroll as unroll
from jaxgan.games.unrolled import unrolled as unrolled
