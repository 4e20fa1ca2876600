"""After a crash: every request that the journal began and never settled gets its one record."""

import logging
from pathlib import Path

from paddock_core.usage.recovery import OpenRequests

from paddock_gateway.journal import Journal, payloads_in_order, segment_numbers

_log = logging.getLogger(__name__)


async def recover(*, folder: Path, journal: Journal) -> int:
    """Settle what earlier processes left open in this folder; gives how many requests that were.

    The settlements go into the new journal, durable before this returns, and are shipped like any other. A crash in
    between changes nothing: the next start finds what is still open.
    """
    requests = OpenRequests()
    requests.add(payloads_in_order(folder, segment_numbers(folder)))
    records = requests.settle_lost()
    for record in records:
        await journal.settle(record)
    if records:
        _log.warning("requests of a process that died were settled", extra={"requests": len(records)})
    return len(records)
