"""The report of runs: one HTML page that needs nothing else, written once or served while they train."""

from jaxgan.report.collect import collect, find
from jaxgan.report.page import page, report
from jaxgan.report.serve import Server

__all__ = ["Server", "collect", "find", "page", "report"]
