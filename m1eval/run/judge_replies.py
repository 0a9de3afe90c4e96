"""The replies of judges about the answer that is being graded: all of them are paid for, unusable ones too."""

from contextvars import ContextVar

from m1eval.types import JudgeReply

judge_replies: ContextVar[list[JudgeReply] | None] = ContextVar("judge_replies", default=None)
"""The list that judges append each new reply to; None while nothing is graded."""


def add(reply: JudgeReply) -> None:
    """Keep a reply with the answer that is being graded."""
    if (replies := judge_replies.get()) is not None:
        replies.append(reply)
