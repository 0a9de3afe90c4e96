"""Phrases that retract a letter: "I doubt that", "if" and "some would say" before it, "but that is wrong" after it."""

import re

from . import words
from .grammar import CLOSE, OPEN, any_of

_LEAD = (
    r"(?:,?\s{1,3}(?:что|dass|ob|que|che|że|att|at|dat)\b)?"
    r"(?:\s{1,3}(?i:that|the|this|my|your|our|correct|right|final|best|true|actual|real|option|choice|answer"
    r"|letter|it|is|to|be|правильный|верный|die|der|das|la|le|el|o|a|richtige|antwort)){0,7}[\s\"'“‘(\[]{0,4}$"
)
_UNSURE = (
    r"(?<!no )(?<!any )(?<!little )(?<!beyond )(?<!without )(?<!n['’]t )(?<!not )"
    r"\bdoubt(?:s|ed|ful)?(?:\s+(?:if|whether))?"
    r"|\b(?:unlikely|implausible|unclear|uncertain|unsure)(?:\s+(?:if|whether))?"
    r"|(?:\bnot|n['’]t|\bnever|\bcannot)\s+(?:\w{1,12}\s+){0,2}?(?:think(?:ing)?|believ(?:e|ing)|say(?:ing)?|said"
    r"|claim(?:ing|ed)?|agree|conclude|assum(?:e|ing)|mean"
    r"|imply|follow|clear|sure|certain|convinced|obvious|plausible|likely|true|possible|the\s+case)(?:\s+(?:if|whether))?"
    r"|\b(?:impossible|false|incorrect|wrong|untrue|absurd)\s+(?:that|to\s+(?:say|think|claim|believe|assume))"
    r"|\bcan(?:not|['’]t)\s+be\s+that"
    r"|\bno\s+(?:evidence|reason|proof|indication|guarantee|way)(?:\s+(?:to\s+(?:think|believe|say)|for\s+thinking))?"
    r"|\b(?:nobody|no\s+one)\s+(?:\w{1,12}\s+){0,2}?(?:thinks?|believes?|says?|said|claims?)"
    r"|не\s+(?:уверена?|думаю|считаю|верю)|сомневаюсь|glaube\s+(?:ich\s+)?nicht|denke\s+nicht|bezweifle|nicht\s+sicher"
    r"|ne\s+(?:pense|crois)\s+pas|doute|no\s+(?:creo|pienso)|dudo|não\s+(?:acho|creio|acredito)|duvido"
    r"|non\s+(?:credo|penso)|dubito|geloof\s+niet|tror\s+inte|tror\s+ikke|nie\s+(?:sądzę|uważam)"
)
_SOMEONE = (
    r"\b(?:some|many|people|students?|someone|somebody|others|they|he|she|users?|friends?|solvers?|candidates|textbook)"
)
_PERHAPS = (
    r"\s+(?:(?:may|might|could|would|often|usually|first|initially|wrongly|incorrectly|mistakenly|also"
    r"|be\s+tempted\s+to)\s+){0,3}"
)
_TEMPTED = (
    r"\b(?:one|you)\s+(?:(?:first|initially|also|easily)\s+)?(?:may|might|could)\s+"
    r"(?:(?:first|initially|also|easily|be\s+tempted\s+to)\s+){0,2}"
)
_SAY = r"(?:think|thought|believe|say|said|guess|claim|argue|assume|suspect|answer)(?:s|ed|d)?"
DOUBTED = re.compile(rf"(?i:{_UNSURE}|(?:{_SOMEONE}{_PERHAPS}|{_TEMPTED}){_SAY}){_LEAD}")
"""Doubt, or the opinion of others, at the end of the text before a statement."""

BY_OTHERS = re.compile(
    rf"(?i:{_SOMEONE}{_PERHAPS}|{_TEMPTED}|\b(?:was|were)\s+(?:going\s+to\s+)?"
    r"|\b(?:mistake|error|trap|temptation|pitfall|fallacy)\s+(?:here\s+)?(?:is|was|would\s+be)\s+(?:to\s+)?)$"
)
"""Text before a verb of choosing when others choose, somebody was about to, or it is called a mistake."""

_IS_WRONG = (
    r"(?:(?:a|the)\s+(?:trap|distractor|mistake|error|red\s+herring)|wrong|incorrect|false|mistaken|invalid|impossible|untrue|unlikely|not\s+"
    r"(?:quite\s+|actually\s+|really\s+|in\s+fact\s+|the\s+)?(?:correct|right|true|valid|possible|answer|case|it)\b|not\s*(?=[.,;!\n]|$))"
)
TAKEN_BACK = re.compile(
    rf"(?:\s?\([^()\n]{{1,60}}\))?[\s,;:.–—-]{{0,3}}(?i:(?:but|however|yet|and|which)[\s,]{{1,3}}"
    rf"(?:(?:it|that|this|which|clearly|actually|obviously|in\s+fact)[\s,]{{1,3}}){{0,2}}"
    rf"(?:(?:is|was|would\s+be|seems|must\s+be|['’]s)\s+(?:(?:clearly|actually|obviously|also|simply|just)\s+)?{_IS_WRONG}"
    rf"|(?:isn|wasn)['’]t(?:\s+(?:correct|right|true|it)\b|\s*(?=[.,;!\n]|$))|(?:it|that)['’]s\s+{_IS_WRONG}))"
    r"|(?i:(?:[\s.,;!…–—-]{1,5}(?:actually|wait|hmm+|no|oh|sorry)){1,3}[\s.,;!…–—-]{1,5}(?:that|this|it)"
    r"(?:(?:\s+is|\s+was|['’]s)\s+(?:wrong|incorrect|a\s+mistake|not\s+(?:quite\s+)?(?:right|correct|it))"
    r"|\s+(?:isn|wasn)['’]t\s+(?:right|correct|it)))(?=\s*(?:[.,;!\n]|$))"
    r"|[.\s,;\"'“”»’]{1,5}(?i:(?:but|however)[\s,]{1,3})?I\s+(?i:(?:strongly\s+)?disagree|do(?:n['’]t|\s+not)\s+agree)"
    r"(?=\s*(?:[.,;!\n]|$)|\s+(?i:with\s+(?:this|that|him|her|them|it)\b))"
)
"""Text after a letter: ", but that is wrong", ". Actually, that's not right.", and "I disagree."."""
ASKED_BEHIND = re.compile(r"\s?(?:ですか|でしょうか|だろうか|ますか|か(?=\s?[?？])|입니까|인가요?|일까요?|ไหม|หรือไม่)")
"""Text after a letter, or after a statement on one, that makes it a question."""
ALL_BUT = re.compile(
    r"(?i:\b(?:(?:all|any|every\w*|each|anything|none|nothing|no\s+(?:one|option|choice|answer))\s+"
    r"(?:(?:of\s+(?:them|these|the\s+\w{1,12})|options?|choices?|answers?|statements?)\s+)?(?:but|except(?:\s+for)?)"
    r"|other\s+than|apart\s+from)\s+(?:(?:option|choice|answer|letter)\s+)?)[(\[]?$"
)
"""Phrases that exclude the letter after them: "all but C"."""

RETHOUGHT = re.compile(
    r"(?:\s?\([^()\n]{1,60}\))?[\s,;:.–—-]{1,3}(?i:but|however|yet)[\s,]{1,3}"
    r"(?i:(?:actually|really|in\s+fact|rather)[\s,]{1,3})?"
    r"(?i:it['’]s|it\s+is|that['’]s|it\s+must\s+be|it\s+should\s+be)\s{1,3}"
    rf"(?i:(?:actually|really|in\s+fact|rather|option|choice)\s{{1,3}}){{0,2}}(?P<open>{OPEN})(?P<letter>[A-J])"
)
"""Text after a letter: ", but it is actually C"."""

_WRONG_TOO = any_of(words.WRONG)
WRONG_TOO = re.compile(
    rf"{CLOSE}(?:\s?(?:选项|選項|项|項|は|が|는|은|가|이|也|是|都|のは|选项是|项是)){{0,2}}"
    rf"\s{{0,3}}(?:(?:{any_of(words.WRONG_COPULAS)})\s{{1,3}}(?:\w{{1,12}}\s{{1,3}})?)?{_WRONG_TOO}"
)
"""Text after a letter that calls it wrong, in languages other than English. A mark like ":" starts an option's text."""

_COPULA = any_of(words.WRONG_COPULAS)
NOT_RIGHT = re.compile(
    rf"{CLOSE}\s{{1,3}}(?:(?:{_COPULA}\s{{1,3}})?(?i:nicht|no|non|não|nao|ne|nie|niet|inte|ikke|не|tidak|bukan|nem|ei|nu|n['’]est\s+pas)"
    rf"\s{{1,3}}(?:{_COPULA}\s{{1,3}})?(?:(?i:pas|die|der|la|a)\s{{1,3}})?{any_of(words.CORRECT)}"
    rf"|{any_of(words.CORRECT)}\s{{1,3}}(?:नहीं|değil|নয়|نہیں|نیست))"
)
"""Text after a letter that calls it not right, in languages other than English."""

BESIDES = re.compile(
    r"[.:]?(?:\s(?!(?i:because|since|as|while|whereas|unlike|not|instead|rather|over|than|but|both|either|neither|for|so"
    r"|with|from)\b)(?![A-J]\b)[^\s.!?;]{1,20}){1,8}?(?:,\s?(?:and|or)?|\s(?:and|or|&))\s\(?(?P<letter>[A-J])"
    r"(?:\)|\.(?=\s)|(?=\s\())(?=\s?\S)"
)
"""Text after a letter: its option's text and another letter with its own, as in "A) red and C) blue"."""

TURNS = re.compile(r"(?i)\b(?:but|however|so|therefore|sondern|aber|mais|pero|mas|ma|но|але|ale)\b|但|而")
"""Words that end the scope of a negation before them."""

ROMAN = re.compile(r"(?<!\w)\(?(?:ii|iii|iv|II|III|IV)\)?(?!\w)")
"""Numerals that show an i to be one."""
