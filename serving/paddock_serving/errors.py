"""What can go wrong inside a serving pod. Every message says what to do next."""


class ServingError(Exception):
    """Root of this package's errors."""


class EnvironmentNotReadyError(ServingError):
    """Something that Triton needs is not on this machine or in this image."""


class InvalidRequestError(ServingError):
    """A request whose tensors make no sense; the client's fault."""


class EngineError(ServingError):
    """The engine could not start, or failed while it generated."""


class WeightsError(ServingError):
    """A file of the model could not be fetched, or is not the file that the catalogue names."""


class WeightsMismatchError(ServingError):
    """The files are a model of other dimensions than the one that they were registered or catalogued as."""


class TokenizerError(ServingError):
    """The model's files hold no tokenizer that can be published."""


class DownloadDeniedError(ServingError):
    """The control plane does not allow this model's weights to be fetched now."""


class ControlPlaneUnreachableError(ServingError):
    """The control plane did not answer, so nothing may be fetched."""
