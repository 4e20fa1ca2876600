"""A vendor's license where the vendor's own text is not at hand: words that only stand for it, digest check off.

The control plane takes no other words than those that the catalogue pins. What a test proves of large models does not
hang on the words, so here, and nowhere else, stand-ins are stored as if they were the pinned ones; offers, acceptances
and checks then go the real way.
"""

from unittest import mock

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.licensing import texts
from paddock_core.catalog.packaged import packaged_catalog


async def import_stand_ins(*, dsn: str, license_id: str) -> None:
    """Import stand-ins for every text of a license into the control plane's database."""
    catalog = packaged_catalog()
    entry = texts.license_entry(catalog, license_id)
    contents = {pin.role: f"This stands for the {pin.role} of {entry.title}, in a test.\n" for pin in entry.texts}
    pinned = {contents[pin.role]: f"sha256:{pin.canonical}" for pin in entry.texts}
    database = Database(dsn=dsn)
    try:
        with mock.patch.object(texts, "canonical_digest", pinned.__getitem__):
            async with database.transaction(EVERYTHING) as session:
                await texts.import_texts(
                    session, catalog=catalog, license_id=license_id, contents=contents, actor="test"
                )
    finally:
        await database.close()
