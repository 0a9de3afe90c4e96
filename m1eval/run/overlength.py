"""Policies for prompts longer than the model's context window: fail, skip, truncate_middle.

`fail` sends it anyway: the runner refuses, and that counts as wrong. `skip` leaves the sample out of the score.
`truncate_middle` keeps the first and the last half of what fits, as LongBench does (THUDM/LongBench, pred.py). The last
two are counted and shown, and need the window and a tokenizer.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from m1eval.protocols import Tokenizer
from m1eval.types import Message, Sample

ANSWER_SHARE = 4
"""`max_tokens` of the window are kept free for the answer, but at most 1/ANSWER_SHARE of it."""
TEMPLATE_TOKENS = 64
"""Approximate maximum of the tokens that a chat template adds to a message."""


class Overlength:
    """The policy of one run, and the ids of the samples that it has skipped or truncated."""

    def __init__(
        self,
        policy: str,
        tokenizer: Tokenizer,
        max_tokens: int | None,
        previous: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._policy = policy
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.skipped: set[str] = set((previous or {}).get("skipped", ()))
        self.truncated: set[str] = set((previous or {}).get("cut", ()))

    def apply(self, sample: Sample, window: int | None) -> Sample | None:
        """The sample, truncated if need be; None to skip it. With an unknown window (0, None) it is unchanged."""
        if self._policy == "fail" or not window:
            return sample
        room = window - min(self._max_tokens or window, window // ANSWER_SHARE)
        if self._prompt_tokens(sample, room) <= room:
            return sample
        if self._policy == "skip":
            self.skipped.add(sample.id)
            return None
        self.truncated.add(sample.id)
        return self._truncate_middle(sample, room)

    def to_config(self) -> dict[str, list[str]]:
        """Skipped and truncated samples as run.json keeps them."""
        return {name: sorted(ids) for name, ids in (("skipped", self.skipped), ("cut", self.truncated)) if ids}

    def count_skipped(self, ids: Iterable[str]) -> int:
        """Number of these samples that are left out."""
        return sum(name in self.skipped for name in ids) if self.skipped else 0

    def _prompt_tokens(self, sample: Sample, room: int) -> int:
        """Tokens of the prompt, or an upper bound of them in bytes if that is within `room`."""
        tokens = sample.metadata.get("tokens")
        if isinstance(tokens, int) and not getattr(self._tokenizer, "approximate", False):
            return tokens
        upper_bound = sum(
            len(_text(message).encode("utf-8", "replace")) + TEMPLATE_TOKENS for message in sample.messages
        )
        return upper_bound if upper_bound <= room else self._tokenizer.count(sample.messages)

    def _truncate_middle(self, sample: Sample, room: int) -> Sample:
        """A copy of the sample without the middle of its longest message."""
        longest = max(range(len(sample.messages)), key=lambda i: len(_text(sample.messages[i])))
        ids = list(self._tokenizer.encode(_text(sample.messages[longest])))
        num_cut = over = self._tokenizer.count(sample.messages) - room
        messages = list(sample.messages)
        while over > 0 and num_cut < len(ids):
            left = len(ids) - num_cut
            halves = ids[: (left + 1) // 2], ids[len(ids) - left // 2 :]
            first, last = (self._tokenizer.decode(half) for half in halves)
            text = first.rstrip("\ufffd") + last.lstrip("\ufffd")  # half a character on each side of the cut
            messages[longest] = {**messages[longest], "content": text}
            over = self._tokenizer.count(messages) - room
            num_cut += max(over, 0)
        return msgspec.structs.replace(sample, messages=messages, metadata={**sample.metadata, "cut_tokens": num_cut})


def _text(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
