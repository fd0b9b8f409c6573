"""Colours of classes: the same class has the same colour on every page, and in the order of the app's theme."""

from __future__ import annotations

CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999")
"""Okabe and Ito's colours, told apart with every kind of colour blindness; black, which a dark page swallows, as grey."""
NO_CLASS = "#7A858D"
CIVIDIS = ("#00224E", "#123570", "#3B496C", "#575D6D", "#707173", "#8A8678", "#A59C74", "#C3B369", "#E1CC55", "#FEE838")
"""Evenly spaced stops of matplotlib's cividis: ordered by lightness, the same with red-green blindness."""


def class_colour(label: int) -> str:
    """Colour of a class by its number; a ninth class begins anew, and what has no class is grey."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)] if label >= 0 else NO_CLASS


def ramp(stops: tuple[str, ...], levels: int) -> list[str]:
    """So many colours from the first stop to the last, evenly spaced."""
    rgb = [[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in stops]
    colours: list[str] = []
    for level in range(levels):
        place = level / max(levels - 1, 1) * (len(rgb) - 1)
        low = min(int(place), len(rgb) - 2)
        share = place - low
        mixed = [round(a + share * (b - a)) for a, b in zip(rgb[low], rgb[low + 1], strict=True)]
        colours.append("#" + "".join(f"{value:02X}" for value in mixed))
    return colours
