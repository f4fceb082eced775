"""Answers of a given form: logits that leave only the tokens with which a JSON schema can still be met.

The grammar is xgrammar's, as on an SGLang server, and is compiled the same way, so both write the same: without spaces of
choice, with which a small LLM would fill the whole answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from transformers import LogitsProcessor

from rsagent.errors import EngineError, MissingExtra

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class SchemaLogits(LogitsProcessor):
    """For one call of `generate`: each row's schema, or None where a row is free."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocabulary: int, schemas: Sequence[str | None]) -> None:
        """Compile the schemas, which `check_schema` has seen."""
        self._grammar = _xgrammar()
        compiler = _compiler(tokenizer, vocabulary)
        self._matchers: list[Any] = [
            None if schema is None else self._grammar.GrammarMatcher(compiler.compile_json_schema(schema, any_whitespace=False))
            for schema in schemas
        ]
        self._mask: Any = self._grammar.allocate_token_bitmask(1, vocabulary)
        self._begun = False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Take in each row's newest token and mask what may not follow."""
        for row, matcher in enumerate(self._matchers):
            if matcher is None or matcher.is_terminated():
                continue
            if self._begun and not matcher.accept_token(int(input_ids[row, -1])):
                self._matchers[row] = None  # a row that has stopped is padded
                continue
            if not matcher.is_terminated():
                matcher.fill_next_token_bitmask(self._mask, 0)
                only: Tensor = scores[row : row + 1].float().cpu()
                self._grammar.apply_token_bitmask_inplace(only, self._mask)
                scores[row] = only[0].to(scores)
        self._begun = True
        return scores


def check_schema(schema: str) -> None:
    """That a schema can be used; asked alone, so that a wrong one does not spoil a batch.

    Raises:
        MissingExtra: xgrammar is not installed.
        EngineError: it is no JSON schema, or says more than a grammar can.
    """
    grammar = _xgrammar()
    try:
        grammar.Grammar.from_json_schema(schema)
    except Exception as error:  # its parser raises bare RuntimeErrors, and others for other mistakes
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"the JSON schema of an expert cannot be used: {reason}") from error


def _xgrammar() -> Any:
    try:
        import xgrammar  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra("xgrammar", "structured", "a JSON schema") from error
    return xgrammar


@lru_cache(maxsize=4)
def _compiler(tokenizer: PreTrainedTokenizerFast, vocabulary: int) -> Any:
    """The compiler for a tokenizer, which remembers what it has compiled."""
    grammar = _xgrammar()
    info: Any = grammar.TokenizerInfo.from_huggingface(
        tokenizer, vocab_size=vocabulary, stop_token_ids=[cast(int, tokenizer.eos_token_id)]
    )
    return grammar.GrammarCompiler(info)
