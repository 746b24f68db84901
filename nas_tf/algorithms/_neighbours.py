"""Tokens near other tokens, and which trials are not beaten: what several algorithms need."""

import numpy as np


def changed(tokens, num_choices, rng, count=1):
    """Returns tokens of which `count` answers, drawn from those that have a choice, are others."""
    is_open = [i for i, choices in enumerate(num_choices) if choices > 1]
    new = list(tokens)
    for place in rng.choice(is_open, min(count, len(is_open)), replace=False) if is_open else ():
        others = [token for token in range(num_choices[place]) if token != tokens[place]]
        new[place] = others[int(rng.integers(len(others)))]
    return tuple(new)


def neighbours(tokens, num_choices):
    """Returns a list of all tokens of which one answer is another."""
    return [
        (*tokens[:place], other, *tokens[place + 1 :])
        for place, choices in enumerate(num_choices)
        for other in range(choices)
        if other != tokens[place]
    ]


def drawn(num_choices, rng):
    """Returns tokens drawn uniformly."""
    return tuple(rng.integers(num_choices).tolist())


def front(accuracies, costs):
    """Returns a list of the indices of those that no other beats in both, the cheapest first."""
    found, best = [], -np.inf
    for index in np.lexsort((-np.asarray(accuracies), costs)):
        if accuracies[index] > best:
            found.append(int(index))
            best = accuracies[index]
    return found


def layers(accuracies, costs):
    """Returns int [n]: 0 for those on the front, 1 for those on the front of the others, and so on (NSGA-II)."""
    accuracies, costs = np.asarray(accuracies, float), np.asarray(costs, float)
    found, left, layer = np.zeros(len(costs), int), np.arange(len(costs)), 0
    while len(left):
        on = left[front(accuracies[left], costs[left])]
        found[on] = layer
        left, layer = np.setdiff1d(left, on), layer + 1
    return found


def facts(trial, cost):
    """Returns the accuracy of a trial and the logarithm of the cost of that name; if it is infeasible, the worst."""
    if trial.measurement is None:
        return 0.0, np.inf
    of = trial.measurement.cost
    figure = of.latency.latency_ms if cost == "latency_ms" else getattr(of, cost)
    return trial.measurement.accuracy, float(np.log(figure))
