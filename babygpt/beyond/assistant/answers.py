"""Answers of a model: writing many at the same time, and the probability of each of their tokens."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt import kv_cache
from babygpt.beyond.assistant.instructions import MAX_ANSWER, Instruction, has_special_tokens, special_ids
from babygpt.model import LanguageModel
from babygpt.tokenizer import CharTokenizer

ROWS = 256  # answers that are written at the same time


def encode_prompt(tokenizer: CharTokenizer, prompt: str) -> list[int]:
    """What the model reads before it answers: <|user|>, the prompt, <|assistant|>.

    A model without special tokens gets the prompt and a newline: for it, this is how a document begins.
    """
    if not has_special_tokens(tokenizer):
        return tokenizer.encode(prompt + "\n")
    user, assistant, _ = special_ids(tokenizer)
    return [user, *tokenizer.encode(prompt), assistant]


def end_id(tokenizer: CharTokenizer) -> int:
    """The id of <|end|>; one that no token has, if there are no special tokens."""
    return special_ids(tokenizer)[2] if has_special_tokens(tokenizer) else -1


@torch.no_grad()
def write(
    model: LanguageModel, prompts: Tensor, end: int, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Answers to prompts that are equally long.

    Args:
        prompts: (B, P) int64.
        end: the id of <|end|>. An answer ends with it, or after MAX_ANSWER + 1 tokens.

    Returns:
        (B, A) int64: the tokens of the answers; `end` also fills up the shorter ones.
    """
    columns, done = [], torch.zeros(len(prompts), 1, dtype=torch.bool)
    for new in kv_cache.stream(model, prompts, MAX_ANSWER + 1, temperature, generator=generator):
        columns.append(new.masked_fill(done, end))
        done = done | (new == end)
        if done.all():
            break
    return torch.cat(columns, dim=1)


def real_tokens(answers: Tensor, end: int) -> Tensor:
    """Where answers, (B, A), have their own tokens, the first <|end|> included: (B, A) bool."""
    ends = (answers == end).long()
    return ends.cumsum(dim=1) - ends == 0


def log_probs(model: LanguageModel, prompts: Tensor, answers: Tensor) -> Tensor:
    """The logarithm of the probability of each token of answers: prompts (B, P), answers (B, A) -> (B, A)."""
    logits, _ = model(torch.cat((prompts, answers), dim=1)[:, :-1])
    return of_answers(logits, answers)


def of_answers(logits: Tensor, answers: Tensor) -> Tensor:
    """The log probabilities of answers, (B, A), from the logits of prompts and answers, (B, P + A - 1, V).

    The logits at the last token of the prompt predict the first token of the answer.
    """
    log_p = F.log_softmax(logits[:, -answers.shape[1] :], dim=-1)
    return log_p.gather(-1, answers[:, :, None])[:, :, 0]


def text_of(tokenizer: CharTokenizer, row: list[int]) -> str:
    """The text of an answer's tokens, up to <|end|>."""
    end = end_id(tokenizer)
    return tokenizer.decode(row[: row.index(end)] if end in row else row)


def answer_all(
    model: LanguageModel,
    tokenizer: CharTokenizer,
    prompts: Sequence[str],
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[str]:
    """The answers to prompts of any length, in their order, without <|end|>; by default the likeliest tokens."""
    end, found = end_id(tokenizer), [""] * len(prompts)
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    for numbers in by_length.values():
        for at in range(0, len(numbers), ROWS):
            some = numbers[at : at + ROWS]
            ids = torch.tensor([encode_prompt(tokenizer, prompts[number]) for number in some])
            for number, row in zip(some, write(model, ids, end, temperature, generator).tolist(), strict=True):
                found[number] = text_of(tokenizer, row)
    return found


def obeying_rates(instructions: Sequence[Instruction], answers: Sequence[str]) -> dict[str, float]:
    """The share of each task's instructions that the answers obey, and of `all`."""
    results: dict[str, list[bool]] = {}
    for each, text in zip(instructions, answers, strict=True):
        for task in (each.task, "all"):
            results.setdefault(task, []).append(each.obeyed(text))
    return {task: sum(found) / len(found) for task, found in results.items()}
