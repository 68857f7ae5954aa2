"""Five sentences about a synthetic scene, from what is visible in it."""

from __future__ import annotations

import numpy as np

from .canvas import Rendered

__all__ = ["describe_scene"]

_ONE = {
    "airplane": "an airplane",
    "buildings": "a building",
    "cars": "a car",
    "court": "a tennis court",
    "dock": "a dock",
    "mobile-home": "a mobile home",
    "ship": "a boat",
    "tanks": "a storage tank",
    "trees": "a tree",
}
_MANY = {
    "airplane": "airplanes",
    "buildings": "buildings",
    "cars": "cars",
    "court": "tennis courts",
    "dock": "docks",
    "mobile-home": "mobile homes",
    "ship": "boats",
    "tanks": "storage tanks",
    "trees": "trees",
}
_SURFACE = {
    "bare-soil": "bare soil",
    "chaparral": "dry shrubs",
    "field": "farmland",
    "grass": "green grass",
    "pavement": "pavement",
    "sand": "sand",
    "sea": "blue sea",
    "water": "dark water",
}
_NUMBERS = {2: "two", 3: "three", 4: "four"}


def describe_scene(scene: Rendered, phrase: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Five different captions that name only what the image shows, in the plain style of UCM-Captions.

    Args:
        scene: what was rendered; its visible labels and object counts are what is spoken of.
        phrase: what kind of place it is, without article.
        rng: chooses words and the order of sentences.
    """
    labels = scene.labels()
    surfaces = sorted((label for label in labels if label in _SURFACE), key=scene.share, reverse=True)
    things = [label for label in labels if label in _MANY]
    things.sort(key=lambda label: (label in ("trees", "cars"), -scene.share(label)))
    spoken = [_amount(label, scene.objects.get(label, 1), rng) for label in things]
    ground = [_SURFACE[label] for label in surfaces]
    what = spoken + ground
    most = ground[0] if ground else _MANY[things[0]]
    article = "an" if phrase[0] in "aeiou" else "a"
    sentences = [
        f"this is {article} {phrase} .",
        f"{article} {phrase} with {_list(what[:3])} .",
        f"an aerial view of {_list(what[:4])} .",
        f"there {_verb(what[0])} {what[0]} in the {phrase} .",
    ]
    if spoken and ground:
        sentences += [f"{spoken[0]} {_verb(spoken[0])} {rng.choice(['next to', 'beside', 'near'])} {ground[0]} ."]
    if len(spoken) > 1:
        sentences += [
            f"{spoken[0]} and {spoken[1]} can be seen here .",
            f"{spoken[-1]} {_verb(spoken[-1])} around {spoken[0]} .",
        ]
    if len(ground) > 1:
        sentences += [f"{ground[0]} lies beside {ground[1]} .", f"the {phrase} borders on {ground[1]} ."]
    sentences += [
        f"here {_verb(what[0])} {what[0]} seen from above .",
        f"{most} {'cover' if _plural(most) or most in _MANY.values() else 'covers'} most of the image .",
        f"a picture of {article} {phrase} from the air .",
    ]
    distinct = list(dict.fromkeys(sentences))
    chosen = sorted(rng.permutation(len(distinct))[:5])
    return tuple(distinct[i] for i in chosen)


def _amount(label: str, count: int, rng: np.random.Generator) -> str:
    if count <= 1:
        return _ONE[label]
    if count in _NUMBERS and rng.random() < 0.7:
        return f"{_NUMBERS[count]} {_MANY[label]}"
    return f"{rng.choice(['some', 'several'] if count < 8 else ['many', 'lots of'])} {_MANY[label]}"


def _plural(noun: str) -> bool:
    return noun.split()[0] in (*_NUMBERS.values(), "some", "several", "many", "lots", "dry")


def _verb(noun: str) -> str:
    return "are" if _plural(noun) else "is"


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
