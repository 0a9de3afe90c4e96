"""The conclusion of a finished text: its last sentence, a display at its end, or a text that is only a value."""

import re

from .boxes import refuted
from .closings import last_sentence, rejects, strip_closing
from .cutting import split_top_level
from .formulas import LATEX, formula_content, value_alone

TAILS = re.compile(
    r"\s*(?:です|である|だ|となります|になります|になる|となる|입니다|이다|예요|이에요|임|है|हैं|होगा|हे|आहे|হয়|হবে|است|می‌باشد|ہے|ஆகும்"
    r"|['’](?:[td][ıiuü]r|[ıiuü]n|e?s|dir))\s*[.。।]?\s*\Z"
)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|conclu\w+|overall|confident|confirm\w*|final(?:ly)?|indeed|correct|right answer"
    r"|arrived|we (?:have|know|get|find|obtain))\b|^(?:\d+\. )?\**the\b|[∴⇒]|\\therefore"
    r"|\b(?:daher|somit|folglich|deshalb|insgesamt|donc|ainsi|finalement|par conséquent|por (?:lo )?tanto|así|luego"
    r"|portanto|logo|assim|quindi|dunque|pertanto|dus|daarom|zatem|więc|tedy|proto|tehát|így|deci|следовательно|значит"
    r"|итак|таким образом|отже|alltså|därför|altså|vậy|do đó|jadi|maka|dolayısıyla|άρα|επομένως|अतः|इसलिए)\b"
    r"|故|所以|因此|综上|綜上|于是|於是|则|よって|したがって|ゆえに|따라서|그러므로|إذن|لذلك|לכן|ดังนั้น",
    re.IGNORECASE,
)
_OPENS = re.compile(
    r"^\W{0,4}(?:so|therefore|thus|hence|∴|\\therefore|donc|daher|somit|por (?:lo )?tanto|quindi|dus|итак|значит"
    r"|follow\w*|所以|因此|故选?|综上|于是|则|よって|したがって|따라서)[\s,:，、：]*",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:answer|result|solution|value|it|that)\b[^.\n]{0,30}?(?:\b(?:not|cannot|never|neither)\b|n['’]t\b)"
    r"|\b(?:not|n['’]t) (?:be )?(?:equal to )?[\d$\\]|[?？]\Z|(?:不是|不为|不等于|ではない|아니)"
    r"|\b(?:if|whether|suppose)\b[^,\n]*\Z|^\W*(?:if|suppose|assume|whether|unless)\b",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*[.\s]*\Z")
_ENDS = re.compile(r"[.!)$*\]}。！]\Z")
_TAIL = re.compile(
    r"(?:\b(?:is|was|are|were|ist|sind|beträgt|est|vaut|valent|es|son|vale|è|é|são|равно|равен|равна|wynosi|adalah)"
    r"(?:\s+(?:indeed|exactly|equal\s+to|therefore))?|\bequals|=)\s(?!(?:the|a)\b)"
    r"|(?:的值|结果|总数|個数|个数|面积|概率)?(?:是|为|為|等于|等於|＝|は)\s*"
)
_NEXT_EQUATION = (
    r"[,;](?!\d{3}(?!\d))|\\(?:text|quad|qquad|mbox|mathrm)(?![a-zA-Z])|(?<![\\a-zA-Z])(?:or|and)(?![a-zA-Z])"
)
_LETTER = re.compile(r"\s*\\?[a-zA-Z]\w*\s*")
_UNFINISHED = re.compile(r"[-+*/^_=<>≈,:×÷·(\[{\\]\s*\Z")
_DISPLAY = re.compile(r"(?:\\\[((?:(?!\\\[).){1,900}?)\\\]|\$\$([^$]{1,900})\$\$)\s*[.。]?\Z", re.DOTALL)


def whole_text(text: str) -> str:
    """A text that is only a value, or that ends in a displayed formula or a marked `x = 4`."""
    text = text.strip()
    if len(text) <= 100 and "\n" not in text:
        return value_alone(text)
    line = text[-300:].rpartition("\n")[2].strip()
    marked = re.fullmatch(r"(?:∴|=>|⇒|→|\\therefore)?\s*([a-zA-Z]\w?\s*=\s*[-+\d][\d./,]*)\s*([✓✔✅☑.]?)\W{0,3}", line)
    if display := _DISPLAY.search(text, max(0, len(text) - 1000)):
        return _value_of_display("".join(filter(None, display.groups())).strip(), text[: display.start()])
    if marked and (marked[2] not in ("", ".") or not line[:1].isalpha()):
        return marked[1]
    return ""


def _value_of_display(formula: str, before: str) -> str:
    """The value of a display that ends a text: one value or `x = 4`, and a chain of equations after a conclusion."""
    formula = formula.rstrip(".。 ")
    concludes = _CONCLUDES.search(before[-300:].rstrip().rpartition("\n")[2])
    if formula.endswith(",") or (formula.count("=") > 1 and not concludes):
        return ""
    formula = _right_side(formula)
    return formula if "=" not in formula or re.match(r"\\?[a-zA-Z]\w*\s*=", formula) or concludes else ""


def _right_side(formula: str) -> str:
    """The end of a chain of equations; an equation in a name or with letters on both sides stays whole.

    Several equations side by side, `x = 1, y = 2`, are not a chain.
    """
    sides = re.split(r"(?<![<>\\!])=", formula)
    if "\\\\" in formula or "&" in formula or len(sides) == 1:
        return formula
    if any(len(split_top_level(side, _NEXT_EQUATION)) > 1 for side in sides[1:-1]) or _LETTER.fullmatch(sides[-1]):
        return formula
    return sides[-1].strip() if len(sides) > 2 or not re.search("[a-zA-Z]", sides[0]) else formula


def conclusion(text: str) -> str:  # noqa: PLR0911 - a rule, a return
    """The answer of a last sentence such as "So, the sixth term is 350.", or a bold text at the very end."""
    text, affirmed = strip_closing(text[-1000:].strip())
    if affirmed:
        return _value_before_closing(text)
    if bold := _BOLD.search(text):
        return bold[1].strip() if re.search(r"\d", bold[1]) else ""
    if not _ENDS.search(text):
        line = text.rpartition("\n")[2]
        value = value_alone(value_of_sentence(line)) if _OPENS.match(line) and not _DENIES.search(line) else ""
        return "" if _UNFINISHED.search(value) else value
    shown = [formula for formula in LATEX.finditer(text) if formula.end() == len(text)]
    before = text[: shown[0].start()].rstrip() if shown else ""
    if before.endswith(":") and _CONCLUDES.search(before.rpartition("\n")[2]):
        return formula_content(shown[0])
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text) if part.strip()]
    for sentence in reversed(sentences[-4:]):
        if refuted(sentence, 0):
            return ""
        if re.search(r"\d", sentence):
            return value_of_sentence(sentence) if _CONCLUDES.search(sentence) and not _DENIES.search(sentence) else ""
        if rejects(sentence):
            return ""
    return ""


def _value_before_closing(text: str) -> str:
    """The value of the sentence or the display right before "I think that's the answer."."""
    if display := _DISPLAY.search(text):
        return _right_side("".join(filter(None, display.groups())).strip().rstrip(".。 "))
    last = last_sentence(text)[1]
    return value_of_sentence(last) if re.search(r"\d", last) and not _DENIES.search(last) else ""


def value_of_sentence(sentence: str) -> str:
    """The value of a concluding sentence: its last formula, or the text after its last "is" or "="."""
    sentence = TAILS.sub("", sentence) if not sentence.isascii() else sentence
    formulas = list(LATEX.finditer(sentence))
    if formulas and not sentence[formulas[-1].end() :].strip(" .!。！"):
        return _right_side(formula_content(formulas[-1]))
    tails = list(_TAIL.finditer(sentence))
    value = sentence[tails[-1].end() :] if tails else ""
    if not re.search(r"\d", value):
        value = sentence
    formulas = list(LATEX.finditer(value))
    if formulas and (len(formulas) == 1 or formulas[-1].end() >= len(value.rstrip(".! "))):
        return formula_content(formulas[-1])
    return _OPENS.sub("", value).rstrip(".!。！ ")
