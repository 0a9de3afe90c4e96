"""Answers stated in words ("the answer is", "答案：", "Die Antwort lautet"), in the languages models write."""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Language(NamedTuple):
    """Nouns for the answer, what links them to the value, and the words that deny or only suppose it."""

    nouns: str
    links: str
    denied: str
    supposed: str
    direct: bool = False
    """Whether the value may follow the noun without a link, as where "is" is not written."""


LANGUAGES = {
    "English": Language(
        "answer|ans|result|solution",
        "is|are|was|equals|becomes|must (?:be|equal)|should (?:be|equal)|would be|will be|has to be|turns out to be"
        "|(?:comes|came|works) out (?:to(?: be)?|as)|evaluates to|simplifies to",
        r"not|never|neither|n['’]t|unlikely|wrong|incorrect|unknown|unclear|impossible to",
        "if|whether|suppose|supposing|assume|assuming|unless|imagine|guess",
    ),
    "German": Language(
        "antwort|endantwort|schlussantwort|lösung|ergebnis|endergebnis|resultat",
        "ist|lautet|sind|lauten|beträgt|wäre|ergibt",
        "nicht|kein|keine|nie|falsch",
        "wenn|falls|ob|angenommen",
        direct=True,
    ),
    "French": Language(
        "réponse|reponse|résultat|resultat|solution",
        "est|sont|vaut|valent|sera|égale|donne",
        "pas|jamais|fausse|incorrecte",
        "si|supposons",
    ),
    "Spanish": Language(
        "respuesta|respuestas|resultado|solución|solucion|soluciones",
        "es|son|sería|será|vale|queda",
        "no|nunca|falsa|incorrecta",
        "si|supongamos",
    ),
    "Portuguese": Language(
        "resposta|respostas|resultado|solução", "é|são|e|será|seria|vale", "não|nao|nunca|errada", "se|suponha"
    ),
    "Italian": Language("risposta|risultato|soluzione", "è|e'|é|sono|vale|sarà", "non|mai|sbagliata", "se|supponiamo"),
    "Catalan": Language("resultat|resposta", "és|són", "no", "si"),
    "Dutch": Language(
        "antwoord|eindantwoord|uitkomst|oplossing", "is|luidt|zijn|bedraagt", "niet|geen", "als|indien|of"
    ),
    "Swedish, Danish, Norwegian": Language(
        "svar|svaret|slutsvar|svaren|resultatet|lösningen|løsningen|facit",
        "är|er|blir|bliver|lyder",
        "inte|ej|ikke|ikkje",
        "om|hvis|dersom",
    ),
    "Finnish, Estonian": Language("vastaus|lopullinen vastaus|tulos|vastus", "on", "ei", "jos|kui"),
    "Icelandic": Language("svarið", "er", "ekki", "ef"),
    "Polish": Language(
        "odpowiedź|odpowiedz|odpowiedzią|wynik|wynikiem|rozwiązanie|rozwiązaniem",
        "to|jest|wynosi|brzmi|są",
        "nie",
        "jeśli|jeżeli|gdyby|czy",
    ),
    "Czech, Slovak": Language(
        "odpověď|odpověd|odpoveď|výsledek|výsledok|výsledkem|řešení|riešenie",
        "je|zní|znie|jsou",
        "není|nie|ne",
        "pokud|ak|jestli",
    ),
    "Hungarian": Language("válasz|végeredmény|eredmény|megoldás", "az|tehát|így|egyenlő", "nem", "ha", direct=True),
    "Romanian": Language("răspuns|răspunsul|raspuns|raspunsul|rezultat|rezultatul", "este|e|sunt", "nu", "dacă"),
    "Turkish": Language(
        "cevap|cevabı|cevabımız|yanıt|yanıtı|sonuç", "şudur|şu", "(?:değil|degil)(?:dir|di|se)?", "eğer", direct=True
    ),
    "Azerbaijani": Language("cavab", "budur", "deyil", "əgər", direct=True),
    "Russian": Language(
        "ответ|ответом|результат|решение",
        "равен|равно|равна|это|есть|составляет|будет|является|—|–|-",
        "не",
        "если|пусть",
        direct=True,
    ),
    "Ukrainian": Language("відповідь|відповіддю|результат", "дорівнює|є|це|—|–|-", "не", "якщо", direct=True),
    "Bulgarian": Language("отговор|отговорът|отговора", "е|са", "не", "ако"),
    "Serbian, Croatian, Slovene": Language(
        "odgovor|rješenje|rešenje|rezultat|одговор|решење|резултат", "je|su|glasi|је|су", "nije|ni|није", "ako|ако|če"
    ),
    "Lithuanian, Latvian": Language("atsakymas|atbilde", "yra|ir", "nėra|nav", "jei|ja", direct=True),
    "Greek": Language("απάντηση|αποτέλεσμα|λύση", "είναι|ισούται με", "δεν", "αν|εάν"),
    "Arabic": Language(
        "الإجابة|الاجابة|الجواب|الناتج|النتيجة|إجابة|جواب",
        "هو|هي|تساوي|يساوي",
        "ليس|ليست|لا|غير",
        "إذا|لو",
        direct=True,
    ),
    "Hebrew": Language("התשובה|תשובה|התוצאה", "היא|הוא|הינה|שווה ל", "לא|אינה|אינו|איננה", "אם", direct=True),
    "Persian, Urdu": Language("پاسخ|جواب|نتیجه", "برابر|برابر با|ہے|است|عبارت است از", "نیست|نہیں", "اگر", direct=True),
    "Hindi, Marathi": Language("उत्तर|जवाब|परिणाम", "है|हैं|आहे|होगा", "नहीं|नाही", "यदि|अगर|जर", direct=True),
    "Bengali": Language("উত্তর|ফলাফল", "হল|হলো|হচ্ছে|হবে", "নয়|নয়|না", "যদি", direct=True),
    "Tamil, Telugu": Language("பதில்|விடை|సమాధానం|జవాబు", "ஆகும்", "இல்லை|அல்ல|కాదు", "என்றால்", direct=True),
    "Thai": Language("คำตอบ|ผลลัพธ์", "คือ|เท่ากับ|เป็น", "ไม่", "ถ้า|หาก", direct=True),
    "Vietnamese": Language("đáp án|đáp số|câu trả lời|kết quả", "là|bằng", "không", "nếu"),
    "Indonesian, Malay": Language(
        "jawaban|jawabannya|jawapan|jawapannya",
        "adalah|ialah|yaitu|yakni",
        "bukan|bukanlah|tidak",
        "jika|apabila|kalau",
    ),
    "Filipino": Language("sagot", "ay", "hindi", "kung"),
    "Swahili": Language("jibu", "ni", "si|sio", "kama|ikiwa"),
    "Chinese": Language(
        "答案|最终结果|最終結果|最后结果|结果|結果|答",
        "就?(?:应该?|應該?)?(?:是|为|為)|等于|等於|即为?|为",
        "不|并非|非|错|錯",
        "如果|若|假设|假設|假如|是否|要是",
        direct=True,
    ),
    "Japanese": Language(
        "答え|こたえ|解答|正解|最終解|答", "は|が", "ではない|でない|ではありません|じゃない", "もし|なら", direct=True
    ),
    "Korean": Language(
        "정답|해답|최종 답|답안|답", "은|는|이|가", "아니|아닙|않|이면|라면", "만약|만일|라면", direct=True
    ),
}
_WEAK_WORDS = (
    "result lösung ergebnis resultat résultat solution resultado solución solucion soluciones solução risultato"
    " soluzione oplossing uitkomst resultatet lösningen løsningen tulos wynik wynikiem rozwiązanie rozwiązaniem"
    " výsledek výsledok řešení riešenie eredmény megoldás rezultat rezultatul sonuç результат решение αποτέλεσμα λύση"
    " الناتج النتيجة התוצאה نتیجه परिणाम ফলাফল ผลลัพธ์ rješenje rešenje 结果 結果 答"
)
_WEAK = {*_WEAK_WORDS.split(), "kết quả"}
"""Nouns that are as often about a step: they state the answer in the last lines alone, and with a value behind them."""
NOUNS = frozenset(noun for language in LANGUAGES.values() for noun in language.nouns.split("|") if noun not in _WEAK)
_END_OF_TEXT = 400
_MOST_TRIED = 2_000
_MIDDLE = r"(?:\s+[^\W\d]{1,20}){0,3}?"
_ENGLISH_MIDDLE = (
    r"(?:\s+to\b[^.\n]{0,80}?"
    r"|,?\s+(?:therefore|thus|then|here|hence|so|indeed|we (?:seek|want|need|get|are looking for)|you (?:seek|want)"
    r"|(?:for|in|of)\b[^.,\n=]{0,60}?),?)?"
)
_COLON = r"[ \t*_`”\")）】\]]*+(?:[:：=＝]|=>|→)"
_UNSPACED = {"Chinese", "Japanese", "Korean", "Thai"}
_VALUE = r"(?=[*_`]*[-+−]?(?:[\d$√π]|\\[(\[a-z]|[a-z]\s?=))"
_HEADING = re.compile(r"(?:[ \t]+[^\W\d]{1,15}){0,2}[ \t]*[*_#:：\])】」]*[ \t]*\r?\n(?:[ \t]*[-=*_]{3,}[ \t]*\r?\n)?")


class Stated(NamedTuple):
    """The start of a statement's value, and whether the noun is on a line of its own above it."""

    start: int
    language: Language
    weak: bool
    heading: bool


def _anchor(name: str, language: Language) -> re.Pattern[str]:
    """The text between the noun and the value; matched right after the noun."""
    if name == "English":
        return re.compile(
            rf"{_ENGLISH_MIDDLE}[\s*]*+(?:{language.links})\b(?!['’]t)|(?:\s+(?:to|for)\b[^.,\n=$]{{0,60}}?)?\.?[\s*]*+[:：=]|{_COLON}"
            rf"|(?:(?<=\nans)|(?<=\Aans))\.[ \t]+{_VALUE}"
        )
    gap = _MIDDLE + r"\s+"
    if name in _UNSPACED:
        gap = r"[ก-๛]{0,12}?\s*" if name == "Thai" else r"\s*"
    end = "" if name in _UNSPACED else r"(?!\w)"
    direct = rf"|[\s*】\]]+{_VALUE}|{_VALUE}" if language.direct else ""
    suffix = r"(?:[\w’']{0,4})" if name in ("Hungarian", "Turkish") else ""
    middle = "" if name in _UNSPACED else _MIDDLE
    return re.compile(rf"{suffix}(?:{middle}{_COLON}|{gap}(?:{language.links}){end}{direct})")


_ANCHORS = {name: _anchor(name, language) for name, language in LANGUAGES.items()}
_DENIED = {
    name: re.compile(language.denied if name in _UNSPACED else rf"(?<!\w)(?:{language.denied})(?!\w)")
    for name, language in LANGUAGES.items()
}
_SUPPOSED = {
    name: re.compile(
        rf"(?:{language.supposed})\w{{0,6}}\Z" if name in _UNSPACED
        else rf"(?<!\w)(?:{language.supposed})(?:\s+[\w’']+){{0,3}}\s*\Z"
    )
    for name, language in LANGUAGES.items()
}  # fmt: skip
_BEFORE = re.compile(r"[^\W\d_]\Z")
_UNIQUE: dict[str, list[str]] = {}
for _name, _language in LANGUAGES.items():
    for _noun in _language.nouns.split("|"):
        _UNIQUE.setdefault(_noun, []).append(_name)


def statements(text: str) -> Iterator[Stated]:
    """The places where an answer is stated, the last first; denied and supposed ones are left out."""
    low = text.replace("\u0130", "i").lower()  # the only letter whose small form is longer
    places: list[tuple[int, int, str]] = []
    for noun in _UNIQUE:
        end, tried = len(low), 0
        while tried < _MOST_TRIED and (at := low.rfind(noun, 0, end)) >= 0:
            places.append((at, at + len(noun), noun))
            end, tried = at, tried + 1
    for start, end, noun in sorted(places, reverse=True):
        for name in _UNIQUE[noun]:
            if stated := _statement(low, start, end, noun, name):
                yield stated


def _statement(low: str, start: int, end: int, noun: str, name: str) -> Stated | None:  # noqa: PLR0911 - a rule, a return
    if name not in _UNSPACED and _BEFORE.search(low, max(0, start - 1), start):
        return None
    weak = noun in _WEAK
    before = low[max(0, start - 60) : start]
    if _SUPPOSED[name].search(re.split(r"[.,!?;:。，！？\n]", before)[-1]):
        return None
    heading = _HEADING.match(low, end, end + 120)
    if heading and _is_heading(low, start):
        return Stated(heading.end(), LANGUAGES[name], weak, True)
    link = _ANCHORS[name].match(low, end, end + 120)
    if link is None or _DENIED[name].search(link[0]):
        return None
    if _DENIED[name].match(low[link.end() : link.end() + 16].lstrip(" *_:")):
        return None
    if weak and (
        len(low) - end > _END_OF_TEXT or not re.match(rf"[\s*_:：]*{_VALUE}", low[link.end() : link.end() + 40])
    ):
        return None
    return Stated(link.end(), LANGUAGES[name], weak, False)


def _is_heading(low: str, start: int) -> bool:
    """Whether a line up to the noun is a heading: marked as one, or at most an adjective."""
    line = low[max(0, start - 60) : start].rpartition("\n")[2].strip()
    words = re.sub(r"[#*_\d.)【「\[]", " ", line).split()
    return len(words) <= 3 if line[:1] in tuple("#*_【「[") else len(words) <= 1


def denies(sentence: str, language: Language) -> bool:
    """Whether a stated value is denied behind it, as Turkish, Korean, Hindi and Japanese do."""
    if not language.direct:
        return False
    name = next(name for name, candidate in LANGUAGES.items() if candidate is language)
    return _DENIED[name].search(sentence.lower()) is not None
