# SPDX-License-Identifier: Apache-2.0
"""What readers are calibrated against: lines that everybody says and that carry no emotion in particular."""

EVERYDAY = (
    "I left the keys on the table.", "Can you pass me the salt?", "We are going to the shop later.",
    "It rained all morning.", "He works at a bank in the city.", "I think the meeting is at three.",
    "She told me about the new house.", "What time does the train leave?", "They moved here two years ago.",
    "I had soup for lunch.", "You should ask someone else about that.", "There is a dog in the yard.",
    "My brother plays football on Sundays.", "I do not know the answer.", "The film starts at eight.",
    "He said he would call back.", "Put the box next to the door.", "I have to work tomorrow.",
    "We talked for an hour.", "That is what they said on the news.", "I read the book last summer.",
    "Please send me the address.", "The car is parked around the corner.", "It was a long day.",
    "She never told anyone about it.", "Look at what he brought home!", "Why would anyone do that?",
    "I can't find my phone.", "You did it again.", "We won the game last night.", "He broke the window.",
    "Nobody came to the door.", "I am going to bed now.", "They have two children.",
    "This is the third time this week.", "Let me see the letter.",
)  # fmt: skip
"""For an encoder: how near a label lies to any line at all."""

CONTENT_FREE = (
    "N/A", "[MASK]", "...", "I said it.", "It rained all morning.", "He works at a bank in the city.",
    "What time does the train leave?", "She never told anyone about it.",
)  # fmt: skip
"""For a Chat model: which answer it tends to whatever the line is. The first three are those of Zhao et al. 2021; the
others keep the form of speech."""
