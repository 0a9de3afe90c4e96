"""A small grammar of plain English for haystacks and conversations; nobody has written its sentences before.

Thirteen sentence patterns over lists of words make 5.5 · 10^10 different sentences about each of 214 topics,
so that a text of a million tokens does not repeat itself and two texts about one topic share little else.
"""

import re
from collections.abc import Callable
from random import Random


def _split_words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


TOPICS = _split_words(
    """acorns, anchors, apricots, attics, avalanches, badgers, balconies, bamboo, barley, basalt, beehives,
    bells, bicycles, blackboards, blizzards, bridges, brooms, buckwheat, butterflies, buttons, cacti, canals,
    candles, caravans, carpets, cathedrals, caves, cedars, cellars, cheese, cherries, chimneys, cinnamon,
    clay, clocks, clouds, cobblestones, comets, compasses, coral, cranes, crickets, crossroads, curtains,
    daffodils, dams, deserts, dice, dolphins, doorbells, dragonflies, drums, dunes, eagles, earthquakes,
    echoes, eclipses, elevators, embroidery, envelopes, estuaries, ferns, ferries, fireflies, flutes, fog,
    footbridges, fossils, fountains, foxes, frost, gardens, garlic, gears, geese, geysers, ginger, glaciers,
    glass, gloves, granite, grapevines, gravel, greenhouses, gulls, hail, hammocks, harbours, hawks,
    hedgehogs, herons, hinges, honey, horizons, icebergs, ink, islands, ivy, jasmine, jellyfish, kettles,
    keys, kites, ladders, lagoons, lanterns, lavender, lemons, lentils, levers, lichens, lighthouses, lilacs,
    looms, magnets, mahogany, maps, marble, marshes, meadows, meteors, mills, mirrors, moles, moonlight,
    mortar, moss, moths, mountains, mushrooms, needles, nests, nutmeg, oars, oats, olives, orchards, origami,
    otters, owls, oysters, paddles, paper, parachutes, pebbles, pelicans, pendulums, pepper, piers, pigeons,
    pines, planets, plums, ponds, porcelain, postcards, pulleys, pumpkins, quarries, quartz, quilts, rafts,
    railways, rain, ravines, reefs, rice, ropes, rosemary, rubber, saddles, saffron, sandstone, satellites,
    scarecrows, seals, shadows, shipyards, silk, sledges, snails, sparrows, spiders, springs, staircases,
    starlight, stoves, sundials, swallows, tapirs, tea, telescopes, terraces, thistles, thunder, tides,
    tortoises, trams, tunnels, umbrellas, valleys, vineyards, violins, volcanoes, walnuts, waterfalls, wells,
    whales, wheelbarrows, willows, windmills, wool, yeast, zinc"""
)
WORDS: dict[str, tuple[str, ...]] = {
    "time": _split_words(
        """at dawn, late in the evening, before the first frost, during the long dry summer, on market day, an hour
        after midnight, in the week of the fair, when the bells had stopped, after the second harvest, under a
        pale moon, long ago, the winter before last, on the shortest day of the year, just before noon, as the
        tide went out, once the guests had left, in the spring of that year, on the way home, between two storms,
        while the kettle was boiling, at the end of the month, on a windless afternoon, soon after the election,
        in the last days of autumn"""
    ),
    "place": _split_words(
        """by the old mill, behind the station, on the north shore, under the stone arch, at the edge of the marsh,
        beside the canal, in the upper orchard, near the customs house, along the ridge road, outside the bakery,
        in the cellar of the inn, on the second landing, below the weir, across the square, next to the pump, at
        the foot of the tower, inside the glass pavilion, beyond the allotments, between the two bridges, in the
        shade of the walnut tree, on the roof of the school, at the bend of the river, beneath the viaduct,
        opposite the chapel, in the back of the workshop, over the western pass, at the ferry landing, in a
        corner of the library, among the reeds, on the deck of the barge, close to the border post, in the yard
        of the brewery, at the top of the stairs, on the far side of the lake, past the last farm, in the hall of
        mirrors, by the lighthouse steps, under the market roof, beside the empty fountain, in the attic of the
        museum"""
    ),
    "person": _split_words(
        """the ferryman, the young cartographer, an old schoolmaster, the miller's daughter, the night watchman, a
        travelling dentist, the second violinist, the mayor's cousin, the retired pilot, the beekeeper, a
        visiting botanist, the town clerk, the lighthouse keeper, the apprentice baker, a clockmaker from the
        south, the tallest of the twins, the station master, the widow next door, a quiet geologist, the new
        postman, the captain of the barge, the librarian, a retired judge, the head gardener, the piano tuner, a
        student of law, the glassblower, the harbour pilot, the weaver's brother, a mountain guide, the telegraph
        operator, the innkeeper, a puppeteer, the youngest juror, the carpenter, the bridge engineer, a collector
        of stamps, the shepherd, the chemist, the stonemason"""
    ),
    "did": _split_words(
        """carried, measured, repaired, described, painted, lost, borrowed, weighed, hid, counted, polished,
        sketched, sold, buried, admired, inspected, dropped, wrapped, returned, photographed, forgot, guarded,
        cleaned, exchanged, bought, dismantled, followed, lifted, mended, praised, raised, recognised, rescued,
        sorted, stored, traded, unpacked, watched, wanted, numbered"""
    ),
    "thing": _split_words(
        """lantern, barometer, ledger, copper kettle, rowing boat, wooden crate, telescope, brass key, painted sign,
        wicker basket, sewing machine, folding chair, tin whistle, oak barrel, paper map, iron gate, silver
        spoon, leather satchel, music box, pocket watch, garden bench, signal flag, water pump, pair of scales,
        letter opener, birdcage, cider press, chess board, hourglass, velvet curtain, fishing net, spinning
        wheel, bicycle lamp, stone lion, canvas tent, typewriter, toolbox, candlestick, wheelbarrow, porcelain
        bowl, ladder, sextant, umbrella stand, church bell, snow globe, quill, rain gauge, tea caddy, picture
        frame, anvil, rope bridge, glass float, carpet bag, weather vane, harness, flagpole, sundial, bookcase,
        accordion, mill wheel"""
    ),
    "like": _split_words(
        """faded, heavy, crooked, nameless, gleaming, narrow, borrowed, dusty, forgotten, hollow, priceless, broken,
        blue, silent, curious, rusty, delicate, enormous, half-finished, plain, second, splendid, stolen,
        tattered, unwanted, yellow, well-known, warm, wobbly, green, missing, lopsided, striped, spare, modest,
        polished, sturdy, ancient, famous, odd"""
    ),
    "reason": _split_words(
        """because the river had risen, although nobody had asked, since the road was closed, so that the children
        could sleep, while the others argued about money, as the contract required, because the old roof leaked,
        until the lamp went out, though the price was absurd, in case the inspector came back, because a promise
        is a promise, as if nothing had happened, since there was no wind, before the paint was dry, because the
        train was late again, although it smelled of tar, so that no one would notice, while a band played in the
        rain, as the almanac had foretold, because it was cheaper than rope, until the neighbours complained,
        since winter was near, although two wheels were missing, in spite of the doctor's advice, because the
        recipe was in Latin, so that the debt was paid at last, while snow fell on the scaffolding, since the cat
        would not move, because every cupboard was full, as far as anyone remembers"""
    ),
    "how": _split_words(
        """patiently, without a word, with great care, for a whole week, three times, in secret, by candlelight,
        with a borrowed hammer, against all advice, in broad daylight, with both hands, for the last time, half
        asleep, at a fair price, out of habit, for want of anything better, as a favour, with visible relief,
        rather badly, by mistake"""
    ),
    "number": _split_words(
        """three, four, five, six, seven, eight, nine, ten, eleven, twelve, fourteen, sixteen, twenty, thirty,
        forty, sixty"""
    ),
    "unit": _split_words(
        """pages, parcels, visitors, letters, coins, stones, bottles, sacks, steps, lanterns, songs, planks,
        tickets, loaves, feathers, drawings, jars, miles, questions, witnesses"""
    ),
    "holds": _split_words(
        """mattered more than gold, were never discussed, had a room of their own, were worth the journey, kept the
        whole street awake, seemed smaller than before, were counted twice, came up in every letter, paid for the
        new roof, divided the council, smelled of summer, were the talk of the valley, could not be taxed, were
        drawn in the margin, made the best presents, had to wait, outlived their owners, were blamed for the
        delay, turned up in the accounts, looked different from above"""
    ),
}
PATTERNS = (
    "{time}, {person} {did} the {like} {thing} {place}.",
    "{person} {did} the {like} {thing} {place}, {reason}.",
    "{place} {person} {did} the {thing} {how}, {reason}.",
    "{topic} {holds} {place}, said {person}, and {did} the {thing}.",
    "{person} spoke of {topic} and {did} {number} {unit} {place}.",
    "{time}, the {like} {thing} {place} was full of {topic}, {reason}.",
    "for {number} {unit} {person} {did} the {like} {thing} {how}.",
    "{topic} {holds} {time}, {reason}, and {person} {did} the {thing}.",
    "between the {thing} and the {like} {thing}, {person} {did} some {topic} {how}.",
    "of {number} {unit} about {topic}, {person} {did} only the {like} ones {place}.",
    "{person} and {person} {did} the {thing} {place} {how}.",
    "{reason}, {person} left the {like} {thing} to those who know {topic}.",
    "{time} {person} {did} {number} {unit}, and {place} the {topic} {holds}.",
)
_SLOT = re.compile(r"\{(\w+)\}")
_SHORT = _split_words("too, now, yet, again, then, there, still, once, more, at, all, so, on, and, up, it, a, of")
"""Words that are one token in any vocabulary, for filling a text up to an exact count."""


def sentence(random: Random, topic: str) -> str:
    """One sentence, often about the topic."""
    words = {**WORDS, "topic": (topic,)}
    text = _SLOT.sub(lambda slot: random.choice(words[slot[1]]), random.choice(PATTERNS))
    return text[0].upper() + text[1:]


def pad(text: str, random: Random, missing: Callable[[str], int]) -> str:
    """The text, lengthened by short words before its full stop until `missing` says 0.

    `missing`: how many tokens a text is short of its target. Where words and tokens do not meet, it may stay short by a
    token or two, never long.
    """
    words: list[str] = []
    stem = text.removesuffix(".")
    while (lack := missing(_join(stem, words))) > 0:
        grown = _lengthened(stem, words, lack, random, missing)
        if grown is None:
            break
        words = grown
    return _join(stem, words)


def _lengthened(
    stem: str, words: list[str], lack: int, random: Random, missing: Callable[[str], int]
) -> list[str] | None:
    """More words that bring the text closer to its target, many at a time while it is far off; None if none fit."""
    for count in dict.fromkeys((lack, max(1, lack // 2), 1)):
        for _ in range(4 if count > 1 else 1):
            longer = [*words, *(random.choice(_SHORT) for _ in range(count))]
            if 0 <= missing(_join(stem, longer)) < lack:
                return longer
    for word in random.sample(_SHORT, len(_SHORT)):
        if 0 <= missing(_join(stem, [*words, word])) < lack:
            return [*words, word]
    return None


def _join(stem: str, words: list[str]) -> str:
    return " ".join([stem, *words]) + "."
