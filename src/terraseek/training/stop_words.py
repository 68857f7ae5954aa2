"""English function words: they name nothing that an image shows."""

from __future__ import annotations

__all__ = ["STOP_WORDS"]

# Which words these are is taken from the English list of 179 entries that NLTK distributes (nltk_data,
# corpora/stopwords), an extension of the Snowball project's (https://snowballstem.org, BSD licence): mining concepts as
# KAMCL's published code did needs exactly these. The arrangement by kind is ours. 26 entries with an apostrophe are
# left out because words of captions are cut there; what the cut leaves behind is in the last two groups.
_GROUPS = (
    # pronouns
    "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself "
    "it its itself they them their theirs themselves what which who whom this that these those",
    # verbs
    "am is are was were be been being have has had having do does did doing can will should",
    # articles and conjunctions
    "a an the and but if or because as until while than",
    # prepositions
    "of at by for with about against between into through during before after above below to from up down in out on "
    "off over under",
    # adverbs and quantifiers
    "again further then once here there when where why how all any both each few more most other some such no nor not "
    "only own same so too very just now",
    # cut at the apostrophe: it's, don't, we'd
    "s t d ll m o re ve y",
    "ain aren couldn didn doesn don hadn hasn haven isn ma mightn mustn needn shan shouldn wasn weren won wouldn",
)

STOP_WORDS: frozenset[str] = frozenset(word for group in _GROUPS for word in group.split())
"""Function words of English, lower case, without apostrophes."""
