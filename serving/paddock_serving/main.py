"""`paddock-serving`: the entry point of the serving image."""

import argparse
import logging
import sys
from pathlib import Path

from paddock_core.serving.contract import NOT_AT_ONCE
from pydantic import ValidationError

from paddock_serving.errors import ServingError
from paddock_serving.logs import configure_logging

log = logging.getLogger("paddock_serving")


def main() -> None:
    """Run one of the commands; exit 1 with one clear line if it cannot, NOT_AT_ONCE if trying again soon is no use."""
    parser = argparse.ArgumentParser(prog="paddock-serving", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run Triton on the pod's address with the rendered model repository")
    commands.add_parser("serve-worker", help="let the leader of a group start its ranks here")
    commands.add_parser("build-engine", help="compile a model for this machine's GPUs and verify it by loading")
    commands.add_parser("prepare-weights", help="fetch and verify a model's files, publish its tokenizer")
    commands.add_parser("purge-weights", help="remove every copy of a model's files, tell their digests")
    check = commands.add_parser("gpu-check", help="try the TensorRT-LLM engine, where there is a GPU")
    check.add_argument("folder", type=Path, nargs="?", default=Path("/models/checkpoint"), help="a checkpoint")
    arguments = parser.parse_args()
    configure_logging()
    try:
        if arguments.command == "gpu-check":
            _check_gpu(arguments.folder)
        else:
            _COMMANDS[arguments.command]()
    except ServingError as error:
        log.error("%s failed", arguments.command, extra={"reason": type(error).__name__, "message_": str(error)})  # noqa: TRY400
        print(f"paddock-serving {arguments.command}: {error}", file=sys.stderr)
        sys.exit(NOT_AT_ONCE if error.lasting else 1)
    except ValidationError as error:
        missing = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        sys.exit(f"paddock-serving {arguments.command}: settings (environment PADDOCK_SERVING_*): {missing}")


def _check_gpu(folder: Path) -> None:
    from paddock_serving.gpu_check import check

    sys.exit(check(folder))


def _serve() -> None:
    from paddock_serving.serve import serve

    serve()


def _serve_worker() -> None:
    from paddock_serving.group.worker import serve_worker
    from paddock_serving.settings import WorkerSettings

    serve_worker(settings=WorkerSettings())  # type: ignore[call-arg]


def _prepare() -> None:
    from paddock_serving.settings import PrepareSettings
    from paddock_serving.weights.prepare import prepare

    prepare(settings=PrepareSettings())  # type: ignore[call-arg]


def _purge() -> None:
    from paddock_serving.settings import PurgeSettings
    from paddock_serving.weights.purge import purge

    purge(settings=PurgeSettings())  # type: ignore[call-arg]


def _build() -> None:
    from paddock_serving.compiled.build import build_engine
    from paddock_serving.settings import BuildSettings

    build_engine(settings=BuildSettings())  # type: ignore[call-arg]


_COMMANDS = {
    "serve": _serve,
    "serve-worker": _serve_worker,
    "build-engine": _build,
    "prepare-weights": _prepare,
    "purge-weights": _purge,
}


if __name__ == "__main__":
    main()
