"""The part of OpenAI's chat completions that is understood here: what a request may hold, what an error looks like.

Fields that are not named here are ignored. `temperature`, `top_p`, `seed` and `user` are checked and have no effect: the
experts decode greedily. `tools` are never called, so a request that requires one is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsagent.errors import RSAgentError

MAX_TOKENS = 1024
_STRICT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class RequestError(RSAgentError):
    """A request is refused: HTTP status, one line, the field it is about, a code for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int = 0
    ) -> None:
        """Say what is wrong with which field; `retry_after_s` above 0 asks the client to come back."""
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after_s = status, param, code, retry_after_s

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class TextPart(BaseModel):
    """Words of a message."""

    model_config = _STRICT
    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """Where a picture is: a `data:` URI, or what the server allows beside it."""

    model_config = _STRICT
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(BaseModel):
    """A picture of a message."""

    model_config = _STRICT
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """A turn. Those of the user count, and the descriptions that were given before; of the others nothing is read."""

    model_config = _STRICT
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class JsonSchema(BaseModel):
    """The form of a structured answer."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)
    name: str = Field(min_length=1, max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """`text`, `json_object` (the typed result as it is) or `json_schema`."""

    model_config = _STRICT
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(BaseModel):
    """What a stream ends with."""

    model_config = _STRICT
    include_usage: bool = False


class ChatRequest(BaseModel):
    """A body of POST /v1/chat/completions."""

    model_config = _STRICT
    model: str = Field(min_length=1, max_length=200)
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: Literal[1] | None = Field(None, description="only one answer is given: decoding is greedy")
    max_tokens: int | None = Field(None, ge=1, le=2**31, description="of each expert; more than 1,024 counts as 1,024")
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    seed: int | None = None
    user: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    def most_tokens(self) -> int | None:
        """Tokens that an expert may write; None when the client says nothing."""
        given = self.max_completion_tokens or self.max_tokens
        return None if given is None else min(given, MAX_TOKENS)


def parse_request(body: bytes) -> ChatRequest:
    """The request in `body`.

    Raises:
        RequestError: 400, naming the first field that is wrong.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        # `content` may be a text or a list: of the two complaints, the one that goes further into what was sent is meant
        same = [fault for fault in faults if fault["loc"][:3] == faults[0]["loc"][:3]]
        first = max(same, key=lambda fault: len(fault["loc"]))
        param = field_name(first["loc"]) or "body"
        raise RequestError(400, f"{param}: {_one_line(first['msg'])}", param=param, code="invalid_value") from error
    if request.tools and (isinstance(request.tool_choice, dict) or request.tool_choice == "required"):
        message = "tool_choice: tools are not called here; ask for JSON with response_format"
        raise RequestError(400, message, param="tool_choice", code="unsupported_value")
    form = request.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        message = "response_format.json_schema: it is missing"
        raise RequestError(400, message, param="response_format.json_schema", code="invalid_value")
    return request


def field_name(place: tuple[int | str, ...]) -> str:
    """`messages.0.content` of where pydantic found a fault: without the names of the union's members."""
    members = {"str", "text", "image_url", "TextPart", "ImagePart"}
    kept: list[str] = []
    for index, step in enumerate(place):
        is_member = isinstance(step, str) and (
            step.startswith(("list[", "dict[", "function-"))
            or (step in members and index > 0 and (place[index - 1] == "content" or isinstance(place[index - 1], int)))
        )
        if not is_member:
            kept.append(str(step)[:60])
    return "".join(mark if mark.isprintable() else "?" for mark in ".".join(kept))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
