"""Take styles, spacing and layout off a LaTeX answer: fonts, colours, sizes, boxes, phantoms, alignment.

One pass over the tokens with a stack of open groups, so that styles may be nested, half-braced (`\\bf 29`) or set in
the middle of a formula. Units and words keep their `\\text{...}`; matrices and cases keep their rows and cells.
"""

import re
from typing import NamedTuple


def _names(commands: str) -> frozenset[str]:
    return frozenset(re.findall(r"\S+", commands))


_TOKEN = re.compile(r"\\(?:[a-zA-Z]+\*?|.)|[{}&]|[^\\{}&]+|\\", re.DOTALL)
_MATH_FONTS = _names(
    "mathbf boldsymbol bold bm pmb mathsf mathit mathtt mathnormal symbf symit mathop mathord mathbin mathrel "
    "mathinner ensuremath boxed fbox framebox underline uline smash displaystyle textstyle large Large "
    "LARGE huge Huge small normalsize rlap llap mathrlap mathllap"
)
_TEXT_FONTS = _names("textbf textit textsf texttt emph textsl textsc textmd strong")
_UPRIGHT = _names("text textrm textnormal textup mathrm mbox hbox rm bf it")
_LETTER_FONTS = _names("mathcal mathfrak mathscr mathbb")
_SWITCHES = _names(
    "displaystyle textstyle scriptstyle scriptscriptstyle bf rm it sf tt sl em bfseries itshape rmfamily "
    "sffamily ttfamily upshape mdseries normalfont boldmath unboldmath large Large LARGE huge Huge small "
    "footnotesize scriptsize tiny normalsize centering noindent nonumber notag limits nolimits "
    "displaylimits mathstrut strut relax null allowbreak nobreak"
)
_SPACES = _names(
    "quad qquad enspace enskip thinspace medspace thickspace nobreakspace hfill hfil hspace hspace* "
    "vspace vspace* space newline hskip kern mkern mskip mspace"
) | {*",;:> \n\t"}
_NOTHING = _names("! / negthinspace negmedspace negthickspace")
_DROPPED = _names("phantom hphantom vphantom tag tag* label footnote")
_FIRST_DROPPED = _names(
    "textcolor colorbox fcolorbox scalebox resizebox raisebox href class style cssId bbox htmlClass "
    "overset stackrel rotatebox makebox parbox"
)
_SIZES = re.compile(r"(?:left|right|middle|[bB]igg?[lrm]?)\Z")
_ARGUMENT = re.compile(r"\s*(?:\*?\s*\[[^\]]*\]\s*)?\{[^{}]*\}")
_OPTIONAL = re.compile(r"\s*\[[^\]]*\]")
_LENGTH = re.compile(r"\s*-?[\d.]+\s*(?:pt|em|ex|mu|mm|cm|in)\b")
_TABULAR = re.compile(r"(?:[bpvBVsmall]*matrix\*?|array|cases|rcases|dcases|tabular)\Z")
_OPTION = re.compile(r"(?!\s*[A-J]\s*\Z)\W*(?:(?:option|choice|answer)\b\W*)?[A-J]?\W+[A-J]?\W*\Z", re.IGNORECASE)
_LINE = "\x00"
"""Line end: a character that is not in any text by then and is not white space, so that patterns match it one way."""
_CONTINUED = re.compile(r"(?<!\s)\s*\x00\s*(?=[=<>+-]|\\(?:approx|le|ge|ne|equiv|cdot|times)(?![a-zA-Z]))")

_LINES = re.compile(r"(?:(?<![\s,;.])[\s,;.]*+\x00)+\s*")


_PLAIN_TEX = re.compile(r"\\(p?)matrix\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
"""A matrix in the notation of plain TeX, `\\pmatrix{1&2\\cr3&4}`."""


class _Group(NamedTuple):
    kind: str
    start: int


def undress(text: str) -> str:
    """A LaTeX text without styles; spacing commands become blanks, aligned lines a chain or a list."""
    text = _PLAIN_TEX.sub(r"\\begin{\1matrix}\2\\end{\1matrix}", text)
    text = re.sub(r"(\\\\|\\cr)\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]", r"\1", text)
    if not re.search(r"\\|[{}&~`]", text):
        return text
    undressed = _Undresser(text.replace("~", " ").replace("`", "")).run()
    undressed = _CONTINUED.sub(" ", undressed)
    undressed = _LINES.sub(", ", undressed.strip(f"{_LINE} "))
    return unbraced(undressed.strip())


def unbraced(text: str) -> str:
    """The text without braces (no `\\{`) that enclose the whole of it."""
    closed: dict[int, int] = {}  # where each brace is closed
    opened: list[int] = []
    if not (text.startswith("{") and text.endswith("}")):
        return text
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            closed[opened.pop()] = brace.start()
    start, end = 0, len(text)
    while end - start > 1 and closed.get(start) == end - 1 and text[end - 2] != "\\":
        start, end = start + 1, end - 1
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
    return text[start:end]


class _Undresser:
    """The state of the pass: what was put out, which groups are open, and in which environments we are."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.out: list[str] = []
        self.groups: list[_Group] = []
        self.environments: list[bool] = []  # whether each open environment has cells

    def run(self) -> str:
        while match := _TOKEN.match(self.text, self.position):
            self.position = match.end()
            token = match[0]
            if token == "{":
                self._open("{")
            elif token == "}":
                self._close()
            elif token == "&":
                self.out.append("&" if any(self.environments) else "")
            elif token[0] == "\\" and len(token) > 1:
                self._command(token, token[1:])
            else:
                self.out.append(token)
        while self.groups:  # braces that are never closed stay as they were
            group = self.groups.pop()
            if group.kind != "{":
                self.out.insert(group.start, "{")
        return "".join(self.out)

    def _open(self, kind: str) -> None:
        self.groups.append(_Group(kind, len(self.out)))
        if kind == "{":
            self.out.append("{")

    def _command(self, token: str, name: str) -> None:
        if name in ("begin", "end"):
            self._environment(name)
        elif name in ("\\", "cr"):
            self.out.append(r"\\" if any(self.environments) else _LINE)
        elif name in _DROPPED and self._opens():
            self._open("drop")
        elif name in _FIRST_DROPPED:
            for _ in range(2 if name in ("fcolorbox", "resizebox") else 1):
                self._skip(_OPTIONAL if name == "bbox" else _ARGUMENT)
            if self._opens():
                self._open("text" if "color" in name else "math")
        elif name == "color":
            self._skip(_ARGUMENT)
            self._switch()
        elif name in _UPRIGHT | _TEXT_FONTS | _LETTER_FONTS | _MATH_FONTS and self._opens():
            self._open(name if name in _UPRIGHT | _LETTER_FONTS else "text" if name in _TEXT_FONTS else "math")
        elif name in _SWITCHES | _MATH_FONTS | _TEXT_FONTS:
            self._switch()
        elif _SIZES.match(name):
            self._skip(re.compile(r"\s*\.?" if name in ("left", "right", "middle") else r"\s*"))
        elif name in _SPACES:
            self._skip(_ARGUMENT if name.startswith(("hspace", "vspace", "mspace")) else _LENGTH)
            self.out.append(" ")
        elif name in _NOTHING:
            self._skip(re.compile(r"\s*"))
        else:
            self.out.append(token)

    def _environment(self, name: str) -> None:
        argument = _ARGUMENT.match(self.text, self.position)
        environment = argument[0].strip("{} \n\t") if argument else ""
        tabular = bool(_TABULAR.match(environment))
        if name == "begin":
            self.environments.append(tabular)
        elif self.environments:
            self.environments.pop()
        if argument:
            self.position = argument.end()
        if tabular:
            self.out.append(f"\\{name}{{{environment}}}")
            if name == "begin" and environment in ("array", "tabular"):
                self._skip(_OPTIONAL)
                self._skip(_ARGUMENT)
        elif environment.startswith("alignat") and name == "begin":
            self._skip(_ARGUMENT)

    def _opens(self) -> bool:
        """Whether an argument in braces follows; its brace is then taken."""
        opened = re.compile(r"\s*\{").match(self.text, self.position)
        self.position = opened.end() if opened else self.position
        return bool(opened)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        skipped = pattern.match(self.text, self.position)
        self.position = skipped.end() if skipped else self.position

    def _switch(self) -> None:
        """A style for the rest of its group: the group's braces are then dress, too."""
        self._skip(re.compile(r"\s*"))
        if self.groups and self.groups[-1] == _Group("{", len(self.out) - 1):
            self.groups[-1] = _Group("math", len(self.out) - 1)
            self.out.pop()
        elif self.out and self.out[-1][-1:].isalpha():
            self.out.append(" ")

    def _close(self) -> None:
        if not self.groups:
            self.out.append("}")
            return
        group = self.groups.pop()
        if group.kind == "{":
            self.out.append("}")
            return
        content = "".join(self.out[group.start :])
        del self.out[group.start :]
        if group.kind != "drop":
            self._put(_content(group.kind, content))

    def _put(self, content: str) -> None:
        if content.startswith(("\\text{", "\\math")) or not content.strip():
            self.out.append(content)
            return
        before = self.out[-1] if self.out else ""
        after = self.text[self.position : self.position + 1]
        bare = content.strip()
        script, command = before[-1:] in ("^", "_"), re.match(r"\\[a-zA-Z]+\Z", before)
        if script or (len(bare) > 1 and (after in ("^", "_") or command)):
            content = f"{{{bare}}}"
        elif before[-1:].isalpha() and content[0].isalpha():
            content = f" {content}"
        self.out.append(content)


def _content(kind: str, content: str) -> str:
    """The content of a style command, with `\\text` around words and units, which are not products of letters."""
    letters = re.sub(r"\\[a-zA-Z]+", "", content)
    if kind in _LETTER_FONTS:
        return content if re.search(r"\d", content) else f"\\{kind}{{{content}}}"
    if kind in _UPRIGHT:
        plain = (
            re.match(r"[^A-Za-zÅΩμ°]*\d|.*=", letters) or not re.search(r"[^\W\d_]", letters) or _OPTION.match(letters)
        )
        if kind == "mathrm":
            return content if plain or content in ("e", "i", "d") else f"\\mathrm{{{content}}}"
        return content if plain or re.search(r"\\[a-zA-Z]", content) else f"\\text{{{content}}}"
    if kind == "text" and not re.search(r"[\d\\]", content) and re.search(r"[^\W\d_]{2}", letters):
        return f"\\text{{{content}}}"
    return content
