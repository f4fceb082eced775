"""The typed result in the form that a client's JSON schema asks for (`response_format`).

Fields named like those of Caption or Answer get what these hold; `answer`, `caption` and `description` get the text. A
schema with one further required field gets the answer in it, as a number, a truth value or a member of an enum where it
says so: `{"count": integer}` for "How many planes are there?".
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from rsagent.schemas import Answer, Caption
from rsagent.serving.protocol import RequestError, ResponseFormat

_PARAM = "response_format.json_schema.schema"
_NUMBERS = {
    word: number for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
} | {"no": 0, "none": 0, "a": 1, "an": 1}
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}
_SCALARS = ("string", "integer", "number", "boolean")


class Refusal(Exception):
    """The result does not fit the schema; the message says why, for the reply's `refusal`."""


def check_format(form: ResponseFormat | None, task: str) -> None:
    """Refuse a schema that no result can fill, before anything is computed.

    Raises:
        RequestError: 400, naming the schema.
    """
    if form is None or form.json_schema is None or form.type != "json_schema":
        return
    schema = form.json_schema.schema_
    known = {"text", *_names(task)}
    properties = schema.get("properties")
    if schema.get("type", "object") != "object" or not isinstance(properties, dict):
        raise _refused("it must describe an object with properties")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in cast("list[Any]", required)):
        raise _refused("`required` must be a list of names")
    unknown = [name for name in cast("list[str]", required) if name not in known]
    if len(unknown) > 1 or (unknown and known.intersection(properties) - {"text"} and task == "caption"):
        raise _refused(f"nothing is known for {', '.join(sorted(unknown))[:200]}; use {', '.join(sorted(known))}")
    if unknown and not _scalar(cast("dict[str, Any]", properties).get(unknown[0])):
        raise _refused(f"{unknown[0][:60]} must be a string, a number, a truth value or an enum")


def is_text(form: ResponseFormat | None) -> bool:
    """Whether the reply's content is the text itself."""
    return form is None or form.type == "text"


def shape(result: Caption | Answer, form: ResponseFormat | None) -> str:
    """What the reply's content is: the text, or JSON in the form that was asked for.

    Raises:
        Refusal: the answer is, for instance, no number where one is asked for.
    """
    if form is None or is_text(form):
        return result.text
    values = _values(result)
    if form.type == "json_object" or form.json_schema is None:
        return result.model_dump_json()
    schema = form.json_schema.schema_
    filled: dict[str, Any] = {}
    for name, kind in schema["properties"].items():
        if name in values:
            filled[name] = _fit(name, values[name], kind)
        elif name in schema.get("required", []):
            filled[name] = _coerce(name, result.text, kind)
    return json.dumps(filled, ensure_ascii=False)


def _names(task: str) -> set[str]:
    model = Answer if task == "answer" else Caption
    return {*model.model_fields, *(("answer",) if task == "answer" else ("caption", "description"))}


def _values(result: Caption | Answer) -> dict[str, Any]:
    values = result.model_dump(mode="json")
    named = ("answer",) if isinstance(result, Answer) else ("caption", "description")
    return {**dict.fromkeys(named, result.text), **values}


def _scalar(kind: Any) -> bool:
    return isinstance(kind, dict) and (
        cast("dict[str, Any]", kind).get("type") in _SCALARS or isinstance(cast("dict[str, Any]", kind).get("enum"), list)
    )


def _fit(name: str, value: Any, kind: Any) -> Any:
    """A known value, made to fit where the schema asks for another scalar than the text it is."""
    if isinstance(value, str) and _scalar(kind):
        return _coerce(name, value, kind)
    return value


def _coerce(name: str, text: str, kind: Any) -> Any:
    """A text as the scalar that `kind` asks for."""
    if isinstance(kind.get("enum"), list):
        for member in kind["enum"]:
            if isinstance(member, str) and member.casefold() == text.strip(" .!").casefold():
                return member
        raise Refusal(f"{name}: the answer {text!r} is none of the choices")
    plain = text.strip(" .!").casefold()
    if kind["type"] == "string":
        return text
    if kind["type"] == "boolean":
        if plain.split(" ")[0].strip(",") in _TRUTH:
            return _TRUTH[plain.split(" ")[0].strip(",")]
        raise Refusal(f"{name}: the answer {text!r} is neither yes nor no")
    if plain in _NUMBERS:
        return _NUMBERS[plain]
    found = re.search(r"-?\d[\d,]{0,20}(\.\d{1,12})?", plain)
    if found is None:
        raise Refusal(f"{name}: the answer {text!r} is no number")
    number = float(found[0].replace(",", ""))
    if kind["type"] == "integer":
        if number != int(number):
            raise Refusal(f"{name}: the answer {text!r} is no whole number")
        return int(number)
    return number


def _refused(message: str) -> RequestError:
    return RequestError(400, f"{_PARAM}: {message}", param=_PARAM, code="invalid_value")
