"""LlamaModels as the operator follows them: every object is looked at when it, or the policy, changes."""

import asyncio
import logging

from paddock_operator.errors import NotLeadingError, OperatorError
from paddock_operator.kinds import LLAMA_MODEL
from paddock_operator.leader import LeaderElector
from paddock_operator.models.reconcile import ModelReconciler
from paddock_operator.ports import Clock, Cluster, Key, Manifest
from paddock_operator.queue import WorkQueue
from paddock_operator.reflector import Reflector

log = logging.getLogger(__name__)

NOT_LEADING_SECONDS = 1.0


class ModelLoop:
    """Level-triggered, with one worker: rounds are short, and there are few models."""

    def __init__(self, *, cluster: Cluster, clock: Clock, queue: WorkQueue) -> None:
        self.reflector = Reflector(
            cluster=cluster, kind=LLAMA_MODEL, clock=clock, changed=self._heard, selector="", reduce=_name_alone
        )
        self._queue = queue

    def policy_changed(self) -> None:
        """Licenses, tenants and models bear on every registration."""
        for manifest in self.reflector.all():
            self._heard(manifest)

    async def work(self, reconciler: ModelReconciler, leader: LeaderElector) -> None:
        """Never returns. What is heard while another instance leads waits here until this one does."""
        while True:
            await leader.leading.wait()
            key = await self._queue.take()
            try:
                look_after = await reconciler.reconcile(key.name)
            except NotLeadingError:
                self._queue.done(key, look_after_seconds=NOT_LEADING_SECONDS)
            except OperatorError as error:
                delay = self._queue.failed(key)
                text = {"model": key.name, "error": str(error), "retry_seconds": round(delay, 1)}
                log.warning("round of a model failed", extra=text)
            except asyncio.CancelledError:
                self._queue.done(key)
                raise
            except Exception:
                # A poison object must not stop the others: it is tried ever more rarely.
                delay = self._queue.failed(key)
                log.exception("round of a model failed unexpectedly", extra={"model": key.name})
            else:
                self._queue.done(key, look_after_seconds=look_after)

    def _heard(self, manifest: Manifest) -> None:
        self._queue.add(Key("", str(manifest["metadata"]["name"])))


def _name_alone(manifest: Manifest) -> Manifest:
    """Every round reads the object freshly, so its revision stands for all of it."""
    metadata = manifest["metadata"]
    kept = {name: metadata[name] for name in ("name", "resourceVersion", "deletionTimestamp") if name in metadata}
    return {"metadata": kept, "revision": metadata["resourceVersion"]}
