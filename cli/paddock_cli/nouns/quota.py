"""Set what the platform, a tenant, a project or end users may use, and see where it stands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from paddock_cli import limits
from paddock_cli.client import Client
from paddock_cli.errors import NotFoundError, UsageError
from paddock_cli.output import Output, OutputOption, limits_text, print_fields, print_rows, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
Tenant = Annotated[str | None, typer.Option(help="The tenant.")]
Project = Annotated[str | None, typer.Option(help="A project of the tenant; made if it is new.")]
EndUsers = Annotated[bool, typer.Option("--end-users", help="Each end user whom the tenant's requests name.")]
Platform = Annotated[bool, typer.Option("--platform", help="All tenants together.")]
Gpus = Annotated[int | None, typer.Option(min=0, help="GPUs that the tenant's deployments may take together.")]
GPUS = "gpus"
_BAR = 20


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What has the limits: where they are put, and how they are read."""

    names: dict[str, str]
    path: str
    read: Callable[[Client], dict[str, Any]]
    gpus: str | None = None
    """Where its GPU quota is put; None for what has none."""


def _target(*, tenant: str | None, project: str | None, end_users: bool, platform: bool) -> _Target:
    if platform and (tenant or project or end_users):
        raise UsageError("--platform stands alone", advice="leave out the tenant, or --platform")
    if platform:
        path = "/v1/platform/limits"
        return _Target(names={"level": "platform"}, path=path, read=lambda client: dict(client.get(path)["limits"]))
    if tenant is None:
        raise UsageError("whose limits?", advice="give --tenant (and --project or --end-users), or --platform")
    if project and end_users:
        raise UsageError("a project has no end users of its own", advice="give --project or --end-users")
    base = f"/v1/tenants/{tenant}"
    if project:
        names = {"tenant": tenant, "project": project}
        return _Target(names=names, path=f"{base}/projects/{project}", read=lambda client: _of(client, base, project))
    field = "end_user_limits" if end_users else "limits"
    path = f"{base}/end-user-limits" if end_users else f"{base}/limits"
    names = {"tenant": tenant} | ({"level": "each end user"} if end_users else {})
    return _Target(
        names=names,
        path=path,
        read=lambda client: dict(client.get(base)["tenant"][field]),
        gpus=None if end_users else base,
    )


def _gpus(target: _Target, gpus: int | None, unset: list[str]) -> bool:
    """Whether the GPU quota is to change. Raises UsageError where there is none."""
    if gpus is None and GPUS not in unset:
        return False
    if target.gpus is None:
        raise UsageError("only a tenant as a whole has a GPU quota", advice="give --tenant alone with --gpus")
    if gpus is not None and GPUS in unset:
        raise UsageError("--gpus and --unset gpus at once", advice="give one of them")
    return True


def _of(client: Client, base: str, project: str) -> dict[str, Any]:
    for item in client.items(f"{base}/projects"):
        if item["id"].endswith(f"/{project}"):
            return dict(item["limits"])
    raise NotFoundError(f"no project {project}", advice="make it with `paddock quota set --project`")


@app.command("set")
def set_limits(
    *,
    tenant: Tenant = None,
    project: Project = None,
    end_users: EndUsers = False,
    platform: Platform = False,
    requests_per_minute: limits.RequestsPerMinute = None,
    input_tokens_per_minute: limits.InputTokensPerMinute = None,
    output_tokens_per_minute: limits.OutputTokensPerMinute = None,
    concurrent_requests: limits.ConcurrentRequests = None,
    max_output_tokens: limits.MaxOutputTokens = None,
    max_context_tokens: limits.MaxContextTokens = None,
    tokens_per_day: limits.TokensPerDay = None,
    tokens_per_month: limits.TokensPerMonth = None,
    money_per_month: limits.MoneyPerMonth = None,
    gpus: Gpus = None,
    unset: limits.Unset = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change limits; those that are not named stay as they are."""
    changes = limits.given(
        requests_per_minute=requests_per_minute,
        input_tokens_per_minute=input_tokens_per_minute,
        output_tokens_per_minute=output_tokens_per_minute,
        concurrent_requests=concurrent_requests,
        max_output_tokens=max_output_tokens,
        max_context_tokens=max_context_tokens,
        tokens_per_day=tokens_per_day,
        tokens_per_month=tokens_per_month,
        money_per_month_nano=limits.nano(money_per_month),
    )
    client = Client()
    target = _target(tenant=tenant, project=project, end_users=end_users, platform=platform)
    with_gpus = _gpus(target, gpus, unset or [])
    others = [name for name in unset or () if name != GPUS]
    try:
        current = target.read(client)
    except NotFoundError:
        if project is None:
            raise
        current = {}
    new_project = project is not None and not current
    wanted = limits.changed(current, changes=changes, unset=others, nothing=new_project or with_gpus)
    if with_gpus:
        changed = client.put(f"{target.gpus}/gpu-quota", {GPUS: gpus})
    if wanted != current or not with_gpus:
        changed = client.put(target.path, wanted)
    found = changed["end_user_limits"] if end_users else changed["limits"]
    show({**target.names, **found, **_held(target, changed)}, output=output, table=print_fields)


@app.command("show")
def show_limits(
    *,
    tenant: Tenant = None,
    project: Project = None,
    end_users: EndUsers = False,
    platform: Platform = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show limits; empty means that there is none, and of GPUs as many as the platform gives every tenant."""
    target, client = _target(tenant=tenant, project=project, end_users=end_users, platform=platform), Client()
    held = {} if target.gpus is None else _held(target, client.get(target.gpus)["tenant"])
    show({**target.names, **target.read(client), **held}, output=output, table=print_fields)


@app.command("projects")
def list_projects(
    tenant: Annotated[str, typer.Option(help="The tenant.")], output: OutputOption = Output.TABLE
) -> None:
    """List a tenant's projects."""
    show(list(Client().items(f"/v1/tenants/{tenant}/projects")), output=output, table=_projects)


@app.command()
def status(tenant: Tenant = None, output: OutputOption = Output.TABLE) -> None:
    """Show where limits stand: used, held by gateways, and left. Only limits that a request met have a standing."""
    show(list(Client().items("/v1/quotas", tenant=tenant)), output=output, table=_standings)


def _held(target: _Target, tenant: dict[str, Any]) -> dict[str, Any]:
    """The GPU quota, of what has one."""
    return {} if target.gpus is None else {GPUS: tenant[GPUS]}


def _projects(projects: list[dict[str, Any]]) -> None:
    print_rows([(item["id"], limits_text(item["limits"])) for item in projects], "PROJECT", "LIMITS")


def _standings(items: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["level"],
            item["kind"].replace("_", " "),
            item["period"] or "now",
            *(_amount(item, name) for name in ("spent", "leased", "limit")),
            bar(used=item["spent"] + item["leased"], limit=item["limit"]),
        )
        for item in items
    ]
    print_rows(rows, "LEVEL", "LIMIT", "PERIOD", "USED", "HELD", "OF", "")


def _amount(item: dict[str, Any], name: str) -> str:
    """Units, or money in its currency."""
    from paddock_core.usage.money import format_amount

    return f"{format_amount(item[name])} {item['currency']}" if item["currency"] else str(item[name])


def bar(*, used: int, limit: int) -> str:
    """A bar of the share that is used."""
    filled = _BAR if limit <= 0 else min(_BAR, used * _BAR // limit)
    return "█" * filled + "░" * (_BAR - filled)
