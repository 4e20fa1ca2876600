"""The edge to kopf: it serves the webhooks and ends the process in order. Nothing is decided here."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kopf
import kubernetes.config
from kubernetes.client import Configuration
from paddock_core.resources import llamamodel
from paddock_core.resources.llamadeployment import GROUP, PLURAL, VERSION

from paddock_operator.admission import Review
from paddock_operator.certificates import ServedCertificate
from paddock_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

WEBHOOKS: dict[str, tuple[str, str | None]] = {
    PLURAL: (PLURAL, None),
    f"{PLURAL}-scale": (PLURAL, "scale"),
    llamamodel.PLURAL: (llamamodel.PLURAL, None),
}
"""What is reviewed before it is stored: the end of the webhook's path, to a kind's plural and a subresource of it."""
NEVER_SECONDS = 1e7
"""kopf would close the webhook's port for a moment to take a new certificate; certificates.py keeps it open."""
WEBHOOK_PATH = "/admit"
"""The webhook's URL ends with `<WEBHOOK_PATH>/<one of WEBHOOKS>`."""

Judge = Callable[[dict[str, Any], dict[str, Any] | None], Review]
"""Judges a new object and the one that it replaces."""


async def follow(*, settings: OperatorSettings, judge: Judge) -> None:
    """Run kopf until SIGTERM or SIGINT, or until it fails."""
    served = ServedCertificate(certificate=settings.webhook_cert_file, key=settings.webhook_key_file)
    following = asyncio.create_task(served.follow())
    try:
        await kopf.operator(
            registry=registry(kubeconfig=settings.kubeconfig, judge=judge),
            settings=kopf_settings(settings, served.context),
            clusterwide=True,
            standalone=True,
        )
    finally:
        following.cancel()


def registry(*, kubeconfig: Path | None, judge: Judge) -> kopf.OperatorRegistry:
    """All our handlers. kopf watches nothing: what is followed is listed anew after a gap, which it is not there."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def log_in(**_: object) -> kopf.ConnectionInfo:
        return login(kubeconfig)

    async def admit(body: kopf.Body, warnings: list[str], **more: Any) -> None:
        old = more.get("old")
        answer = judge(dict(body), None if old is None else dict(old))
        if answer.refusal is not None:
            log.info("refused", extra={"refusal": answer.refusal})
            raise kopf.AdmissionError(answer.refusal, code=403)
        warnings.extend(answer.warnings)

    for path, (plural, subresource) in WEBHOOKS.items():
        kopf.on.validate(GROUP, VERSION, plural, id=path, subresource=subresource, registry=handlers)(admit)
    return handlers


def kopf_settings(settings: OperatorSettings, webhook: ssl.SSLContext) -> kopf.OperatorSettings:
    """kopf reduced to a server of webhooks, which asks the API server once for the kinds that there are."""
    own = kopf.OperatorSettings()
    own.scanning.disabled = True
    own.networking.request_timeout = 30
    own.networking.connect_timeout = 5
    own.networking.enforce_retry_after = True
    own.process.ultimate_exiting_timeout = 10
    own.admission.server = kopf.WebhookServer(
        addr=settings.webhook_host,
        port=settings.webhook_port,
        path=WEBHOOK_PATH,
        certfile=settings.webhook_cert_file,
        pkeyfile=settings.webhook_key_file,
        context=webhook,
        file_check_interval=NEVER_SECONDS,
    )
    return own


def login(kubeconfig: Path | None) -> kopf.ConnectionInfo:
    """Log in with the official client, which knows every auth plugin. Raises kopf.LoginError."""
    configuration = Configuration()
    try:
        if kubeconfig is None:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        else:
            kubernetes.config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    except kubernetes.config.ConfigException as error:
        raise kopf.LoginError(f"cannot log in to Kubernetes: {error}") from error
    header = configuration.get_api_key_with_prefix("BearerToken")
    header = header or configuration.get_api_key_with_prefix("authorization")
    scheme, _, token = (header or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
