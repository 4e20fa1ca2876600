"""The calls of CRI that the kubelet makes. A call that is not a method here is answered with "unimplemented"."""

import asyncio
import logging
import re
import secrets
from pathlib import Path
from typing import Any

import grpc

from paddock_local.cri import containers, images, proto
from paddock_local.cri.addresses import Addresses
from paddock_local.cri.containers import Containers, now, usage
from paddock_local.cri.images import Image
from paddock_local.cri.store import Container, Sandbox, Store

log = logging.getLogger("paddock_local.cri")
RUNTIME_NAME = "paddock-processes"
RUNTIME_VERSION = "1.0.0"
API_VERSION = "v1"


class CriError(Exception):
    """A refusal with its gRPC status code; the message reaches the pod's events."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def snake(name: str) -> str:
    """`RunPodSandbox` -> `run_pod_sandbox`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def ending(container: Container) -> str:
    """Why a container is no longer running, in Kubernetes' words."""
    if not container.finished_at:
        return ""
    if container.problem:
        return "StartError"
    return "Completed" if container.exit_code == 0 else "Error"


def has_labels(labels: Any, wanted: Any) -> bool:
    """Whether `labels` has every label of the selector `wanted`."""
    return all(labels.get(key) == value for key, value in wanted.items())


class Calls:
    """One method a call. `m` is the module of CRI's messages."""

    def __init__(self, *, m: Any, store: Store, keeper: Containers, known: dict[str, Image], subnet: str) -> None:
        self._m = m
        self._store = store
        self._containers = keeper
        self._images = known
        taken = {sandbox.address for sandbox in store.sandboxes.values()}
        self._addresses = Addresses(subnet, taken=taken, last=store.last_address)

    # The runtime itself

    async def version(self, request: Any) -> Any:
        return self._m.VersionResponse(
            version=request.version,
            runtime_name=RUNTIME_NAME,
            runtime_version=RUNTIME_VERSION,
            runtime_api_version=API_VERSION,
        )

    async def status(self, _: Any) -> Any:
        conditions = [self._m.RuntimeCondition(type=kind, status=True) for kind in ("RuntimeReady", "NetworkReady")]
        return self._m.StatusResponse(
            status=self._m.RuntimeStatus(conditions=conditions), runtime_handlers=[self._m.RuntimeHandler(name="")]
        )

    async def runtime_config(self, _: Any) -> Any:
        return self._m.RuntimeConfigResponse(linux=self._m.LinuxRuntimeConfiguration(cgroup_driver=self._m.CGROUPFS))

    async def update_runtime_config(self, _: Any) -> Any:
        return self._m.UpdateRuntimeConfigResponse()

    # Pods

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        sandbox = self._store.sandboxes.get(sandbox_id)
        if sandbox is None:
            raise CriError(grpc.StatusCode.NOT_FOUND, f"no pod sandbox {sandbox_id}")
        return sandbox

    def _state(self, sandbox: Sandbox) -> Any:
        return self._m.SANDBOX_READY if sandbox.ready else self._m.SANDBOX_NOTREADY

    async def run_pod_sandbox(self, request: Any) -> Any:
        config = request.config
        sandbox = Sandbox(
            id=secrets.token_hex(16), config=config, address=self._addresses.take(), created_at=now(), ready=True
        )
        self._store.save_sandbox(sandbox, last_address=self._addresses.last)
        return self._m.RunPodSandboxResponse(pod_sandbox_id=sandbox.id)

    async def stop_pod_sandbox(self, request: Any) -> Any:
        sandbox = self._store.sandboxes.get(request.pod_sandbox_id)
        if sandbox:
            stops = (self._containers.stop(found, 0) for found in self._store.containers_of(sandbox.id))
            await asyncio.gather(*stops)
            sandbox.ready = False
            self._store.save_sandbox(sandbox)
        return self._m.StopPodSandboxResponse()

    async def remove_pod_sandbox(self, request: Any) -> Any:
        for container in self._store.containers_of(request.pod_sandbox_id):
            await self._containers.remove(container)
        gone = self._store.forget_sandbox(request.pod_sandbox_id)
        if gone:
            self._addresses.give_back(gone.address)
        return self._m.RemovePodSandboxResponse()

    async def pod_sandbox_status(self, request: Any) -> Any:
        sandbox = self._sandbox(request.pod_sandbox_id)
        status = self._m.PodSandboxStatus(
            id=sandbox.id, metadata=sandbox.config.metadata, state=self._state(sandbox), created_at=sandbox.created_at,
            labels=sandbox.config.labels, annotations=sandbox.config.annotations,
            network=self._m.PodSandboxNetworkStatus(ip=sandbox.address),
        )  # fmt: skip
        status.linux.namespaces.options.CopyFrom(sandbox.config.linux.security_context.namespace_options)
        return self._m.PodSandboxStatusResponse(status=status)

    async def list_pod_sandbox(self, request: Any) -> Any:
        wanted = request.filter
        items = [
            self._m.PodSandbox(
                id=sandbox.id, metadata=sandbox.config.metadata, state=self._state(sandbox),
                created_at=sandbox.created_at,
                labels=sandbox.config.labels, annotations=sandbox.config.annotations,
            )
            for sandbox in self._store.sandboxes.values()
            if (not wanted.id or sandbox.id == wanted.id)
            and (not wanted.HasField("state") or self._state(sandbox) == wanted.state.state)
            and has_labels(sandbox.config.labels, wanted.label_selector)
        ]  # fmt: skip
        return self._m.ListPodSandboxResponse(items=items)

    # Containers

    def _container(self, container_id: str) -> Container:
        container = self._store.containers.get(container_id)
        if container is None:
            raise CriError(grpc.StatusCode.NOT_FOUND, f"no container {container_id}")
        return container

    def _image(self, reference: str) -> Image | None:
        by_id = {image.id: image for image in self._images.values()}
        return by_id.get(reference) or self._images.get(images.repository(reference))

    def _image_or_refuse(self, reference: str) -> Image:
        image = self._image(reference)
        if image is None:
            raise CriError(grpc.StatusCode.NOT_FOUND, images.missing(reference, self._images))
        return image

    def _container_state(self, container: Container) -> Any:
        if container.finished_at:
            return self._m.CONTAINER_EXITED
        return self._m.CONTAINER_RUNNING if container.started_at else self._m.CONTAINER_CREATED

    async def create_container(self, request: Any) -> Any:
        sandbox = self._sandbox(request.pod_sandbox_id)
        image = self._image_or_refuse(request.config.image.image)
        absent = containers.absent_sources(request.config)
        if absent:
            message = f"volume source {', '.join(absent)} does not exist"
            raise CriError(grpc.StatusCode.FAILED_PRECONDITION, message)
        container_id = secrets.token_hex(16)
        container = Container(
            id=container_id, sandbox_id=sandbox.id, config=request.config, image_id=image.id, created_at=now(),
            folder=self._store.container_folder(container_id),
        )  # fmt: skip
        self._store.save_container(container)
        return self._m.CreateContainerResponse(container_id=container_id)

    async def start_container(self, request: Any) -> Any:
        container = self._container(request.container_id)
        image = self._image_or_refuse(container.config.image.image)
        log_folder = self._sandbox(container.sandbox_id).config.log_directory
        try:
            await self._containers.start(container, self._containers.shim_spec(container, image, log_folder))
        except (OSError, ValueError) as problem:
            raise CriError(grpc.StatusCode.INTERNAL, f"cannot start the container: {problem}") from problem
        return self._m.StartContainerResponse()

    async def stop_container(self, request: Any) -> Any:
        container = self._store.containers.get(request.container_id)
        if container:
            await self._containers.stop(container, float(request.timeout))
        return self._m.StopContainerResponse()

    async def remove_container(self, request: Any) -> Any:
        container = self._store.containers.get(request.container_id)
        if container:
            await self._containers.remove(container)
        return self._m.RemoveContainerResponse()

    async def list_containers(self, request: Any) -> Any:
        wanted = request.filter
        found = [
            self._m.Container(
                id=container.id, pod_sandbox_id=container.sandbox_id, metadata=container.config.metadata,
                image=container.config.image, image_ref=container.image_id, image_id=container.image_id,
                state=self._container_state(container), created_at=container.created_at,
                labels=container.config.labels, annotations=container.config.annotations,
            )
            for container in self._store.containers.values()
            if (not wanted.id or container.id == wanted.id)
            and (not wanted.pod_sandbox_id or container.sandbox_id == wanted.pod_sandbox_id)
            and (not wanted.HasField("state") or self._container_state(container) == wanted.state.state)
            and has_labels(container.config.labels, wanted.label_selector)
        ]  # fmt: skip
        return self._m.ListContainersResponse(containers=found)

    async def container_status(self, request: Any) -> Any:
        container = self._container(request.container_id)
        config = container.config
        sandbox = self._store.sandboxes.get(container.sandbox_id)
        folder = sandbox.config.log_directory if sandbox else ""
        status = self._m.ContainerStatus(
            id=container.id, metadata=config.metadata, state=self._container_state(container),
            created_at=container.created_at, started_at=container.started_at, finished_at=container.finished_at,
            exit_code=container.exit_code, reason=ending(container), message=container.problem,
            image=config.image, image_ref=container.image_id,
            image_id=container.image_id, labels=config.labels, annotations=config.annotations, mounts=config.mounts,
            log_path=str(Path(folder, config.log_path)),
        )  # fmt: skip
        return self._m.ContainerStatusResponse(status=status)

    async def update_container_resources(self, _: Any) -> Any:
        # Nothing to do: without control groups a process has no limits to change.
        return self._m.UpdateContainerResourcesResponse()

    async def reopen_container_log(self, request: Any) -> Any:
        self._containers.reopen_log(self._container(request.container_id))
        return self._m.ReopenContainerLogResponse()

    async def exec_sync(self, request: Any) -> Any:
        container = self._container(request.container_id)
        if not container.running:
            raise CriError(grpc.StatusCode.FAILED_PRECONDITION, "the container is not running")
        image = self._image_or_refuse(container.config.image.image)
        try:
            code, output, errors = await self._containers.execute(
                container, image, list(request.cmd), float(request.timeout)
            )
        except TimeoutError:
            message = f"command {request.cmd[0]!r} did not end within {request.timeout} s"
            raise CriError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        return self._m.ExecSyncResponse(exit_code=code, stdout=output, stderr=errors)

    # Figures

    def _stats(self, container: Container) -> Any:
        cpu, memory = usage(container) if container.running else (0, 0)
        value, taken = self._m.UInt64Value, now()
        attributes = self._m.ContainerAttributes(
            id=container.id, metadata=container.config.metadata, labels=container.config.labels
        )
        return self._m.ContainerStats(
            attributes=attributes,
            cpu=self._m.CpuUsage(timestamp=taken, usage_core_nano_seconds=value(value=cpu)),
            memory=self._m.MemoryUsage(
                timestamp=taken, working_set_bytes=value(value=memory), rss_bytes=value(value=memory)
            ),
        )

    async def container_stats(self, request: Any) -> Any:
        return self._m.ContainerStatsResponse(stats=self._stats(self._container(request.container_id)))

    async def list_container_stats(self, request: Any) -> Any:
        wanted = request.filter
        found = [
            self._stats(container)
            for container in self._store.containers.values()
            if (not wanted.id or container.id == wanted.id)
            and (not wanted.pod_sandbox_id or container.sandbox_id == wanted.pod_sandbox_id)
            and has_labels(container.config.labels, wanted.label_selector)
        ]
        return self._m.ListContainerStatsResponse(stats=found)

    # Images

    def _image_message(self, image: Image, tag: str = "latest") -> Any:
        return self._m.Image(
            id=image.id, repo_tags=[f"{image.name}:{tag}"], size=image.size, pinned=True,
            uid=self._m.Int64Value(value=images.IMAGE_USER),
        )  # fmt: skip

    async def list_images(self, request: Any) -> Any:
        asked = request.filter.image.image
        one = self._image(asked) if asked else None
        found = ([one] if one else []) if asked else list(self._images.values())
        return self._m.ListImagesResponse(images=[self._image_message(image) for image in found])

    async def image_status(self, request: Any) -> Any:
        image = self._image(request.image.image)
        return self._m.ImageStatusResponse(image=self._image_message(image) if image else None)

    async def pull_image(self, request: Any) -> Any:
        return self._m.PullImageResponse(image_ref=self._image_or_refuse(request.image.image).id)

    async def remove_image(self, _: Any) -> Any:
        # An image is a line in a file of the checkout: the kubelet's tidying must not take it away.
        return self._m.RemoveImageResponse()

    async def image_fs_info(self, _: Any) -> Any:
        where = self._m.FilesystemIdentifier(mountpoint="/")
        zero = self._m.UInt64Value(value=0)
        usage_message = self._m.FilesystemUsage(timestamp=now(), fs_id=where, used_bytes=zero, inodes_used=zero)
        return self._m.ImageFsInfoResponse(image_filesystems=[usage_message], container_filesystems=[usage_message])


def handlers(calls: Calls, messages: Any, service: str) -> Any:
    """What grpc needs to serve `service` from the methods of `calls`."""
    found = {}
    for name, request, response in proto.methods(messages, service):
        implementation = getattr(calls, snake(name), None)
        found[name] = grpc.unary_unary_rpc_method_handler(
            _guarded(name, implementation),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(f"runtime.{API_VERSION}.{service}", found)


def _guarded(name: str, implementation: Any) -> Any:
    async def call(request: Any, context: Any) -> Any:
        if implementation is None:
            message = f"{name} is not offered by the local node: use `kubectl logs`, or a real cluster"
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)
        try:
            return await implementation(request)
        except CriError as problem:
            await context.abort(problem.code, str(problem))
        except Exception as problem:
            log.exception("call failed", extra={"call": name})
            await context.abort(grpc.StatusCode.INTERNAL, f"{name}: {problem}")

    return call
