"""Links that a tenant's administrator fetches for an offer that the platform made."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""
