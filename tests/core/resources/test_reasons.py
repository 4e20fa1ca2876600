"""The table of conditions and reasons: complete, without leftovers, and readable."""

import re

import pytest
from paddock_core.licensing.registration import RegistrationReason, UnservedReason
from paddock_core.licensing.types import Reason
from paddock_core.planning.types import RefusalReason
from paddock_core.resources.conditions import ConditionReason, ConditionType, ModelConditionType
from paddock_core.resources.reasons import advice, packaged_reasons

TABLE = packaged_reasons()


def test_every_reason_is_in_the_table_and_no_other() -> None:
    kinds = (ConditionReason, Reason, RegistrationReason, UnservedReason, RefusalReason)
    assert set(TABLE.reasons) == {str(reason) for kind in kinds for reason in kind}


NEVER_OF_A_MODEL = (Reason.ALLOWED, Reason.MODEL_UNKNOWN, Reason.LICENSE_MISMATCH)
"""What it is made from is looked for before the license is, and who registers a model names no license."""


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in NEVER_OF_A_MODEL])
def test_what_a_license_denies_is_told_of_deployments_and_of_registrations(reason: Reason) -> None:
    assert {"LicenseAccepted", "Registered"} <= set(TABLE.reasons[reason].on)


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_what_the_planner_refuses_is_told_of_the_plan(reason: RefusalReason) -> None:
    assert "Planned" in TABLE.reasons[reason].on


def test_every_condition_type_is_in_the_table_and_no_other() -> None:
    assert set(TABLE.types) == {*ConditionType, *ModelConditionType}
    assert {row.of for row in TABLE.types.values()} == {"LlamaDeployment", "LlamaModel", "both"}


@pytest.mark.parametrize("reason", sorted(TABLE.reasons))
def test_a_row_says_what_it_means_and_what_to_do(reason: str) -> None:
    row = TABLE.reasons[reason]
    assert row.on
    assert set(row.on) <= set(TABLE.types)
    assert len(row.means) > 10
    assert advice(reason) == row.do
    assert "|" not in row.means + row.do, "it would end a cell of the page"


BEYOND_A_TENANT = re.compile(r"\b(logs?|nodes?|pods?|Job|driver|ReplicaSet|Secret|volumes?|control plane)\b")
"""What a tenant has no right to look at or to change."""


@pytest.mark.parametrize("reason", sorted(TABLE.reasons))
def test_what_a_tenant_is_told_to_do_is_within_its_rights(reason: str) -> None:
    told, _, _ = TABLE.reasons[reason].do.partition("platform team")
    assert not BEYOND_A_TENANT.search(told), "say `platform team:` before it"
