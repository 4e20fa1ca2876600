"""The schema moves on under load while the code of before runs on it, and back again."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from paddock_controlplane.migrate import migrate

from faults import database
from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "schema migrated under the code of before, {size} times"
SHORT, FULL = 1, 10
NEXT = '''
"""What a later version may do: columns, an index and a table more."""

from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{head}", None, None


def upgrade() -> None:
    for statement in (
        "ALTER TABLE usage ADD COLUMN IF NOT EXISTS later text",
        "ALTER TABLE usage_hour ADD COLUMN IF NOT EXISTS later bigint NOT NULL DEFAULT 0",
        "ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS later text NOT NULL DEFAULT ''",
        "CREATE INDEX later_of_keys ON api_keys (later)",
        "CREATE TABLE later (id text PRIMARY KEY)",
    ):
        op.get_bind().exec_driver_sql(statement)
'''
BACK = (
    "ALTER TABLE usage DROP COLUMN later",
    "ALTER TABLE usage_hour DROP COLUMN later",
    "ALTER TABLE api_keys DROP COLUMN later",
    "DROP TABLE later",
    "UPDATE alembic_version SET version_num = '{head}'",
)


def play(scene: Scene, size: int) -> Verdict:
    """There and back, with requests to the gateway and writes to the API all the while: none fails."""
    mark, longest = scene.since(), 0.0
    head = str(database.ask(scene.stack, "SELECT version_num FROM alembic_version")[0][0])
    with scene.load() as load, TemporaryDirectory() as folder, scene.writing() as written:
        (Path(folder) / "9999_later.py").write_text(NEXT.format(head=head))
        for _ in range(size):
            scene.until("an answer", lambda: load.log.answers or None)
            began = time.monotonic()
            revision = asyncio.run(migrate(database.dsn(scene.stack), later=Path(folder)))
            longest = max(longest, time.monotonic() - began)
            assert revision == "9999", revision
            goal = len(written) + 3
            scene.until("writes on the new schema", lambda: len(written) >= goal or None)  # noqa: B023
            for statement in BACK:
                database.ask(scene.stack, statement.format(head=head))
    assert not load.log.refusals, f"refused: {load.log.codes()}"
    note = f"{len(written)} writes through the API meanwhile, none failed; migrated in {longest:.1f} s at most"
    return mark.verdict(load.log, tokens=TOKENS, note=note)
