"""The patterns by which a letter is found after and before the words of an answer."""

import re
from collections.abc import Sequence

from . import words
from .letters import ARABIC, LOOKALIKES

SPACELESS = re.compile("[\u0590-\u06ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
UNSPACED = re.compile(f"[{_UNSPACED}]")
_INDIC = "[\u0900-\u0dff]"
"""Letters of India with their vowel signs, which are not letters to `re`."""
CAPITALS = "A-J" + "".join(LOOKALIKES) + "".join(ARABIC)
LETTER = f"[{CAPITALS}a-j]"
OPEN = r"""[\s_(\[{"'“”„«‘’「『【《<〈\\]{0,8}"""
CLOSE = r"""(?:[)\]}"”»」』】》>〉]|_(?!\w)|_(?=_)){0,8}"""


def any_of(phrases: Sequence[str]) -> str:
    """A pattern for any of the phrases, the longest first; whole words where the script has spaces between them."""
    alternatives = {False: "", True: ""}
    for spaceless in alternatives:
        group = sorted((p for p in phrases if bool(SPACELESS.search(p)) == spaceless), key=len, reverse=True)
        alternatives[spaceless] = "|".join(_spelled(phrase) for phrase in group)
    parts = [f"(?<!\\w)(?:{alternatives[False]})(?!\\w)" if alternatives[False] else "", alternatives[True]]
    return "(?i:" + "|".join(part for part in parts if part) + ")"


def _spelled(phrase: str) -> str:
    """A pattern for one phrase; a word of one letter, such as a small "a", is not a capital."""
    return f"(?-i:{phrase})" if len(phrase) == 1 else r"\s{1,3}".join(map(re.escape, phrase.split()))


FILLED = rf"(?:[\s:,\-–—.(\[\"'“‘]{{0,4}}{any_of(words.FILLERS)}){{0,5}}"
FILLED_TOO = rf"(?:[\s:,.(\[\"'“‘]{{0,4}}{any_of((*words.FOREIGN_FILLERS, *words.FILLERS))}){{0,4}}"
MARKS = r"(?::|=>|⇒|→|➡|->|=|[-–—](?=\s))"
WORD = r"(?![A-J]\b)[^\W\d_][\w'’-]{0,20}"
I_FIND = (
    r"(?:(?i:that)\s)?I\s(?:(?:would|will|have|finally|thus|therefore)\s){0,2}(?:arrived?\sat|get|got|f(?:i|ou)nd|obtain(?:ed)?"
    r"|reach(?:ed)?|derived?|choose|select|pick|give|settled?\son|come\sto|came\sto|believe)(?!\w)"
)
KEY = r"""(?:_\w{1,12})?["'”’)\]】」』》]{0,2}"""
FORWARD = re.compile(
    rf"{KEY}(?:\s?\([^()\n]{{1,60}}\))?"
    r"(?:\s{1,2}(?i:to|for|of|in)\s{1,2}(?i:the\s{1,2})?(?i:question|problem|exercise|part|item|q)\s{0,2}#?\d{1,3}(?=[\s:]))?"
    rf"(?P<slot>(?:(?:[\s,]{{1,3}}{I_FIND})?(?:[\s,]{{1,3}}{WORD}){{0,11}}?[\s,]{{0,3}}(?:{MARKS}|['’]s(?=\s)|{any_of(words.COPULAS)})|[^\S\n]{{0,3}}[:.]?\n"
    rf"\s{{0,4}}){FILLED})(?:[\s:,…]|\.{{3}}){{0,6}}(?P<open>{OPEN})(?P<letter>{LETTER})"
)
FORWARD_TOO = re.compile(
    rf"{KEY}(?P<slot>(?:[^\n.!?:A-J]{{0,40}}?(?:{MARKS}|{any_of(words.FOREIGN_COPULAS)})|\s{{0,3}}){FILLED_TOO})"
    rf"[\s:,]{{0,6}}(?P<open>{OPEN})(?P<letter>{LETTER})"
)
REFUSED = re.compile(
    rf"{KEY}(?:[\s,]{{1,3}}{WORD}){{0,6}}?[\s,]{{1,3}}(?i:is\s+not|isn['’]t|cannot\s+be|can\s*not\s+be|can['’]t\s+be|not|never"
    rf"|wasn['’]t|won['’]t\s+be|neither){FILLED}[\s:,]{{0,4}}(?P<open>{OPEN})(?P<letter>{LETTER})"
)
VERB = re.compile(rf"(?P<slot>{FILLED_TOO})[\s:,]{{0,4}}(?P<open>{OPEN})(?P<letter>{LETTER})")
ADVERBS = any_of(words.ADVERBS)
ADVERBS = rf"(?:{ADVERBS}\s+){{0,5}}"
AHEAD = (
    rf"(?:(?<![\w.'’-])|(?<=[{_UNSPACED}])(?<![不非と和与或及角点點図表]))"
    rf"(?P<letter>{LETTER})(?![A-Za-z0-9À-ɏЀ-ӿ])(?P<close>{CLOSE})(?:\s?\([^()\n]{{1,60}}\))?[\s,]{{0,3}}"
)
AHEAD_TOO = AHEAD.replace("(?P<close>", r"(?:['’](?:y?[iıuü]|ni|nin)(?=\s))?(?P<close>")
REVERSE = re.compile(
    rf"{AHEAD}(?P<is>(?i:is|seems\s+to\s+be|appears\s+to\s+be|must\s+be|has\s+to\s+be|should\s+be|would\s+be|remains|are|were|was|as|['’]s))\s+"
    rf"(?i:{ADVERBS})(?P<tail>(?i:answer|choice|option|correct|right|true|best|valid|solution|one)"
    rf"|(?<=most\s)(?i:{'|'.join(words.SUPERLATIVES)}))(?![\w-])"
)
WRONG = re.compile(
    rf"{AHEAD}(?i:is\s+not|isn['’]t|cannot\s+be|can['’]t\s+be|was\s+not|is|must\s+be)\s+(?i:{ADVERBS})"
    r"(?P<tail>(?i:answer|choice|option|correct|right|true|best|valid|wrong|incorrect|false|invalid|ruled\s+out|eliminated))"
)
IS_TOO = re.compile(any_of([word for word in words.FOREIGN_COPULAS if word not in ("a", "e", "az", "da")]))
REVERSE_TOO = re.compile(
    rf"{AHEAD_TOO}(?P<slot>(?:(?:[^\W\d_A-Z]|{_INDIC}){{1,18}}[\s,]{{0,3}}|[-–—]\s){{0,4}}?){any_of(words.CORRECT)}"
)
NOT = re.compile(rf"{any_of(words.NEGATIONS)}|(?i:n['’]t)\b")
DENIED = re.compile(
    r"\s{0,2}(?:が|は|では|じゃ|가|이|는|은|지)?\s{0,2}(?:않|ない|なく|ありません|아니|아닙|değil|नहीं|নয়|نیست|نہیں|இல்லை|அல்ல|కాదు|അല്ല|ಅಲ್ಲ|નથી|ਨਹੀਂ|नाही|নয়|না(?!\w)|емес|эмес|биш|emas|deyil|không\s+đúng|不对|不對|不正确)"
)
BEFORE = re.compile(
    rf"(?:错误|錯誤|不正确|誤った|틀린)的?\s{{0,2}}$|ไม่ใช่\s{{0,2}}$|{any_of(words.BEFORE_WRONG)}[^\S\n]{{1,3}}(?:\w{{1,12}}[^\S\n]{{1,3}})?$"
)
SUPPOSED = re.compile(
    r"(?i:\b(?:iff?|whether|let['’]s\s+say|suppose|supposing|assume|assuming|unless|imagine)\b)[^,.;!?\n]{0,24}$"
    r"|(?i:\b(?:example|e\.g\.|format|form|like|template)(?!\w))[^.;!?\n]{0,24}$"
)
JOIN = (
    rf"(?:[^\S\n]*[,;/&+|]\s*{any_of(words.CONJUNCTIONS)}?|[^\S\n]*{any_of(words.CONJUNCTIONS)}|\.\s{{1,2}}Or\b)"
    r"(?:\s{1,2}(?i:also|perhaps|maybe)\b)?(?:\s{1,2}(?i:my|the)\s{1,2}(?i:backup|second|other|alternative|next)"
    r"(?:\s{1,2}(?i:choice|answer|guess|option|pick))?\s{1,2}(?i:is|would\s+be))?"
)
LISTED = re.compile(
    rf"{JOIN}\s{{0,3}}(?i:(?:both|either|possibly|perhaps|maybe|even|option|choice|answer|letter|alternativ\w?|the)\s{{1,2}}){{0,3}}"
    rf"{OPEN}(?P<letter>{LETTER})(?P<close>{CLOSE})(?![A-Za-z0-9_À-ɏЀ-ӿ=^°])(?!['’](?![dt][iıuü]r\b))"
)
BESIDE = re.compile(
    rf"(?:[^\S\n]{{1,3}}|(?<=[)\]])){OPEN}(?P<letter>[A-J])(?P<close>{CLOSE})(?=\s*(?:$|[\n,;)]|\.(?!\s?[a-z])|[A-J]\b))"
)
VERBAL = re.compile(
    r"\s{1,3}(?i:is|are|was|were|being|would|could|can|cannot|can['’]t|does|doesn['’]t|do|did|has|have|had|fails?|gives?|seems?"
    r"|isn['’]t|looks?|might|may|should|must|contradicts?|violates?|ist|est|es|è|é|jest|не|является|ignores?|leads?|yields?)\b"
)
MANNER = re.compile(
    r"\s(?i:(?:on|for)\sthis\s(?:one|question)|this\stime|as\s(?:my|the)\s(?:final\s|best\s)?(?:answer|choice))(?=\s*(?:[.!]\s|[.!]?\s*$|\n))"
)
"""Text after a chosen letter: "on this one"."""
APART = re.compile(rf";\s{{1,2}}\(?[A-J]\)?(?:,\s\(?[A-J]\)?){{0,8}},?\s(?:and|or)\s\(?[A-J]\)?{VERBAL.pattern}")
"""Text after a letter: a clause of its own about others, as in "; A and B are wrong"."""
CLOSING = re.compile(CLOSE)
CONTINUED = re.compile(
    # a formula, an abbreviation, a question
    r"['’?_^°#%\\]|\.\s?[A-Z]\.\s?[A-Z]|\([a-z]\)|\((?:[a-z]|\d{1,3}),\s?(?:[a-z]|\d{1,3})\)|\+[+),.\d]|[-–][^\W\d_]|[-–]\d|/\w|[♯♭]"
    rf"|\.(?![{_UNSPACED}])[^\W\d_]"
    r"| {0,20}[=<>×→+^≈≤≥∝·∈∪∩∧∨⊂⊆⊕?\\]"
    r"|(?<=([A-J])),?\swhere\s\1\s(?:is|denotes)\b"
)
OPTION_FORMULA = re.compile(
    r" {0,20}\\(?:[dtc]?frac|sqrt|pi|log|ln|sin|cos|tan|infty|angle|overline|vec|hat)(?![A-Za-z])"
)
"""Text after a letter in parentheses: the formula that is its option's text."""
ENDS = re.compile(r"\s*\Z")
SUFFIX = re.compile(r"['’](?:[dt][iıuü]r|s[iıuü]|[yn]?[iıuü]|e|ye|de|da)\b")
NEXT_WORD = re.compile(r"[^\S\n]{1,3}([^\W\d_]+)")
SPECIES = re.compile(r"\.\s?([a-z]{4,})")
DIGITS = re.compile(r"[^\S\n]{1,3}\d")
BINOMIALS = frozenset(
    [
        "aegypti",
        "albicans",
        "anthracis",
        "aureus",
        "botulinum",
        "burgdorferi",
        "carolinensis",
        "cerevisiae",
        "cereus",
        "coli",
        "cholerae",
        "diff",
        "difficile",
        "diphtheriae",
        "discoideum",
        "elegans",
        "faecalis",
        "fragilis",
        "fumigatus",
        "funestus",
        "gallus",
        "gambiae",
        "gonorrhoeae",
        "henselae",
        "histolytica",
        "immitis",
        "influenzae",
        "jejuni",
        "lamblia",
        "meningitidis",
        "melanogaster",
        "musculus",
        "neoformans",
        "perfringens",
        "pertussis",
        "pneumoniae",
        "pylori",
        "rerio",
        "sapiens",
        "simulans",
        "subtilis",
        "tetani",
        "thaliana",
        "thermophilus",
        "trachomatis",
        "tuberculosis",
        "vaginalis",
    ]
)


ENDED = re.compile(r"\s*(?:$|[.!。]?\s*(?:\n|$)|[.!。]\s)")
CONCLUDED = re.compile(
    rf"[\s,:]{{0,3}}(?i:(?:it(?:['’]s|\s+is|\s+must\s+be)|probably|likely|definitely|clearly|we\s+get|we\s+have|the|option|choice|answer|letter)\s+){{0,3}}(?P<open>{OPEN})"
    rf"(?P<letter>[{CAPITALS}])(?P<close>{CLOSE})"
)


OPTION = re.compile(
    rf"(?i:option|choice|letter|answer)\s{{1,2}}(?P<open>{OPEN})(?P<letter>[{CAPITALS}])(?P<close>{CLOSE})"
)
LEADS = re.compile(
    r"(?i)(?:correspond\w*\s+to|match\w*(?:\s+with)?|matching|equal\w*(?:\s+to)?|is|,|namely|i\.e\.,?|(?:must|has\s+to)\s+be|giv(?:es|ing)|leads?\s+to|leading\s+to"
    r"|points?\s+to|agrees?\s+with|supports?|consistent\s+with|closest\s+to|select|mark|with|given\s+by|identical\s+to)"
    r"\s*(?:the\s+)?(?:correct\s+)?(?:answer\s+)?$"
)


JOINED = re.compile(
    rf"(?<!\w)({LETTER}){CLOSE}\s*(?:[/&+,]|{any_of(words.CONJUNCTIONS)}){{1,2}}\s*"
    rf"(?:(?i:option|choice|answer)\s{{1,3}})?{OPEN}$"
)
NAMED = re.compile(
    r"(?i:angle|point|vitamin|plan|vertex|hepatitis|segment|appendix|figure|table|section|chapter|room|team|grade|side|line"
    r"|type|group|class|figure|fig\.|part|item|column|row|with|person|company|firm|country|reaction|matrix|event|claim"
    r"|hypothesis|drug|sample|set|player|equation|compound|molecule|substance|machine|patient|subject|child|gene|allele"
    r"|enzyme|species|theorem|lemma|premise|vector|circuit|resistor|object|city|planet|student|product|stock)\s{1,3}[(\[]?$"
)
CLAUSE = re.compile(r"[.!?,;\n]")
INSTEAD = re.compile(
    rf"[\s,;:—–-]{{0,3}}(?i:but|rather|instead|it['’]s|it\s+is|而是|sondern|sino|mais|mas|ma|а)\s{{0,3}}"
    rf"(?i:(?:rather|is|option|choice|it\s+is)\s{{1,3}}){{0,2}}(?P<open>{OPEN})(?P<letter>{LETTER})"
)
ASKED = re.compile(r"(?i)\b(?:why|is|are|was|neither|nor|not|only|n't)\s[\s\"'(\[]{0,3}$|(?:不是|并非|並非)\s{0,2}$")
RULED_OUT = re.compile(r"(?i)cannot|can['’]t|invalid|rul\w{1,4} out|elimin|exclud|if\b|whether|between")
SENTENCE = re.compile(r"[.!?](?=\s)|\n")
MARKER = re.compile(
    r"^[^\S\n]*(?:[-•*–>]\s{1,3})?[(\[]?(?P<letter>[A-Ja-j])(?:(?:[.):\]]{1,2}|[^\S\n][-–—])[^\S\n]+\S"
    rf"|[.,:)\]]{{1,2}}[{_UNSPACED}])",
    re.MULTILINE,
)
"""A line that is an option of a list."""
