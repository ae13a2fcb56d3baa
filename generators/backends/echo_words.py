# SPDX-License-Identifier: Apache-2.0
"""Small word lists from which the echo backend makes first-person sentences.

No word names an emotion: a sentence made here must pass the gate that looks for the label in the text.
"""

VERBS = (
    "left", "carried", "dropped", "found", "hid", "took", "brought", "saw", "moved", "cleaned", "kept", "gave away",
    "picked up", "put down", "covered", "opened", "mended", "lost", "traded", "packed", "pulled", "washed", "sold",
    "wrapped",
)  # fmt: skip

THINGS = (
    "lantern", "basket", "letter", "blue cup", "blanket", "ladder", "old coat", "bread", "wooden box", "silver coin",
    "kettle", "bucket", "map", "rope", "little bell", "hammer", "book", "candle", "saddle", "iron key", "fishing net",
    "wool", "green bottle", "chair", "broom", "drum", "flour", "boat", "red ribbon", "spade", "mirror", "cart",
)  # fmt: skip

PLACES = (
    "by the gate", "under the bridge", "near the well", "behind the barn", "at the market", "on the stairs",
    "in the kitchen", "beside the river", "across the field", "at the edge of the wood", "in front of the church",
    "next to the stove", "in the garden", "on the hill", "at the harbour", "inside the mill", "along the road",
    "beneath the window", "outside the school", "in the old tower",
)  # fmt: skip

LINKS = ("before", "after", "while", "because", "when", "so", "although", "but")

PEOPLE = (
    "my brother", "my sister", "the baker", "the miller", "our neighbour", "the old woman", "my father", "the captain",
    "my mother", "the teacher", "the shepherd", "my cousin", "the tailor", "the boy", "a stranger", "the guard",
)  # fmt: skip

DEEDS = (
    "came back", "went to town", "closed the door", "asked for it", "walked home", "started to sing",
    "counted the sheep", "lit the fire", "said nothing", "called my name", "needed more time", "turned around",
    "crossed the yard", "looked the other way", "waited for the ferry", "told me the way", "slept through the morning",
    "stood in the rain", "knew the answer", "rang twice", "drank the water", "shook the tree", "read it aloud",
    "rode past us",
)  # fmt: skip

COMMON_CAPITALISED = frozenset({
    "A", "An", "The", "I", "He", "She", "It", "We", "You", "They", "His", "Her", "Its", "Our", "Your", "Their", "This",
    "That", "These", "Those", "There", "Here", "Then", "When", "Where", "Who", "What", "Why", "How", "And", "But", "Or",
    "So", "If", "In", "On", "At", "To", "For", "From", "With", "By", "Of", "As", "Not", "No", "Yes", "All", "Each",
    "Once", "One", "Two", "Write", "Reply", "Answer", "Return", "Give", "List", "Read", "Name", "Do", "Use", "Story",
    "Scene", "Section", "Character", "Characters", "Emotion", "Label", "Text", "JSON", "Rules", "Speaker", "Narrator",
    "Context", "Example", "Task", "Intensity", "Cause", "Language", "Title", "After", "Before", "While", "Only",
    "Never", "Always",
})  # fmt: skip
"""Words that begin a sentence or a heading, so that a capital letter does not make them a name."""
