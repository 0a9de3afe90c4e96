"""A fact in a long text that shares no word with the question about it: one must know what links them.

After NoLiMa (Modarressi et al. 2025, "Long-Context Evaluation Beyond Literal Matching"), whose idea it is that a needle
found by its words says little; facts, questions and haystack are our own, so the figures are not those of the paper.
A `one` hop goes from the fact to what is asked (a landmark to its city), `two` over another step (to its country).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from m1eval import LazySample, Tokenizer

from ._haystack import Needle, PromptFrame, haystack
from ._haystack.corpus import load_corpus
from ._haystack.page_cache import PageCache
from ._haystack.token_counter import TokenCounter, user
from ._lengths import Lengths, lengths_of

HEAD = (
    "Read the following text. Somewhere in it something is said of a person who is named; you will be asked who it is."
    "\n\n<text>\n"
)
TAIL = "</text>\n\n{question} Answer with the name alone."
NAMES = tuple(
    """Adaeze Anselm Bronwyn Calla Dov Elowen Fenna Gideon Halvard Ilse Jorunn Katya Leocadia Mireille Niamh
    Osric Priya Quillon Rashida Soren Tamsin Ulrike Vashti Wilhelmina Xanthe Yusuf Zelda Amaury Benedikt""".split()  # noqa: SIM905
)
MIN_LENGTH = 320


class Link(NamedTuple):
    """A fact about {name}, with its question for one hop and for two."""

    said: str
    one: str
    two: str


LINKS = (
    Link(
        "From the kitchen window {name} can see the Sagrada Família.", "Who lives in Barcelona?", "Who lives in Spain?"
    ),
    Link(
        "Each morning {name} jogs once around the Colosseum.",
        "Who is often to be met in Rome?",
        "Who is often to be met in Italy?",
    ),
    Link(
        "{name} sells postcards at the foot of the Brandenburg Gate.", "Who works in Berlin?", "Who works in Germany?"
    ),
    Link(
        "The balcony of {name} looks out on the Sydney Opera House.",
        "Who lives in New South Wales?",
        "Who lives in the southern hemisphere?",
    ),
    Link(
        "{name} repairs bicycles two streets away from the Rijksmuseum.",
        "Who works in Amsterdam?",
        "Who works in the Netherlands?",
    ),
    Link(
        "On Sundays {name} feeds the pigeons below Big Ben.",
        "Who is often to be met in London?",
        "Who is often to be met in England?",
    ),
    Link(
        "{name} rents a room with a view of the Charles Bridge and Hradčany.",
        "Who lives in Prague?",
        "Who lives in the Czech Republic?",
    ),
    Link(
        "{name} guards the entrance of the Hermitage at night.",
        "Who works in Saint Petersburg?",
        "Who works in Russia?",
    ),
    Link("It takes {name} five minutes on foot to the Taj Mahal.", "Who lives in Agra?", "Who lives in India?"),
    Link("{name} teaches at a school beside the Acropolis.", "Who works in Athens?", "Who works in Greece?"),
    Link(
        "A glass of milk makes {name} ill for the rest of the day.",
        "Who is lactose intolerant?",
        "Who had better not order a cheese fondue?",
    ),
    Link("For years {name} has touched neither meat nor fish.", "Who is a vegetarian?", "Who would send a steak back?"),
    Link(
        "Without a syringe of insulin in the bag {name} does not go out.",
        "Who has diabetes?",
        "Who must keep an eye on sugar?",
    ),
    Link(
        "{name} tells red traffic lights from green ones by their place alone.",
        "Who is colour-blind?",
        "Who could not become an airline pilot, because of the eyes?",
    ),
    Link(
        "{name} keeps a Stradivarius in a velvet case and tunes it at six.",
        "Who plays the violin?",
        "Who could join a string quartet?",
    ),
    Link(
        "{name} reads with the fingertips, from dots on thick paper.", "Who is blind?", "Who walks with a white cane?"
    ),
)


def haystacks(
    *,
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    hops: Sequence[str],
    samples: int,
    corpus: str = "story",
    corpus_revision: str | None = None,
) -> Iterator[LazySample]:
    """`samples` facts for each length and number of hops, at depths spread evenly; the answer is the person's name."""
    counter = TokenCounter(tokenizer)
    cache = PageCache(load_corpus(corpus, corpus_revision), counter)
    if unknown := set(hops) - {"one", "two"}:
        raise ValueError(f"hops are 'one' and 'two', not '{min(unknown)}'")
    for length in lengths_of(lengths, tokenizer):
        if length < MIN_LENGTH:
            raise ValueError(f"a haystack needs a length of at least {MIN_LENGTH} tokens, not {length}")
        for i in range(samples):
            for hop in hops:
                depth = 100 * i / (samples - 1) if samples > 1 else 50.0
                build = partial(_row, counter, cache, f"{seed}/nolima/{length}/{i}", length, depth, hop)
                columns = {"length": length, "depth": depth, "hops": hop}
                yield LazySample(
                    id=f"{length}-{hop}-{i + 1}", build=build, prefix_key=f"{length}-{i + 1}", columns=columns
                )


def _row(counter: TokenCounter, cache: PageCache, seed: str, length: int, depth: float, hop: str) -> dict[str, Any]:
    random = Random(f"{seed}/fact")
    link, name = random.choice(LINKS), random.choice(NAMES)
    tail = TAIL.format(question=link.two if hop == "two" else link.one)
    needle = Needle(link.said.format(name=name), depth)
    hay = haystack(counter, cache, length=length, frame=PromptFrame(HEAD, [tail]), needles=[needle], seed=seed)
    return {
        "messages": [user(f"{HEAD}{hay.text}{tail}")],
        "answer": name,
        "hops": hop,
        "length": length,
        "depth": round(depth, 1),
        "tokens": hay.tokens,
    }
