"""Names of telemetry attributes and instruments, in one place: OpenTelemetry's GenAI conventions, then our own.

The GenAI conventions are still in development: when one is renamed, this file is what changes.
"""

OPERATION_NAME = "gen_ai.operation.name"
REQUEST_MODEL = "gen_ai.request.model"
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
ERROR_TYPE = "error.type"

SERVER_REQUEST_DURATION = "gen_ai.server.request.duration"
SERVER_TIME_TO_FIRST_TOKEN = "gen_ai.server.time_to_first_token"  # noqa: S105
CLIENT_TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105

PADDOCK_REASON = "paddock.reason"
PADDOCK_DEPLOYMENT = "paddock.deployment"
PADDOCK_USAGE_ID = "paddock.usage_id"
PADDOCK_RECORDS = "paddock.records"
