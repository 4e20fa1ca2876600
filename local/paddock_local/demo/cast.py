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
    """A namespace in which the tenant's people may work with LlamaDeployments and nothing else."""
    return f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {tenant}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: paddock-tenant, namespace: {tenant}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: paddock-tenant}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {tenant}}}]
"""
