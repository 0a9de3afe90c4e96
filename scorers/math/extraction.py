"""Where the final answer stands in a text. Everything here takes linear time, on hostile texts too."""

import re
from collections.abc import Iterator

from .boxes import boxed_answer, is_placeholder, refuted
from .closings import last_sentence, rejects, without_closing
from .cutting import cut as cut_at_top
from .statements import Language, Stated, denies, statements

_KEY = re.compile(r"""["'](?:(?:final|correct)[ _-]?)?answer["']\s*+:\s*+""", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"|\'((?:[^\'\\\n]|\\.)*+)\'(?=\s*+[,}\]\n])', re.DOTALL)
_SCALAR = re.compile(r"-?[\d.]++(?:[eE][-+]?\d++)?(?:/\d++)?")
_LIST = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]{0,100}\]){1,300}+)\]")
_MOST_KEYS = 2_000
_INNER = re.compile(r'\{[^{}]{0,200}?["\'](?:value|answer|result|latex)["\']\s{0,4}:\s{0,4}')
_TAG = re.compile(r"<(/?)(?:final[_ -]?)?ans(?:wer)?\b[^<>\n]{0,100}>|\[(/?)(?:final[_ -]?)?answer\]", re.IGNORECASE)
_IN_TEXT = re.compile(r"\\(?:text|mathrm|operatorname|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_TWO_WORDS = re.compile(r"[^\W\d_]{2,}[,;:]?\s+[^\W\d_]{2,}")
_MOST_TAGS = 500
"""Looked into, the last first."""
_HASHES = re.compile(r"^[ \t]*####(?!#)[ \t]*(\S.*)$", re.MULTILINE)
_VALUE_OF_A_LIST = r"\s*+[^\s;=]*\d[^\s;=]*+(?:;|[ \t]*(?:\n|$))"
_SENTENCE = re.compile(
    rf"(?:(?!\s(?:because|since|where|which)\b|(?:(?<!\bRs)\.|[!?]|;(?!{_VALUE_OF_A_LIST}))(?:[\s*\]}})\"”]|$)|[。！？；।])"
    r"(?:\\[!;.,:]|.))*"
)
r"""Ends at no `\!` and `\;`, and at no `;` between values."""
_LONGEST_SENTENCE = 2000
_MOST_STOPS = 5
_LATEX = re.compile(
    r"\$\$(.{1,2000}?)\$\$|\$((?:[^$\\\n]|\\.){1,2000}+)\$"
    r"|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]",
    re.DOTALL,
)
_BETWEEN = re.compile(r"[\s,，、]*(?:and\b|or\b|und\b|et\b|y\b|e\b|и\b|和|与|或|と|または|와|과)?\s*")
_FILLER = re.compile(
    r"[\s*_:：`]*+(?:(?:therefore|thus|then|hence|indeed|simply|just|clearly|exactly|given by|found to be|equal to|also"
    r"|donc|bien|also|daher|somit|por tanto|por lo tanto|entonces|então|quindi|dunque|dus|więc|tehát|следовательно|итак"
    r"|as follows|the following)\b[\s,:*]*+){0,3}[\s*_:：`]*+",
    re.IGNORECASE,
)
_TAILS = re.compile(
    r"\s*(?:です|である|だ|となります|になります|になる|となる|입니다|이다|예요|이에요|임|है|हैं|होगा|हे|आहे|হয়|হবে|است|می‌باشد|ہے|ஆகும்"
    r"|['’](?:[td][ıiuü]r|[ıiuü]n|e?s|dir))\s*[.。।]?\s*\Z"
)
_QUESTION = re.compile(r"[^\n.!。]{0,80}[?？]")
_SENTENCES = re.compile(r"[.!?。]\s+\S[^.!?。]*[.!?。]\s+\S|\n\s*\n\s*\S")
_BULLET = re.compile(r"[ \t]*(?:[-*•+]|\(?\w{1,2}[.)])[ \t]+(\S.*)")
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
_SUBJECT = re.compile(r"(?!\\[dtc]?(?:frac|sqrt|binom|pi)(?![a-zA-Z]))\\?[a-zA-Z][^=<>]*")
_PREDICATE = re.compile(
    r"\s*(?:is|equals|are|was|=)\s+(?:(?:approximately|about|exactly|equal to|therefore|thus)\s+)?(?=[-+−]?\$?\d)"
)
_DOUBTED = re.compile(
    r"[\s.!$*)]{0,6}(?:But|However|Though|Although|Still)\b,? I(?:['’]m| am) (?:still |really )?not"
    r" (?:(?:entirely|completely|totally|quite|fully|absolutely|so|very|100%) )?(?:sure|certain|confident|convinced)\b",
    re.IGNORECASE,
)
_LONG_REST = 400
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
_MOST_HEADINGS = 20
"""Looked into, the last first: what stands below one is read again for each."""
_UNFINISHED = re.compile(r"[-+*/^_=<>≈,:×÷·(\[{\\]\s*\Z")
_VAGUE = re.compile(
    r"(?:in|to|as|for|of|with|by|on|at|from|that|what|when|how|below|above|here|likely|probably|possibly|maybe"
    r"|the same|an? (?:fraction|integer|number|decimal|whole|list|single|positive|real))\b",
    re.IGNORECASE,
)
_DISPLAY = re.compile(r"(?:\\\[((?:(?!\\\[).){1,900}?)\\\]|\$\$([^$]{1,900})\$\$)\s*[.。]?\Z", re.DOTALL)


def final_answer(text: str, *, cut: bool = False, values: int = 1) -> str | None:
    """The last boxed answer, else a tagged, a JSON or a stated one, else what a finished text concludes with.

    None if there is none of them. `cut`: the text ended at a token limit, so that its last sentence concludes nothing.
    `values`: how many the reference has; boxes within one statement are as many values then.
    """
    boxed = boxed_answer(text, cut=cut, values=values)
    if boxed:
        return boxed
    return tagged(text, cut=cut) or last_json(text) or _written(text, cut=cut) or None


def _written(text: str, *, cut: bool) -> str:
    found = hashed(text, cut=cut) or last_stated(text, cut=cut)
    if found or cut:
        return found
    return whole(text) or concluded(text) or next(_stated_values(text, weak=True), "")


def tagged(text: str, *, cut: bool = False) -> str:
    """What the last `<answer>` holds; one that is not closed goes to the end of a finished text."""
    if ("<" not in text and "[" not in text) or "ans" not in text.lower():
        return ""
    contents, opened = [], -1
    for tag in _TAG.finditer(text):
        if not (tag[1] or tag[2]):
            opened = tag.end()
        elif opened >= 0:
            contents.append((opened, tag.start()))
            opened = -1
    if opened >= 0 and not cut:
        contents.append((opened, len(text)))
    return next(filter(None, (_held(text[slice(*span)]) for span in reversed(contents[-_MOST_TAGS:]))), "")


def _held(content: str) -> str:
    """The answer in the content of a tag: its value, the values of its lines, or what its sentences state."""
    content = content.strip().strip("`").strip()
    if not content or is_placeholder(content):
        return ""
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if len(lines) == 1 and len(content) <= 200:
        return last_json(content) or next(_stated_values(content), "") or _value_alone(content) or content
    values = [_value_alone(line) for line in lines[:50]]
    if all(values):
        return ", ".join(values)
    found = last_json(content) or _written(content, cut=False)
    return found or (content if len(lines) == 1 and not _TWO_WORDS.search(_IN_TEXT.sub("", content)) else "")


def hashed(text: str, *, cut: bool = False) -> str:
    """The value behind the last `####`, as in GSM8K; a heading of that level with words in it is none."""
    if "####" not in text:
        return ""
    for found in reversed(list(_HASHES.finditer(text))):
        last = not text[found.end() :].strip()
        value = found[1].strip().rstrip("#").strip()
        if cut and last:
            continue
        if alone := _value_alone(value):
            return alone
        if last and re.match(r"[-+]?[\d$\\]", value) and not re.match(r"\d+[.)]\s", value):
            return value
    return ""


def last_json(text: str) -> str:
    """The last `"answer": ...` of a JSON object or a Python dict."""
    if "answer" not in text.lower():
        return ""
    for key in reversed(list(_KEY.finditer(text))[-_MOST_KEYS:]):
        inner = _INNER.match(text, key.end())
        start = inner.end() if inner else key.end()
        if quoted := _QUOTED.match(text, start):
            value = (quoted[1] or quoted[2] or "").replace('\\"', '"').replace("\\\\", "\\")
        elif several := _LIST.match(text, start):
            value = re.sub(r"""["']""", "", several[1]).replace("[", "(").replace("]", ")")
        else:
            scalar = _SCALAR.match(text, start)
            value = scalar[0].rstrip(".") if scalar else ""
        if value.strip() and not is_placeholder(value):
            return value.strip()
    return ""


def last_stated(text: str, *, cut: bool = False) -> str:
    """What follows the last "answer is" or "answer:", up to the end of its formulas or of its sentence."""
    return next(_stated_values(text, cut=cut), "")


def _stated_values(text: str, *, cut: bool = False, weak: bool = False, nested: bool = False) -> Iterator[str]:
    """The values of all statements, the last first; the `weak` ones name a result or a solution.

    `nested`: the text is what stands below a heading; headings in it are not looked into again.
    """
    headings = 0
    for stated in statements(text):
        headings += stated.heading
        if stated.heading and (nested or headings > _MOST_HEADINGS):
            continue
        if stated.weak is not weak or (weak and _SENTENCES.search(text, stated.start)):
            continue
        value, end = _under_heading(text, stated) if stated.heading else _behind(text, stated)
        if not value or is_placeholder(value) or refuted(text, end) or (cut and end >= len(text.rstrip())):
            continue
        if _DOUBTED.match(text, end) and len(text) - end > _LONG_REST:
            continue
        yield value


def _behind(text: str, stated: Stated) -> tuple[str, int]:
    """The value behind a statement and where it ends; "" for one that is asked or denied."""
    start = _FILLER.match(text, stated.start).end()  # type: ignore[union-attr]
    formula = _LATEX.match(text, start)
    if formula:
        found = [formula]
        while more := _LATEX.match(text, _BETWEEN.match(text, found[-1].end()).end()):  # type: ignore[union-attr]
            found.append(more)
        end = found[-1].end()
        if _denied(text, end, stated.language):
            return "", end
        return ", ".join(_inside(part) for part in found), end
    end = _end_of_sentence(text, start)
    sentence = text[start:end]
    if denies(sentence, stated.language) or text[end : end + 1] in ("?", "？"):
        return "", end
    sentence = _TAILS.sub("", sentence).strip(" \t\r*`_,:")
    formulas = list(_LATEX.finditer(sentence))
    if _VAGUE.match(sentence):
        return "", end
    if sentence and len(formulas) != 1:
        return sentence, end
    return (_of_subject(sentence, formulas[0]) if formulas else ""), end


def _end_of_sentence(text: str, start: int) -> int:
    r"""Where a sentence ends; a point or an exclamation mark inside braces (`\frac{20!}{10!}`) ends none."""
    last = min(start + _LONGEST_SENTENCE, len(text))
    end = first = _SENTENCE.match(text, start, last).end()  # type: ignore[union-attr]
    for _ in range(_MOST_STOPS):
        sentence = text[start:end]
        if sentence.count("{") <= sentence.count("}") or end >= last or text[end] not in ".!?;":
            break
        end = _SENTENCE.match(text, end + 1, last).end()  # type: ignore[union-attr]
    return end if text.count("{", start, end) == text.count("}", start, end) else first


def _of_subject(sentence: str, formula: re.Match[str]) -> str:
    r"""The only formula of a statement, or the number that it is said to be: `the value of $n$ is 5`."""
    inside = _inside(formula)
    link = _PREDICATE.match(sentence, formula.end()) if _SUBJECT.fullmatch(inside) else None
    return sentence[link.end() :] if link else inside


def _denied(text: str, end: int, language: Language) -> bool:
    """Whether the rest of a sentence behind its formula denies or asks it."""
    rest = text[end : end + 80]
    return _QUESTION.match(rest) is not None or denies(re.split(r"[\n.。]", rest)[0], language)


def _under_heading(text: str, stated: Stated) -> tuple[str, int]:
    """The value in the paragraph below a heading such as "Final Answer"."""
    start = (
        stated.start
        + len(text[stated.start : stated.start + 200])
        - len(text[stated.start : stated.start + 200].lstrip())
    )
    paragraph = re.split(r"\n\s*\n", text[start : start + 1000], maxsplit=1)[0]
    end = start + len(paragraph)
    lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
    if not lines:
        return "", end
    items = [_BULLET.fullmatch(line) for line in lines]
    values = [_value_alone(item[1] if item else line) for item, line in zip(items, lines, strict=True)]
    if all(values) and (len(values) == 1 or all(items)):
        return ", ".join(values), end
    formula = _LATEX.match(text, start)
    if formula and not text[formula.end() : end].strip(" .*\n"):
        return _inside(formula), formula.end()
    inner = next(_stated_values(paragraph, nested=True), "")
    return inner or (_value(lines[0]) if len(lines) == 1 and len(lines[0]) <= 200 else ""), end


def whole(text: str) -> str:
    """A text that is no more than a value, or that ends in a displayed formula or a marked `x = 4`."""
    text = text.strip()
    if len(text) <= 100 and "\n" not in text:
        return _value_alone(text)
    line = text[-300:].rpartition("\n")[2].strip()
    marked = re.fullmatch(r"(?:∴|=>|⇒|→|\\therefore)?\s*([a-zA-Z]\w?\s*=\s*[-+\d][\d./,]*)\s*([✓✔✅☑.]?)\W{0,3}", line)
    if display := _DISPLAY.search(text, max(0, len(text) - 1000)):
        return _displayed("".join(filter(None, display.groups())).strip(), text[: display.start()])
    if marked and (marked[2] not in ("", ".") or not line[:1].isalpha()):
        return marked[1]
    return ""


def _displayed(formula: str, before: str) -> str:
    """The value of a display that ends a text: one value or `x = 4`, and a chain of equations behind a conclusion."""
    formula = formula.rstrip(".。 ")
    concludes = _CONCLUDES.search(before[-300:].rstrip().rpartition("\n")[2])
    if formula.endswith(",") or (formula.count("=") > 1 and not concludes):
        return ""
    formula = _right_side(formula)
    return formula if "=" not in formula or re.match(r"\\?[a-zA-Z]\w*\s*=", formula) or concludes else ""


def _right_side(formula: str) -> str:
    """What a chain of equations ends with; an equation in a name or with letters on both sides stays whole.

    Several equations side by side, `x = 1, y = 2`, are no chain.
    """
    sides = re.split(r"(?<![<>\\!])=", formula)
    if "\\\\" in formula or "&" in formula or len(sides) == 1:
        return formula
    if any(len(cut_at_top(side, _NEXT_EQUATION)) > 1 for side in sides[1:-1]) or _LETTER.fullmatch(sides[-1]):
        return formula
    return sides[-1].strip() if len(sides) > 2 or not re.search("[a-zA-Z]", sides[0]) else formula


def _value_alone(line: str) -> str:
    """A line's value if it holds nothing else: a number, a formula in math delimiters, `x = 4`, a short list."""
    line = re.sub(r"^(?:∴|=>|⇒|→|\\therefore(?![a-zA-Z]))\s*", "", line.strip().strip("*_`").strip())
    line = re.sub(r"\s*[✓✔✅☑]\ufe0f?\s*$", "", line).rstrip(".。").strip()
    formulas = list(_LATEX.finditer(line))
    if "box" in line or (formulas and len(formulas) > 20) or (formulas and _LATEX.sub("", line).strip(" ,;.&*，、")):
        return ""
    if formulas:
        return ", ".join(map(_inside, formulas))
    return line if len(line) <= 100 and _is_value(line) else ""


def _is_value(line: str) -> bool:
    if not re.search(r"\d|\\[a-z]", line) or re.search(r"^\d+[.)]$|[?？$]|\d\s+\d", line):
        return False
    plain = re.sub(r"\\[a-zA-Z]+|\b(?:and|or|sqrt|pi|sin|cos|tan|log|ln|exp)\b", " ", line)
    return not re.search(r"(?<!\\)\b[^\W\d_]{2,}|[\u0400-\u0fff\u3040-\ud7ff]", plain)


def concluded(text: str) -> str:  # noqa: PLR0911 - a rule, a return
    """The answer of a last sentence such as "So, the sixth term is 350.", or a bold text at the very end."""
    text, affirmed = without_closing(text[-1000:].strip())
    if affirmed:
        return _affirmed(text)
    if bold := _BOLD.search(text):
        return bold[1].strip() if re.search(r"\d", bold[1]) else ""
    if not _ENDS.search(text):
        line = text.rpartition("\n")[2]
        value = _value_alone(_value(line)) if _OPENS.match(line) and not _DENIES.search(line) else ""
        return "" if _UNFINISHED.search(value) else value
    shown = [found for found in _LATEX.finditer(text) if found.end() == len(text)]
    before = text[: shown[0].start()].rstrip() if shown else ""
    if before.endswith(":") and _CONCLUDES.search(before.rpartition("\n")[2]):
        return _inside(shown[0])
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text) if part.strip()]
    for sentence in reversed(sentences[-4:]):
        if refuted(sentence, 0):
            return ""
        if re.search(r"\d", sentence):
            return _value(sentence) if _CONCLUDES.search(sentence) and not _DENIES.search(sentence) else ""
        if rejects(sentence):
            return ""
    return ""


def _affirmed(text: str) -> str:
    """The value of the sentence or the display right before "I think that's the answer."."""
    if display := _DISPLAY.search(text):
        return _right_side("".join(filter(None, display.groups())).strip().rstrip(".。 "))
    last = last_sentence(text)[1]
    return _value(last) if re.search(r"\d", last) and not _DENIES.search(last) else ""


def _value(sentence: str) -> str:
    """What a concluding sentence says: its last formula, or what stands behind its last "is" or "="."""
    sentence = _TAILS.sub("", sentence) if not sentence.isascii() else sentence
    formulas = list(_LATEX.finditer(sentence))
    if formulas and not sentence[formulas[-1].end() :].strip(" .!。！"):
        return _right_side(_inside(formulas[-1]))
    tails = list(_TAIL.finditer(sentence))
    value = sentence[tails[-1].end() :] if tails else ""
    if not re.search(r"\d", value):
        value = sentence
    formulas = list(_LATEX.finditer(value))
    if formulas and (len(formulas) == 1 or formulas[-1].end() >= len(value.rstrip(".! "))):
        return _inside(formulas[-1])
    return _OPENS.sub("", value).rstrip(".!。！ ")


def _inside(formula: re.Match[str]) -> str:
    return "".join(filter(None, formula.groups())).strip()
