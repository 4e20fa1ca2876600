"""Who appears in the story, and the small manifests that the platform team applies for them."""

from dataclasses import dataclass

LICENSE = "paddock-demo"
MODEL = "smollm2-135m-instruct"
SERVED = "acme/smollm2"
QUESTION = "What is the capital of Peru? Answer in one sentence."
PLATFORM = "paddock-platform"


@dataclass(frozen=True, kw_only=True)
class Party:
    """A legal entity and, for a customer, the tenant of the same story."""

    entity: str
    legal_name: str
    signatory: str
    email: str
    title: str


OPERATOR = Party(
    entity=PLATFORM,
    legal_name="Paddock Platform Inc.",
    signatory="Olga Perez",
    email="olga@platform.example",
    title="General Counsel",
)
TENANTS = {
    "acme": Party(
        entity="acme-inc",
        legal_name="Acme Inc.",
        signatory="Ada Moreno",
        email="ada@acme.example",
        title="Director of Legal",
    ),
    "globex": Party(
        entity="globex-ltd",
        legal_name="Globex Ltd.",
        signatory="Gus Lind",
        email="gus@globex.example",
        title="Chief Executive",
    ),
}


def tenant_namespace(tenant: str) -> str:
    """The tenant's namespace; what its people may do there is for the operator to see to, once it is the tenant's."""
    return f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {tenant}}}
"""
