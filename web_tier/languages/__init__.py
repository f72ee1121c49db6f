"""The language of a request, and what is said in it: messages, sentences of other tiers, and names of labels."""
