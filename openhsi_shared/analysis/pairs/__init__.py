"""Ready pairs of worker and reducer, each an example to copy.

Their results do not depend on the number of workers, nor on the order of results. Formulas are those of jobs' stages.
"""
