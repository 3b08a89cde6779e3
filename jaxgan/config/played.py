"""What the configurations have in common whose players may move by a rule of a game."""

import dataclasses
from functools import partial
from typing import Any, Literal

from jaxgan import games
from jaxgan.config.base import Config
from jaxgan.errors import InputError

_RULES: dict[str, games.Rule] = {
    "extragradient": games.extragradient,
    "consensus": games.consensus,
    "symplectic": games.symplectic,
    "unrolled": games.unrolled,
}
_WEIGHED = ("consensus", "symplectic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayedConfig(Config):
    """A recipe that takes ``rule`` and ``lookahead``."""

    rule: Literal["alternating", "extragradient", "consensus", "symplectic", "unrolled"] = "alternating"
    """How the players move: one after the other, each along its own gradient, or by a rule of `jaxgan.games`."""
    rule_weight: float | None = None
    """Of the adjustment by consensus (by default 10) and symplectic (1)."""
    rule_steps: int | None = None
    """How many answers of the discriminator an unrolled generator foresees; by default 5."""
    lookahead: int | None = None
    """After every so many steps both players fall back towards slow weights; by default they never do."""
    lookahead_alpha: float | None = None
    """The share of the way from the slow weights to the fast ones that they keep; by default 0.5."""

    def __post_init__(self):
        super().__post_init__()
        for name, owners in (("rule_weight", _WEIGHED), ("rule_steps", ("unrolled",))):
            value = getattr(self, name)
            if value is not None and self.rule not in owners:
                raise InputError(
                    f"{name} is {value}, but the rule is {self.rule!r}. Set --rule {' or '.join(owners)}, or leave it "
                    "out."
                )
        if self.lookahead_alpha is not None and self.lookahead is None:
            raise InputError(
                f"lookahead_alpha is {self.lookahead_alpha}, but there is no lookahead. Set --lookahead 5, or leave it "
                "out."
            )
        for name, least in (("rule_weight", 0), ("rule_steps", 1), ("lookahead", 1)):
            if getattr(self, name) is not None:
                self._at_least(name, least)

    def playing(self) -> dict[str, Any]:
        """Those arguments of the recipe."""
        arguments = {"weight": self.rule_weight, "steps": self.rule_steps}
        given = {name: value for name, value in arguments.items() if value is not None}
        ahead = None
        if self.lookahead is not None:
            ahead = games.Lookahead(self.lookahead)
            ahead = ahead if self.lookahead_alpha is None else ahead._replace(alpha=self.lookahead_alpha)
        rule = _RULES.get(self.rule)
        return {"rule": rule and partial(rule, **given), "lookahead": ahead}
