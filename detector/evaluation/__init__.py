"""How good a model is, and how far that is known: data sets with truth, figures with intervals, reports."""
