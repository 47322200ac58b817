"""Text to tree with source positions.

Takes: rule conditions and YAML texts. Gives: trees, and diagnostics with line, column, caret and did-you-mean.
Never: the meaning of fields.
"""
