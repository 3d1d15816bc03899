"""What the page may ask: everything that arrives is checked and limited here."""

import json
from dataclasses import dataclass
from typing import Any

from babygpt.beyond.inside.hooks import HeadName
from babygpt.errors import UserError, require
from babygpt.playground.models import Player
from babygpt.playground.writing import MAX_TOKENS
from babygpt.sample import MIN_TEMPERATURE, first_tokens

MAX_PROMPT = 1000  # characters
MAX_COUNT = 1000  # tokens to write
MAX_MODELS = 16  # side by side
MAX_TEMPERATURE = 100.0
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Question:
    """What the page asks, and of which models."""

    players: list[Player]
    prompt: str
    """The text to continue; empty starts from the first token, as in `babygpt.sample`."""
    ids: list[int] | None
    """The tokens to continue or to look at, in place of a prompt."""
    count: int
    """Tokens to write."""
    seed: int
    how: dict[str, float]
    """temperature, top_k and top_p."""
    off: list[HeadName]
    """The heads that are switched off."""
    choices: dict[int, int]
    """Tokens that somebody has chosen, by their position in the text."""

    @classmethod
    def read(cls, body: bytes, players: dict[str, Player]) -> "Question":
        """A question from the body of a request.

        Raises:
            UserError: it is not JSON, or a value is missing, has the wrong type or is out of bounds.
        """
        try:
            asked = json.loads(body)
            require(isinstance(asked, dict), "the request must be a JSON object")
            names = asked["models"]
            require(type(names) is list and 1 <= len(names) <= MAX_MODELS, f"ask 1 to {MAX_MODELS} models")
            for name in names:
                require(name in players, f"there is no model {name!r} here: choose from {', '.join(players)}")
            return cls(
                players=[players[name] for name in dict.fromkeys(names)],
                prompt=read_prompt(asked.get("prompt", "")),
                ids=None if asked.get("ids") is None else [whole(i, "ids", 0, 2**31) for i in asked["ids"]],
                count=whole(asked.get("count", 0), "count", 0, MAX_COUNT),
                seed=whole(asked.get("seed", 0), "seed", 0, MAX_SEED),
                how={
                    "temperature": read_temperature(asked.get("temperature", 1.0)),
                    "top_k": whole(asked.get("topK", 0), "topK", 0, 10**6),
                    "top_p": number(asked.get("topP", 1.0), "topP", 1e-6, 1),
                },
                off=read_off(asked.get("off", []), [players[name] for name in names]),
                choices={
                    whole(position, "choices", 0, MAX_TOKENS): whole(token, "choices", 0, 2**31)
                    for position, token in asked.get("choices", [])
                },
            )
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"the request is not what the page sends ({type(error).__name__}): reload the page"
            ) from None

    def start(self, player: Player) -> list[int]:
        """The tokens to begin with, at least one.

        Raises:
            UserError: the model does not know a token or a character, or the text would become too long.
        """
        ids = self.ids or first_tokens(player.tokenizer, self.prompt)[0].tolist()
        last = player.tokenizer.vocab_size - 1
        for token in (*ids, *self.choices.values()):
            require(token <= last, f"{player.name} has no token {token}: its tokens are 0 to {last}")
        require(
            len(ids) + self.count <= MAX_TOKENS,
            f"the text would have {len(ids) + self.count:,} tokens, and {MAX_TOKENS:,} are allowed: shorten it",
        )
        return list(ids)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number from low to high. Raises UserError if it is not one."""
    require(type(value) is int and low <= value <= high, f"{name} must be from {low} to {high}, and it is {value!r}")
    return value


def number(value: Any, name: str, low: float, high: float) -> float:
    """A number from low to high. Raises UserError if it is not one."""
    right = type(value) in (int, float) and low <= value <= high
    require(right, f"{name} must be from {low:g} to {high:g}, and it is {value!r}")
    return value


def read_prompt(value: Any) -> str:
    """A text of at most MAX_PROMPT characters. Raises UserError if it is longer."""
    require(isinstance(value, str), "the prompt must be a text")
    require(
        len(value) <= MAX_PROMPT,
        f"the prompt has {len(value):,} characters, and {MAX_PROMPT:,} are allowed: shorten it",
    )
    return value


def read_temperature(value: Any) -> float:
    """A temperature: 0, or at least MIN_TEMPERATURE. Raises UserError if it is not one."""
    return 0.0 if value == 0 else number(value, "temperature", MIN_TEMPERATURE, MAX_TEMPERATURE)


def read_off(value: Any, players: list[Player]) -> list[HeadName]:
    """The heads to switch off, all of which the models must have. Raises UserError if one has not."""
    off = sorted({(whole(layer, "off", 0, 1000), whole(head, "off", 0, 1000)) for layer, head in value})
    for player in players if off else []:
        heads = player.inside.heads if player.inside.can_switch else []
        for layer, head in off:
            require(
                layer < len(heads) and head < heads[layer],
                f"{player.name} has no head {head + 1} in layer {layer + 1} that could be switched off",
            )
    return off
