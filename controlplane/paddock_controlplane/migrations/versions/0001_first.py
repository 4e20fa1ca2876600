"""The first tables, their row-level security, and the role that the application acts as."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each statement stands in the SQL file beside this one, separated by lines of dashes."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    for statement in sql.split("\n-- --\n"):
        op.get_bind().exec_driver_sql(statement)
