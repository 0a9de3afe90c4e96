"""Words for keys and word lists: adjectives and nouns, 90,000 pairs, and more words than any list needs."""

from collections.abc import Iterator
from math import gcd
from random import Random

from ._haystack.sentences import TOPICS, WORDS

ADJECTIVES = tuple(
    """able absent active adroit aged agile airy alert alike aloof amber ample ancient angular apt arctic ardent arid
    ashen austere autumn avid awake azure balmy bare basic beige blank bleak blithe blond blunt bold bony brave brief
    bright brisk broad bronze brown bulky buoyant burly bushy busy calm candid careful casual central chalky chilly
    choosy civil classic clean clear clever close cloudy coarse cold compact complex cool copper coral cosy crafty
    crisp crooked cubic curly curved daily damp dapper daring dark deep dense dim direct distant docile double dour
    drab dreamy dry dual dull dusky dusty eager early earnest eastern easy elastic elder elegant empty equal exact
    fabled faint fair famous fancy fast feral fertile festive fierce fine firm fixed flaky flat fleet flexible floral
    fluent fond formal fragile frank free fresh frosty frugal full funny fuzzy gallant gaunt gaudy gentle giant giddy
    glad glassy gleaming glossy golden gradual grand grassy grave gray greedy green gritty gruff gusty hairy handy happy
    hardy harsh hasty hazy heavy helpful hidden high hollow homely honest humble humid icy ideal idle indigo inner
    ivory jade jagged jaunty jolly jovial joyful keen kind knotty known lanky large late lavish lazy leafy lean level
    light likely limber linear little lively local lofty lone long loose loud low loyal lucid lucky lunar lush magenta
    main major maroon marine mature meek mellow mighty mild minor mint misty mobile modest moist molten mossy muddy
    mute narrow native neat nimble noble noisy northern novel oaken oblong ochre odd olive open ornate oval pale
    paper patient pearly plain plucky plump polar polite proud prudent pure purple quaint quick quiet rapid rare raw
    ready regal remote rich rigid ripe robust rosy rough round royal ruddy rural rustic rusty""".split()  # noqa: SIM905
)
NOUNS = tuple(dict.fromkeys([*TOPICS, *(word for thing in WORDS["thing"] for word in thing.split()[-1:])]))
PAIRS = len(ADJECTIVES) * len(NOUNS)
RESERVED = 4_096
"""Number of pairs that are asked for and are not in any haystack."""
_STRIDE = next(n for n in range(PAIRS * 6 // 10, PAIRS) if gcd(n, PAIRS) == 1)


def pair(number: int) -> str:
    """The number-th `adjective-noun`; neighbours have nothing in common, none comes twice in PAIRS."""
    adjective, noun = divmod(number * _STRIDE % PAIRS, len(NOUNS))
    return f"{ADJECTIVES[adjective]}-{NOUNS[noun]}"


def keys(random: Random, count: int) -> list[str]:
    """Different pairs that are not in any haystack."""
    return [pair(PAIRS - 1 - i) for i in random.sample(range(RESERVED), count)]


def words_in_order(random: Random) -> Iterator[str]:
    """Words in random order, each once: single ones, then pairs."""
    single = list(dict.fromkeys([*ADJECTIVES, *NOUNS, *WORDS["did"]]))
    random.shuffle(single)
    yield from single
    first = random.randrange(PAIRS)
    for i in range(PAIRS):
        yield pair((first + i) % PAIRS)
