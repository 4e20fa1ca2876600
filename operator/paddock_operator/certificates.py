"""The webhook's certificate, which may be replaced while the operator runs: no call of the API server fails for it."""

import asyncio
import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often the files are looked at: connections made later than that see the new certificate."""


class ServedCertificate:
    """A TLS context that always has the newest pair of certificate and key.

    Raises OSError or ssl.SSLError where the files cannot be used at the start; later such files change nothing, since
    the two are not replaced at the same moment.
    """

    def __init__(self, *, certificate: Path, key: Path) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._files = (certificate, key)
        self._known = self._read()
        self.context.load_cert_chain(*self._files)

    async def follow(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take the files as they are now, if they changed and fit each other."""
        try:
            found = self._read()
            if found == self._known:
                return
            # A context into which only half of a pair went serves nobody, so another one is asked first.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
            self.context.load_cert_chain(*self._files)
        except OSError as error:  # ssl.SSLError is one
            log.warning("the webhook's certificate cannot be used: the one before is", extra={"error": str(error)})
            return
        self._known = found
        log.info("the webhook's certificate was replaced")

    def _read(self) -> tuple[bytes, bytes]:
        certificate, key = self._files
        return certificate.read_bytes(), key.read_bytes()
