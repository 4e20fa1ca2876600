"""Look at the LlamaDeployments of a cluster, through your kubeconfig."""

from typing import Annotated, Any

import typer

from paddock_cli.output import Output, OutputOption, print_fields, print_rows, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig; the current one, if not given.")]


@app.command("list")
def list_deployments(
    namespace: Annotated[str | None, typer.Option("-n", "--namespace", help="Only this namespace.")] = None,
    context: Context = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the deployments of a namespace, or of all."""
    from paddock_cli.kubernetes import list_objects

    show(list_objects(namespace=namespace, context=context), output=output, table=_table)


@app.command("show")
def show_deployment(
    name: Annotated[str, typer.Argument(help="<namespace>/<name>")],
    context: Context = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one deployment with its conditions."""
    from paddock_cli.kubernetes import read_object

    namespace, _, own_name = name.rpartition("/")
    found = read_object(namespace=namespace or "default", name=own_name, context=context)
    show(found, output=output, table=_one)


def _table(objects: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["metadata"]["namespace"],
            item["metadata"]["name"],
            item["spec"]["model"]["id"],
            item.get("status", {}).get("phase", "Pending"),
            f"{item.get('status', {}).get('readyReplicas', 0)}/{item['spec'].get('replicas', 1)}",
            item.get("status", {}).get("url", ""),
        )
        for item in objects
    ]
    print_rows(rows, "NAMESPACE", "NAME", "MODEL", "PHASE", "READY", "URL")


def _one(item: dict[str, Any]) -> None:
    status = item.get("status", {})
    print_fields(
        {
            "name": f"{item['metadata']['namespace']}/{item['metadata']['name']}",
            "model": item["spec"]["model"]["id"],
            "phase": status.get("phase", "Pending"),
            "served as": status.get("servedModelName"),
            "url": status.get("url"),
        }
    )
    rows = [
        (entry["type"], entry["status"], entry["reason"], entry["message"]) for entry in status.get("conditions", [])
    ]
    print_rows(rows, "CONDITION", "STATUS", "REASON", "MESSAGE")
