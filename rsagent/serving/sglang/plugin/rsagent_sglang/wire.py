"""How the visual prefix of a prompt (the expert's soft prompt, then F_VLM) travels: a data URL with the numbers in base64.

    data:application/x-rsagent-embeds;dtype=float16;shape=44x256;checkpoint=DIGEST;base64,...

Rows are tokens, columns the LLM's width; the numbers are little-endian, row by row. The digest of the checkpoint whose router
made them may be left out; if it is there, a server of another checkpoint refuses. Both ends use this module.
"""

from __future__ import annotations

import base64
import binascii
import re

BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
"""The number types that may travel, and the bytes of a number."""

_HEAD = re.compile(
    r"data:application/x-rsagent-embeds;dtype=([a-z0-9]{1,16});shape=([0-9]{1,9})x([0-9]{1,9});"
    r"(?:checkpoint=([0-9a-f]{1,64});)?base64,"
)
_LONGEST_HEAD = 200


def pack(numbers: bytes, dtype: str, rows: int, width: int, checkpoint: str = "") -> str:
    """The data URL of `rows` x `width` numbers that were made with the checkpoint of this digest.

    Raises:
        ValueError: the type cannot travel, or there are not that many numbers.
    """
    if len(numbers) != rows * width * BYTES.get(dtype, 0):
        raise ValueError(f"{len(numbers)} bytes are not {rows} x {width} numbers of the type {dtype}")
    text = base64.b64encode(numbers).decode("ascii")
    made_with = f"checkpoint={checkpoint};" if checkpoint else ""
    return f"data:application/x-rsagent-embeds;dtype={dtype};shape={rows}x{width};{made_with}base64,{text}"


def unpack(url: object, width: int, most_rows: int, checkpoint: str = "") -> tuple[bytes, str, int]:
    """The bytes, the number type and the rows of a data URL; everything about it is checked, its size before it is decoded.

    Args:
        url: what came as a request's image.
        width: of the LLM.
        most_rows: that the LLM can read.
        checkpoint: the digest of the one that is served; "" if it is not known.

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    head = _HEAD.match(url[:_LONGEST_HEAD]) if isinstance(url, str) else None
    if head is None or not isinstance(url, str):
        raise ValueError(
            "the image of a request must be embeddings: "
            "data:application/x-rsagent-embeds;dtype=float16;shape=ROWSxWIDTH;base64,..."
        )
    dtype, rows, columns, made_with = head[1], int(head[2]), int(head[3]), head[4]
    if dtype not in BYTES:
        raise ValueError(f"embeddings of dtype {dtype} are not understood: send {', '.join(BYTES)}")
    if columns != width:
        raise ValueError(f"the embeddings are {columns} wide, the LLM is {width} wide: they are of another checkpoint")
    if made_with and checkpoint and made_with != checkpoint:
        raise ValueError(f"the embeddings are of another checkpoint ({made_with[:12]}) than the one served ({checkpoint[:12]})")
    if not 1 <= rows <= most_rows:
        raise ValueError(f"the embeddings have {rows} rows: send 1 to {most_rows}")
    size = rows * columns * BYTES[dtype]
    if len(url) - head.end() != 4 * -(-size // 3):
        raise ValueError(f"shape={rows}x{columns} of {dtype} is {size} bytes, but the base64 text has another length")
    try:
        numbers = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the embeddings are no base64: {error}") from error
    if len(numbers) != size:
        raise ValueError(f"the embeddings have {len(numbers)} bytes, shape={rows}x{columns} of {dtype} needs {size}")
    return numbers, dtype, rows
