"""The Prometheus that the settings name."""

from ..scaling.scraping import Scraping, matchers_of
from ..settings import Settings
from .prometheus import Prometheus
from .prometheus_http import Access


def prometheus_of(settings: Settings) -> Prometheus | None:
    """Return the client; None where the settings name no Prometheus. Close it in the end."""
    if not settings.prometheus_url:
        return None
    return Prometheus(
        Access(
            url=settings.prometheus_url,
            scraping=Scraping(settings.scrape_seconds, matchers_of(settings.prometheus_labels)),
            timeout=settings.prometheus_timeout_seconds,
            token_file=settings.prometheus_token_file,
            ca_file=settings.prometheus_ca_file,
        )
    )
