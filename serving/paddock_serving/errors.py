"""What can go wrong inside a serving pod. Every message says what to do next."""

from typing import ClassVar


class ServingError(Exception):
    """Root of this package's errors."""

    lasting: ClassVar[bool] = False
    """True for what the next try, at once, would only find again."""


class EnvironmentNotReadyError(ServingError):
    """Something that Triton needs is not on this machine or in this image."""


class InvalidRequestError(ServingError):
    """A request whose tensors make no sense; the client's fault."""


class EngineError(ServingError):
    """The engine could not start, or failed while it generated."""


class EngineBuildError(ServingError):
    """A compiled engine could not be made."""


class EngineIncompatibleError(ServingError):
    """A compiled engine is of another TensorRT, or for other GPUs, than there are here."""

    lasting = True


class WeightsError(ServingError):
    """A file of the model could not be fetched, or is not the file that the catalogue names."""


class WeightsChecksumMismatchError(WeightsError):
    """What the source gives is not the file that was named, also when it was fetched a second time."""

    lasting = True


class WeightsVolumeFullError(WeightsError):
    """The weights volume has no room for the files; the message says how many bytes are needed."""

    lasting = True


class WeightsSourceBusyError(WeightsError):
    """The source asks to be left alone for longer than a Job should wait."""

    lasting = True

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
        """How long it asks for."""


class WeightsMismatchError(ServingError):
    """The files are a model of other dimensions than the one that they were registered or catalogued as."""

    lasting = True


class TokenizerError(ServingError):
    """The model's files hold no tokenizer that can be published."""


class DownloadDeniedError(ServingError):
    """The control plane does not allow this model's weights to be fetched now."""


class ControlPlaneUnreachableError(ServingError):
    """The control plane did not answer, so nothing may be fetched."""
