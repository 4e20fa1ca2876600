"""`paddock-serving serve`: alone, or as the leader of a group."""

import os
from typing import Final

from paddock_core.serving.contract import MODEL_NAME
from paddock_core.serving.triton_config import VERSION_FOLDER

from paddock_serving.compiled.check import check_engine, stay_refused
from paddock_serving.engines.base import load_config
from paddock_serving.errors import EngineIncompatibleError, ServingError
from paddock_serving.settings import GroupSettings, ServeSettings
from paddock_serving.triton import become, prepare

GROUP_SIZE: Final = "LWS_GROUP_SIZE"
"""Set by LeaderWorkerSet in the pods of a group."""


def serve() -> None:
    """Prepare Triton, and become it; or, in the leader of a group, start every rank and stay beside them."""
    settings = ServeSettings()  # type: ignore[call-arg]
    try:
        check_engine(load_config(settings.models_dir / MODEL_NAME / VERSION_FOLDER / "model.yaml"))
        command = prepare(settings=settings)
        if int(os.environ.get(GROUP_SIZE) or 1) == 1:
            become(command)
        from paddock_serving.group.leader import lead

        lead(settings=GroupSettings(), argv=command.argv, environment=command.environment)  # type: ignore[call-arg]
    except ServingError as error:
        settings.termination_log.write_text(f"{type(error).__name__.removesuffix('Error')}: {error}", encoding="utf-8")
        if isinstance(error, EngineIncompatibleError):
            stay_refused(settings.scratch_dir)
        raise
