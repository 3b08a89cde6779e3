"""``jaxgan report`` and ``jaxgan watch``: runs as a page."""

from pathlib import Path

import tyro

Runs = tyro.conf.Positional[tuple[Path, ...]]


def report(runs: Runs, out: Path = Path("report.html")) -> None:
    """Show runs beside each other as one HTML page, which needs no network and no other file.

    Args:
        runs: Directories of runs; that of a sweep stands for all of its runs.
        out: The HTML file.
    """
    from jaxgan.report import report as write

    path = write(runs, out)
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


def watch(runs: Runs, port: int = 8000) -> None:
    """Show runs in a browser on this machine while they train; Ctrl-C ends it.

    Args:
        runs: Directories of runs; that of a sweep stands for all of its runs.
        port: Where the page is served, on 127.0.0.1 alone; 0 takes any that is free.
    """
    from jaxgan.report import Server

    with Server(runs, port) as server:
        print(f"{server.url}  (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")
