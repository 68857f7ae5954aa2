"""English words that are no concepts: function words, and words too vague to look for in an image."""

from __future__ import annotations

__all__ = ["CONCEPT_STOP_WORDS", "STOP_WORDS", "VAGUE_WORDS"]

# Which words these are is taken from the English list of 179 entries that NLTK distributes (nltk_data,
# corpora/stopwords), an extension of the Snowball project's (https://snowballstem.org, BSD licence): mining concepts as
# KAMCL's published code did needs exactly these. The arrangement by kind is ours. 26 entries with an apostrophe are
# left out because words of captions are cut there; what the cut leaves behind is in the last two groups.
_FUNCTION_WORDS = (
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

STOP_WORDS: frozenset[str] = frozenset(word for group in _FUNCTION_WORDS for word in group.split())
"""Function words of English, lower case, without apostrophes: all that mining as published leaves out."""

# Chosen by reading every word that captions of UCM-Captions, RSICD and RSITMD agree on, and completed by its kind, so
# that captions of others lose the same. What remains names what can be seen and looked for: things, land cover and land
# use, materials, what something is doing where that shows (parked, docked, flying), and properties that do not depend
# on a comparison. These are shapes, densities (dense, sparse, scattered), states (bare, withered, turbid), and colours:
# they are what distinguishes two roofs, and rarity lets "green" weigh little where everything is green.
_VAGUE_WORDS = (
    # numbers and quantities
    "zero one two three four five six seven eight nine ten eleven twelve twenty hundred hundreds thousand thousands "
    "dozen dozens first second third single double triple twin pair pairs couple half halves",
    "many much several various numerous plenty lot lots amount amounts number numbers total rest whole entire piece "
    "pieces part parts bit group groups bunch series set sets kind kinds sort sorts type types variety every another "
    "others ones either enough else everything something anything nothing thing things object objects item items",
    # sizes, which say nothing without what they are compared with
    "big bigger biggest small smaller large larger little huge vast great giant enormous tiny medium average long "
    "longer short tall high low wide narrow broad thick thin deep shallow size sized sizes length width height "
    "heights depth depths scale scales expanse spacious",
    # likeness and degree
    "like alike identical similar different distinct distinctive unique special typical well quite rather almost "
    "nearly mostly mainly partly totally completely relatively slightly especially respectively also even always "
    "often together alone apart away past yet still however without clearly whose",
    # places within a picture, and relations between what is there
    "near nearby next beside besides behind around among amongst amid amidst along alongside aside across inside "
    "outside within onto toward towards beyond upon per via adjacent opposite close closed far side sides middle "
    "center centers centre centres central corner corners edge edges end ends top bottom left right front back rear "
    "upper lower north south east west direction directions position positions place places placed location located "
    "situated site spot spots section sections area areas region regions zone zones district districts space spaces",
    # how things are lined up; the adverbs of it
    "arranged arrangement orderly order organized neat neatly row rows line lines lined staggered layer layers "
    "regular regularly evenly randomly haphazardly scatteredly dispersedly densely sparsely closely compactly "
    "diagonally vertically horizontally triangularly vertical horizontal distributed distribution concentrated "
    "aligned abreast abreastly",
    # verbs that tie a sentence together
    "surround surrounds surrounded surounded surrounding cover covers covered covering contain contains containing "
    "consist consists consisting compose composes composed comprise comprises constitute constitutes include includes "
    "included including integrated make makes made making form forms formed forming build built constructed planted "
    "divide divides divided separate separates separated connect connects connected connecting cross crosses crossed "
    "merge merged meet meets join joined decorated equipped filled full mixed sandwiched owns owning belong vary "
    "combined enclosed embraced linked intersect intersects intersecting facing occupies used",
    "go goes going come comes coming run runs running pass passes passing lead leads lie lies lying stand stands "
    "standing sit sits sitting put take get keep rise rises stretch stretches stretching extend extends extending "
    "grow grows growing grown grew flourish flow flows flowing throw throws pressed slapping beat beats lay lays laid "
    "resting towering turn turns turning cast packed stayed appeared",
    # talk of the picture itself, and names of properties that leave out the property
    "image picture photo scene scenery view see seen sees look looks looked looking seem seems show shows shown find "
    "found visible color colors colour colours colored coloured shade shades shape shapes shaped pattern patterns "
    "texture textures style styles design composition function way ways structure structures",
    # qualifiers of colours
    "dark light bright pale",
    # judgements, and what a view from above does not tell
    "beautiful good better nice fine grand majestic strange modern standard luxury magnificent spectacular perfect "
    "peaceful quiet busy bustling prosperous convenient clean tidy smart simple complicated complex conspicuous main "
    "important real complete normal old new free open crystal endless unbroken semi",
)

VAGUE_WORDS: frozenset[str] = frozenset(word for group in _VAGUE_WORDS for word in group.split())
"""Words that captions agree on and nobody looks for: quantities, sizes, places in the picture, judgements, ties."""

CONCEPT_STOP_WORDS: frozenset[str] = STOP_WORDS | VAGUE_WORDS
"""What `terraseek.training.knowledge.filtrate` leaves out, beside numbers and single letters."""
