"""User-visible workflows, one a file.

Their annotations are evaluated, not postponed: a flow served by `flow.serve` is pickled without the names that stand in strings.
"""
