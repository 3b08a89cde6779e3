"""``python -m jaxgan`` is ``jaxgan``."""

from jaxgan.cli import main

if __name__ == "__main__":  # worker processes that are spawned import this again
    main()
