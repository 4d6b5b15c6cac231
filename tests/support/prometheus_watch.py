"""What is said of one service while its Prometheus, or its pods, come and go."""

import asyncio
import time
from collections.abc import Callable

from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_http import Access
from mooring_operator.facts import Key, Service
from mooring_operator.scaling.answers import Answer, answers
from mooring_operator.scaling.scraping import Scraping


class Watch:
    """Looks at a live Prometheus again and again, and remembers what was said of one service."""

    def __init__(self, url: str, service: Service, scraping: Scraping) -> None:
        self._access = Access(url, scraping)
        self._service = service
        self.said: list[dict[str, Answer]] = []

    def until(self, holds: Callable[[dict[str, Answer]], bool], seconds: float = 30.0) -> dict[str, Answer]:
        """Look until what is said is so; return it."""
        return asyncio.run(self._until(holds, seconds))

    async def _until(self, holds: Callable[[dict[str, Answer]], bool], seconds: float) -> dict[str, Answer]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Each look is by one who has not seen anything before.
            async with Prometheus(self._access) as asked:
                findings = (await asked.find([self._service]))[Key(self._service.namespace, self._service.name)]
            self.said.append(answers(self._service, findings, self._access.scraping.interval))
            if holds(self.said[-1]):
                return self.said[-1]
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {seconds:.0f} s; the last that was said: {self.said[-1:]}")

    def phases(self, metric: str) -> list[tuple[str, bool]]:
        """Reason, and whether there was a value, without repeats."""
        every = [(each[metric].reason, each[metric].value is not None) for each in self.said]
        return [each for number, each in enumerate(every) if number == 0 or every[number - 1] != each]
