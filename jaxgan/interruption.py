"""Ctrl-C, SIGTERM and a closed terminal, caught: what has been trained is saved before the process ends."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


# Of the training that runs in this process, if one does.
_caught: "Signals | None" = None


class Interrupted(BaseException):
    """Raised where a signal may end at once what is being done."""


class Signals:
    """The first signal that was caught; a second one does no harm.

    Attributes:
      number: of that signal, 0 until there is one.
    """

    number = 0
    _at_once = True

    def check(self) -> None:
        """Raises Interrupted if a signal has come that may end at once what is being done.

        `handle` has raised it already; but where that happened in what Python cleans up, it was lost.
        """
        if self.number and self._at_once:
            raise Interrupted

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """While what must be finished runs: a signal is only noted."""
        self._at_once = False
        try:
            yield
        finally:
            self._at_once = True

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside `noted`, while something runs that may be given up: a signal raises Interrupted."""
        if self.number:
            raise Interrupted
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def handle(self, number: int, _: object) -> None:
        if self.number == 0:
            self.number = number
            if self._at_once:
                raise Interrupted


@contextlib.contextmanager
def signals() -> Iterator[Signals]:
    """Catches signals, and ends at its own end as the first of them would have: SIGTERM by SystemExit with status 143.

    What runs outside of `Signals.noted` is given up at once.
    """
    global _caught
    caught = _caught = Signals()
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                before[number] = signal.signal(number, caught.handle)
    try:
        with contextlib.suppress(Interrupted):
            yield caught
    finally:
        _caught = None
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught.number:
        raise KeyboardInterrupt if caught.number == signal.SIGINT else SystemExit(128 + caught.number)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Ignores signals, while what follows one is said."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def aside(job: Callable[[], T]) -> T:
    """Runs what Python cannot interrupt, as a compiler, in a thread of its own: signals are handled meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        return job()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(job())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)  # or the process would wait for it at its end
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        if _caught is not None:
            _caught.check()
    if errors:
        raise errors[0]
    return results[0]
