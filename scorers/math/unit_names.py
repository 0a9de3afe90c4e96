"""The closed table of units: symbols, words, prefixes and currencies, each with the name that pint knows it by."""

import re
from functools import cache

_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega", "k": "kilo",
    "m": "milli",
    "μ": "micro", "u": "micro", "n": "nano", "p": "pico", "f": "femto", "c": "centi", "d": "deci", "h": "hecto",
}  # fmt: skip
_ONLY_FOR = {"c": {"m", "L", "l"}, "d": {"m", "L", "l", "B"}, "h": {"Pa", "m"}}
"""Prefixes that are in use with few units; with others they would make units of ordinary letters."""
_SYMBOLS = {
    "m": "meter", "g": "gram", "s": "second", "A": "ampere", "K": "kelvin", "mol": "mole", "cd": "candela",
    "Hz": "hertz",
    "N": "newton", "Pa": "pascal", "J": "joule", "W": "watt", "C": "coulomb", "V": "volt", "F": "farad", "Ω": "ohm",
    "S": "siemens", "Wb": "weber", "T": "tesla", "H": "henry", "lm": "lumen", "lx": "lux", "Bq": "becquerel",
    "Gy": "gray",
    "Sv": "sievert", "L": "liter", "l": "liter", "ℓ": "liter", "eV": "electron_volt", "cal": "calorie", "bar": "bar",
    "M": "molar", "pc": "parsec", "Wh": "watt_hour", "B": "byte", "Da": "dalton", "ohm": "ohm", "Ci": "curie",
    "molar": "molar", "mole": "mole", "bit": "bit", "sec": "second",
}  # fmt: skip
_FIXED = {
    "min": "minute", "h": "hour", "hr": "hour", "d": "day", "wk": "week", "yr": "year", "in": "inch", "ft": "foot",
    "yd": "yard", "mi": "mile", "nmi": "nautical_mile", "lb": "pound", "lbs": "pound", "oz": "ounce", "t": "metric_ton",
    "ha": "hectare", "gal": "gallon", "qt": "quart", "pt": "pint", "mph": "mile_per_hour", "kph": "kilometer_per_hour",
    "kmph": "kilometer_per_hour",
    "kmh": "kilometer_per_hour", "atm": "atmosphere", "mmHg": "millimeter_Hg", "torr": "torr", "Torr": "torr",
    "psi": "pound_force_per_square_inch", "erg": "erg", "dyn": "dyne", "Å": "angstrom", "u": "dalton", "amu": "dalton",
    "rad": "radian", "sr": "steradian", "°": "degree", "deg": "degree", "°C": "degC", "°F": "degF", "°K": "kelvin",
    "℃": "degC", "℉": "degF", "AU": "astronomical_unit", "ly": "light_year", "%": "percent", "dB": "decibel",
    "hp": "horsepower", "cc": "milliliter", "kt": "knot", "ppm": "ppm", "lbf": "force_pound", "BTU": "Btu",
    "Btu": "Btu", "kgf": "kilogram_force", "rev": "revolution", "Oe": "oersted",
}  # fmt: skip
_WORDS = {
    "meter": "meter", "metre": "meter", "gram": "gram", "gramme": "gram", "second": "second", "minute": "minute",
    "hour": "hour", "day": "day", "week": "week", "month": "month", "year": "year", "inch": "inch", "foot": "foot",
    "feet": "foot", "yard": "yard", "mile": "mile", "liter": "liter", "litre": "liter", "joule": "joule",
    "newton": "newton", "watt": "watt", "volt": "volt", "ampere": "ampere", "amp": "ampere", "ohm": "ohm",
    "coulomb": "coulomb", "hertz": "hertz", "pascal": "pascal", "kelvin": "kelvin", "degree": "degree",
    "radian": "radian", "steradian": "steradian", "mole": "mole", "molar": "molar", "pound": "pound", "ounce": "ounce",
    "ton": "ton", "tonne": "metric_ton", "gallon": "gallon", "quart": "quart", "pint": "pint", "cup": "cup",
    "acre": "acre", "hectare": "hectare", "calorie": "calorie", "atmosphere": "atmosphere", "angstrom": "angstrom",
    "ångström": "angstrom", "parsec": "parsec", "byte": "byte", "bit": "bit", "farad": "farad", "henry": "henry",
    "tesla": "tesla", "siemens": "siemens", "weber": "weber", "candela": "candela", "lumen": "lumen", "lux": "lux",
    "becquerel": "becquerel", "gray": "gray", "sievert": "sievert", "electronvolt": "electron_volt", "knot": "knot",
    "lightyear": "light_year", "percent": "percent", "pct": "percent", "celsius": "degC", "fahrenheit": "degF",
    "revolution": "revolution", "decibel": "decibel", "centigrade": "degC", "horsepower": "horsepower",
    "hrs": "hour", "mins": "minute", "secs": "second", "yrs": "year", "arcminute": "arcminute",
    "arcsecond": "arcsecond", "watthour": "watt_hour",
}  # fmt: skip
_LONG_PREFIXES = ("kilo", "mega", "giga", "tera", "milli", "micro", "nano", "pico", "femto", "centi", "deci", "hecto")
_FOREIGN = {
    "米": "meter", "公尺": "meter", "厘米": "centimeter", "公分": "centimeter", "毫米": "millimeter",
    "公里": "kilometer",
    "千米": "kilometer", "秒": "second", "分钟": "minute", "分鐘": "minute", "小时": "hour", "小時": "hour",
    "天": "day",
    "克": "gram", "公克": "gram", "千克": "kilogram", "公斤": "kilogram", "毫克": "milligram", "升": "liter",
    "公升": "liter", "毫升": "milliliter", "度": "degree", "牛": "newton", "牛顿": "newton", "焦耳": "joule",
    "焦": "joule", "瓦": "watt", "伏": "volt", "伏特": "volt", "安": "ampere", "安培": "ampere", "欧姆": "ohm",
    "摄氏度": "degC", "時間": "hour", "分間": "minute", "秒間": "second", "メートル": "meter",
    "センチメートル": "centimeter", "キロメートル": "kilometer", "グラム": "gram", "キログラム": "kilogram",
    "リットル": "liter", "미터": "meter", "센티미터": "centimeter", "킬로미터": "kilometer", "그램": "gram",
    "킬로그램": "kilogram", "시간": "hour", "분": "minute", "초": "second", "도": "degree", "см": "centimeter",
    "м": "meter", "мм": "millimeter", "км": "kilometer", "кг": "kilogram", "г": "gram", "с": "second", "мин": "minute",
    "ч": "hour", "л": "liter", "мл": "milliliter", "Н": "newton", "Дж": "joule", "Вт": "watt", "В": "volt",
    "А": "ampere", "Ом": "ohm", "Па": "pascal", "Гц": "hertz", "метров": "meter", "метра": "meter", "метр": "meter",
    "часов": "hour", "часа": "hour", "час": "hour", "минут": "minute", "секунд": "second", "градусов": "degree",
    "Grad": "degree", "grado": "degree", "grados": "degree", "degré": "degree", "degrés": "degree", "grau": "degree",
    "graus": "degree", "gradi": "degree", "graden": "degree", "stopni": "degree", "derece": "degree",
    "Stunde": "hour", "Stunden": "hour", "heure": "hour", "heures": "hour", "hora": "hour", "horas": "hour",
    "uur": "hour", "Minute": "minute", "Minuten": "minute", "minuto": "minute",
    "minutos": "minute", "minuti": "minute", "Sekunde": "second", "Sekunden": "second", "seconde": "second",
    "secondes": "second", "segundo": "second", "segundos": "second", "secondi": "second", "metro": "meter",
    "metros": "meter", "mètre": "meter", "mètres": "meter", "Kilometer": "kilometer", "kilómetros": "kilometer",
    "quilômetros": "kilometer", "kilomètres": "kilometer", "Liter": "liter", "litro": "liter", "litros": "liter",
}  # fmt: skip
MONEY = {
    "$": "$", "USD": "$", "dollar": "$", "dollars": "$", "US": "$", "bucks": "$", "€": "€", "EUR": "€", "euro": "€",
    "euros": "€", "£": "£", "GBP": "£", "¥": "¥", "CNY": "¥", "RMB": "¥", "yuan": "¥", "元": "¥", "人民币": "¥",
    "￥": "¥",
    "円": "¥", "JPY": "¥", "yen": "¥", "₹": "₹", "INR": "₹", "rupee": "₹", "rupees": "₹", "Rs": "₹", "₩": "₩",
    "원": "₩", "KRW": "₩", "won": "₩", "₽": "₽", "RUB": "₽", "rubles": "₽", "руб": "₽", "рублей": "₽", "₺": "₺",
    "₫": "₫",
    "CHF": "CHF", "₱": "₱", "₪": "₪", "CAD": "CAD", "AUD": "AUD",
}  # fmt: skip
_NUMBER_WORDS = (
    r"hundreds?|thousands?|[mbtr]illions?|dozens?|scores?|gross|hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|sixths?"
    r"|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|squared|cubed|factorial|repeating|recurring|repeated|inverse"
    r"|imaginary|choose|pi|tau|root|power|sqrt|infinity|modulo|mod|тысяч\w*|миллион\w*|mille|millones|tausend|millionen?|cien"
    r"|lakhs?|crores?|fold"
)
"""Words after a number that make another number of it."""
NUMBER_WORDS = re.compile(rf"\b(?:{_NUMBER_WORDS})\b", re.IGNORECASE)
NOT_COUNTED = re.compile(
    rf"(?:{_NUMBER_WORDS}|base|or|and|not|no|nor|if|when|where|for|with|is|are|as|to|at|from|more|less|than|over|plus|minus"
    r"|divided|multiplied|even|odd|integers?|primes?|positive|negative|real|any|all|each|every|sin|cos|tan|cot|sec|csc|log|ln"
    r"|exp|phi|psi|theta|alpha|beta|gamma|delta|inf|infty|only|approximately|about|respectively|otherwise|binary|octal"
    r"|decimal|hex|hexadecimal|wrong|correct|but|because|since|so|then|thus|undefined|unless|except|in|on|by|bar|maybe|perhaps"
    r"|probably|point|st|nd|rd|th|undef|units?|never|false|true|none|either)",
    re.IGNORECASE,
)


@cache
def name_of(word: str) -> str | None:
    """pint's name of a symbol or word of the table, prefixes included; None if it is not in the table."""
    for table in (_FIXED, _SYMBOLS, _FOREIGN):
        if word in table:
            return table[word]
    for long in (1, 2):
        prefix, symbol = word[:long], word[long:]
        if prefix in _PREFIXES and symbol in _SYMBOLS and symbol in _ONLY_FOR.get(prefix, {symbol}):
            return _PREFIXES[prefix] + _SYMBOLS[symbol]
    small = word.lower()
    for form in (small, small.removesuffix("s"), small.removesuffix("es")):
        if form in _WORDS:
            return _WORDS[form]
        for prefix in _LONG_PREFIXES:
            if form.startswith(prefix) and form.removeprefix(prefix) in _WORDS:
                return prefix + _WORDS[form.removeprefix(prefix)]
    return None
