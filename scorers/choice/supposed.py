"""Phrases that make a statement a supposition or a possibility, mostly in languages other than English."""

import re
from collections.abc import Sequence

from .grammar import CLOSE, any_of
from .words import phrases

_SEMITIC = re.compile("[\u0590-\u06ff]")
PERHAPS = re.compile(
    r"(?i:\b(?:perhaps|maybe|possibly|conceivably),?\s+(?:(?:the|my|your|correct|right|final|best|that)\s+){0,4})$"
)
"""The same in English, before the word for an answer."""

_IFS = phrases("""
    wenn, falls, sofern, если, якщо, якби, ако, jeśli, jeżeli, gdyby, pokud, jestliže, kdyby, eğer, jika, kalau,
    apabila, sekiranya, seandainya, nếu, εάν, αν, אם, إذا, لو, اگر, यदि, अगर, যদি, ถ้า, หาก, 如果, 假如, 倘若, 要是,
    若, もし, 만약, 만일, indien, hvis, dersom, jos, mikäli, dacă, amennyiben, jei, kui, ef, ikiwa, kung, nëse, če,
    егер, эгер, agar, əgər
""")
_SUPPOSE = phrases("""
    supongamos, suponiendo, suponga, supóngase, asumamos, asumiendo, pongamos, admitamos, suposem, supposons,
    supposant, supposez, à supposer, admettons, imaginons, imaginemos, imaginiamo, immaginiamo, angenommen,
    nehmen wir an, nimm an, nehme man an, gesetzt den fall, unter der annahme, vorausgesetzt, stel dat, veronderstel,
    aangenomen, neem aan, stel, laten we aannemen, supponiamo, supponendo, assumiamo, assumendo, ammettiamo, poniamo,
    ipotizziamo, suponhamos, suponha, supondo, assumindo, assumamos, vamos supor, admitamos, admitindo,
    предположим, предположив, предполагая, допустим, пусть, положим, представим, припустимо, припустімо, нехай,
    załóżmy, załóż, zakładając, przypuśćmy, předpokládejme, předpokládejte, dejme tomu, predpokladajme, anta, antag,
    antar vi, antager vi, låt oss anta, la oss anta, lad os antage, forutsatt, oletetaan, olettaen, tegyük fel,
    feltéve, feltételezzük, să presupunem, presupunând, presupunem, varsayalım ki, farz edelim ki, diyelim ki,
    ας υποθέσουμε, έστω, υποθέστε, נניח, בהנחה, לנניח, لنفترض, نفترض, افترض, بافتراض, فرض کنید, فرض کنیم, मान लीजिए,
    मान लें, मान लो, मानिए, ধরা যাক, ধরুন, misalkan, andaikan, anggap, anggaplah, asumsikan, giả sử, giả thiết, giả định,
    สมมติ, สมมุติ, 假设, 假設, 假定, 设想, 仮に, нека приемем, да предположим, да допуснем, pretpostavimo,
    recimo, predpostavimo, tuseme, chukulia, ipagpalagay, oletame, tarkime, pieņemsim, supozojmë
""")
_PERHAPS = phrases("""
    quizás, quizá, tal vez, a lo mejor, posiblemente, puede que, puede ser que, es posible que, acaso, peut-être,
    peut être, il se peut, il est possible, possiblement, vielleicht, eventuell, möglicherweise, womöglich,
    es kann sein, es könnte sein, kann sein, misschien, mogelijk, wellicht, het kan zijn, forse, può darsi,
    possibilmente, è possibile che, talvez, possivelmente, é possível que, pode ser que, quiçá, возможно,
    может быть, быть может, можливо, може бути, може би, być może, możliwe, možná, snad, možno, azda, kanske,
    möjligen, möjligtvis, kanskje, muligens, måske, muligvis, ehkä, kenties, mahdollisesti, talán, lehet hogy,
    esetleg, posibil, belki, ίσως, πιθανόν, אולי, ייתכן, יתכן, ربما, قد يكون, قد تكون, لعل, من الممكن, شاید,
    ممکن است, शायद, संभव है, हो सकता है, হয়তো, mungkin, barangkali, bisa jadi, có lẽ, biết đâu, บางที, อาจจะ, 也许,
    也許, 或许, 或許, 说不定, 說不定, もしかすると, もしかしたら, ひょっとすると, ひょっとして, 어쩌면, 혹시, labda,
    pengine, baka, potser, možda, morda, võib-olla, galbūt, varbūt, ndoshta
""")
_POSSIBLY = r"(?<![很最极只不尽])(?<!很有)(?<!最有)(?<!更有)可能(?![的性])"
"""The Chinese for "possibly" and not for "most possibly", "only possibly" and "impossible"."""

_AT_ONCE = (
    r"(?i:\b(?:może|poate|có\s+thể)\s|\bmöglich(?:,\s?dass)?\s"
    r"|\b(?:ak|om|ha\s+az?|lehet,\s+hogy(?:\s+az?)?|als\s+(?:het|de))\s(?:\w{1,12}\s){0,2}?)$"
)
"""Words that have other meanings too, unless they directly precede what is supposed."""


def _whole(some: Sequence[str]) -> str:
    """A pattern for any of the phrases; whole words in Hebrew and Arabic too, where short ones are parts of others."""
    semitic = [phrase for phrase in some if _SEMITIC.search(phrase)]
    return rf"(?:{any_of([phrase for phrase in some if phrase not in semitic])}|(?<!\w){any_of(semitic)}(?!\w))"


BEFORE_SUPPOSED = re.compile(
    rf"(?<![Ii]k\s)(?:{_whole(_IFS)}[^,.;!?\n=]{{0,24}}$|(?:{_whole((*_SUPPOSE, *_PERHAPS))}|{_POSSIBLY})"
    rf"[,:]?[^,.:;!?\n=]{{0,28}}$|{_AT_ONCE})"
    r"|(?i:\bs[ie]\s+(?:la|lo|les?|el|il|a|o|l['’])\s?)(?:\w{1,12}\s+){0,2}$|\b(?i:s[ie])\s+$"
)
"""At the end of the text before a statement: it is supposed, or said to be possible."""

_MAY = (
    r"könnte|kann|pourrait|peut|podría|puede|poderia|pode|potrebbe|può|zou\s+kunnen|kan|может|могло|може|może|mógłby"
    r"|mogłaby|může|môže|skulle\s+kunna|saattaa|voi|μπορεί|יכול|יכולה|עשוי|עשויה|قد|يمكن|می‌تواند|có\s+thể|bisa"
)
_ONLY = (
    r"\b(?:nur|que|ne|só|solo|sólo|seul|alleen|slechts|kun|bare|endast|только|лише|tylko|pouze|jen|vain|solamente)\b"
)
_BE = (
    r"sein|lauten|être|ser|estar|essere|zijn|vara|være|быть|бути|być|být|byť|olla|να\s+είναι|להיות|تكون|يكون|أن\s+تكون"
    r"|أن\s+يكون|باشد|là|jadi|adalah"
)
_MAY_BE = re.compile(rf"(?i:(?<!\w)(?:{_MAY})\s+(?:{_BE})(?!\w)|อาจ|(?<!\w)(?:có\s+thể|قد)\s)[^,;:]{{0,16}}$")
_ADVERB = re.compile(rf"(?:{_whole(_PERHAPS)}|{_POSSIBLY})[^,;:]{{0,16}}$")
_ONLY_SO = re.compile(rf"(?i:{_ONLY})")

_BEHIND = re.compile(
    rf"{CLOSE}\s?(?:(?:です|だ|である|なの)?(?:かも|なら|とすると|とすれば|としたら|と仮定|可能性|場合)|だったら|であれば|の(?:場合|可能性)"
    r"|(?:이|일|가|이라)?\s?(?:수도|지도\s?모|라면|라고\s?(?:가정|하면)|가능성)|(?i:(?:ise|olsa|olsaydı|olabilir)\b)"
    r"|的(?:话|話|可能)|हो\s+सकता|हो\s+तो|হতে\s+পারে)"
)


def supposed_before(before: str) -> bool:
    """Whether the text before a statement makes it a supposition."""
    return bool(BEFORE_SUPPOSED.search(before))


_WOULD = re.compile(
    r"(?i)\b(?:would|sería|serait|sarebbe|seria|wäre|byłaby|byłoby|zou|skulle|ville)\b|['’]d\b|был[аио]?\s+бы|会|會"
)
_UNREAL = re.compile(
    r"(?i)(?:^|[\s,])(?:if\b(?!\s+(?:i|we|you|one|it)\s+(?:had\s+to|were)\b).{1,80}?\b(?:were|weren['’]t|wasn['’]t|hadn['’]t|didn['’]t"
    r"|was|had(?!\s+to\b))\b|(?:had|were)\s+(?:the|it|this|that|we|they|there|he|she)\s)"
    r"|(?<!\w)(?:si|se|wenn|если\s+бы|gdyby|als|om|hvis)\s(?!.{0,24}(?:elegir|escoger|choisir|scegliere|escolher|wählen))"
    r"|如果|假如|要是|倘若"
)
_IF_BEHIND = re.compile(
    r"[)\]]?,?\s(?:only\s)?if\s(?!(?:i|we|you|one|it)\s(?:had\sto|were)\b)[^.?!\n]{1,60}?\s(?:were|was|had|weren['’]t|wasn['’]t|hadn['’]t"
    r"|didn['’]t)\b"
)
_WITHOUT = re.compile(r"(?:如果|假如|要是|倘若)(?:没有|不是|沒有|并非)")
_SENTENCE = re.compile(r"[.!?](?=\s)|\n")


def unreal(text: str, place: int, slot: str, end: int) -> bool:
    """Whether a letter is what the answer would be if things were other than they are."""
    sentence = _SENTENCE.split(text[max(0, place - 160) : place])[-1]
    if _WITHOUT.search(sentence):
        return True
    return bool(_WOULD.search(slot) and (_UNREAL.search(sentence) or _IF_BEHIND.match(text, end)))


def possible(slot: str) -> bool:
    """Whether the words between the word for the answer and the letter say no more than that it may be."""
    return bool(_ADVERB.search(slot)) or (bool(_MAY_BE.search(slot)) and not _ONLY_SO.search(slot))


def supposed_behind(text: str, place: int) -> bool:
    """Whether the text after a letter makes it a supposition."""
    return bool(_BEHIND.match(text, place))
