"""What the configurations have in common whose runs are evaluated while they train."""

import dataclasses
from typing import ClassVar

from jaxgan.config.base import Config
from jaxgan.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatedConfig(Config):
    """A recipe whose runs are looked at every so many steps, and their games with `jaxgan.diagnostics`."""

    eval_every: int | None = None
    """Steps between evaluations; by default there are none."""
    diagnostics: bool = False
    """Evaluations measure the game: eigenvalues of its vector field, slopes of discriminators, norms of gradients."""

    free: ClassVar[frozenset[str]] = Config.free | {"eval_every", "diagnostics"}

    def __post_init__(self):
        super().__post_init__()
        if self.eval_every is not None:
            self._at_least("eval_every", 1)
        if self.diagnostics and self.eval_every is None:
            raise InputError("diagnostics are a part of evaluations, and there are none. Set --eval-every as well.")
