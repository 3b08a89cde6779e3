"""Data sets: sources of images, and how they reach a compiled step."""

from jaxgan.data.domains import AnySource, Domains, domains
from jaxgan.data.feed import Feed, Share, feed
from jaxgan.data.order import batch_indices
from jaxgan.data.prepare import Row, available, prepare
from jaxgan.data.records import Source, Synthetic, from_arrays
from jaxgan.data.sources import load

__all__ = [
    "AnySource",
    "Domains",
    "Feed",
    "Row",
    "Share",
    "Source",
    "Synthetic",
    "available",
    "batch_indices",
    "domains",
    "feed",
    "from_arrays",
    "load",
    "prepare",
]
