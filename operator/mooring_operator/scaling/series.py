"""What one service's autoscaler asks of Prometheus itself, where KEDA is the one who asks. Pure."""

from typing import Final

from ..api import names
from ..facts import Service
from .answers import STALE
from .scraping import Scraping

_OLDEST: Final = 60.0
"""Seconds that a sample of the operator may be old at least: its own page need not be scraped as often as the pods."""


def query(metric: str, service: Service, scraping: Scraping) -> str:
    """Return the query of an external metric: one number, or nothing where nothing can be said.

    It asks for what the operator has worked out, never for the servers' own series: a sum over half of the pods looks
    like half of the load, one of pods that two jobs scrape like twice the load, and a query cannot tell.

    Args:
        metric: one of `names.EXTERNAL_METRICS`.
        service: whose it is.
        scraping: how its series come to be.
    """
    series = f"{names.SERIES[metric]}{_matchers(service, scraping)}"
    # Prometheus goes on with the last sample of a page that it does not scrape any more for five minutes, unless it was
    # told of its end, which a Prometheus that was down meanwhile, or a federation, never is.
    fresh = f"{series} and time() - timestamp({series}) < {max(_OLDEST, STALE * scraping.interval):g}"
    # Not a sum: there may be two for a moment after a change of leaders, and where two jobs scrape the operator.
    return f"max({fresh})"


def _matchers(service: Service, scraping: Scraping) -> str:
    namespace, name = names.METRIC_LABEL_NAMESPACE, names.METRIC_LABEL_SERVICE
    besides = f", {scraping.matchers}" if scraping.matchers else ""
    return f'{{{namespace}="{service.namespace}", {name}="{service.name}"{besides}}}'
