"""The journey as a story, and everything that is only true for the story.

Takes: nothing but a machine. Gives: a told story and a table computed from stored events.
Never: anything the product itself needs.
"""
