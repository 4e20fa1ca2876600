"""GPUs that a tenant's deployments may be charged together."""

from pathlib import Path

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each statement stands in the SQL file beside this one, separated by lines of dashes."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    for statement in sql.split("\n-- --\n"):
        op.get_bind().exec_driver_sql(statement)
