"""Every metric of one service after the other, for all who tell them: the adapter's answers and the operator's own.

Pure, but for what it has logged.
"""

import logging
from collections.abc import Collection
from typing import Final

from ..facts import Key, Scaler, Service
from .answers import INTERNAL_ERROR, Answer, answers, unanswered
from .fallback import load_target
from .findings import Findings
from .rule import Standing

logger = logging.getLogger(__name__)

_NO_SENSE: Final = "Mooring cannot make anything of the numbers of this service ({}): its log says why"


class Teller:
    """Tells the metrics of services. One whose numbers nobody has thought of loses its own, and no other loses any."""

    def __init__(self, interval: float) -> None:
        """`interval` is the time between two scrapes in seconds."""
        self._interval = interval
        self._logged: dict[Key, str] = {}

    def tell(self, service: Service, findings: Findings, standing: Standing, ready: int | None) -> dict[str, Answer]:
        """Return what each external metric of a service says, by its name.

        Args:
            service: with its targets.
            findings: what Prometheus found of it.
            standing: what scales it now.
            ready: pods that are ready by the cluster's word, where that is known.
        """
        key = Key(service.namespace, service.name)
        try:
            target = load_target(service, Scaler(concurrency=standing.concurrency()))
            said = answers(service, findings, self._interval, target, ready)
        except Exception as error:
            kind = type(error).__name__
            # Once: it is looked at each few seconds, and the same numbers give the same error.
            if self._logged.get(key) != kind:
                self._logged[key] = kind
                logger.exception("cannot tell the metrics of %s/%s from %s", *key, findings)
            return unanswered(INTERNAL_ERROR, _NO_SENSE.format(kind))
        self._logged.pop(key, None)
        return said

    def keep(self, keys: Collection[Key]) -> None:
        """Forget every other service."""
        self._logged = {key: kind for key, kind in self._logged.items() if key in keys}
