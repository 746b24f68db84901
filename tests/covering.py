"""Few networks that contain every choice of every decision of a space."""

import numpy as np


def covered_choices(space, tokens):
    """The set of (decision, token) that `tokens` really build: another answer would make another network."""
    architecture = space.decode(tokens)
    return {
        (index, token)
        for index, token in enumerate(tokens)
        if space.num_choices[index] == 1
        or any(
            space.decode((*tokens[:index], other, *tokens[index + 1 :])) != architecture
            for other in range(space.num_choices[index])
            if other != token
        )
    }


def all_choices(space):
    return {(index, token) for index, count in enumerate(space.num_choices) for token in range(count)}


def covering_tokens(space, candidates=20, seed=0):
    """Token tuples whose networks contain each choice of each decision: greedily, the best of some random ones.

    A candidate answers each decision with a choice that is still missing, where there is one.
    """
    generator, missing, chosen = np.random.default_rng(seed), all_choices(space), []
    while missing:
        drawn = []
        for _ in range(candidates):
            open_choices = [[t for t in range(n) if (i, t) in missing] for i, n in enumerate(space.num_choices)]
            options = [wanted or range(n) for wanted, n in zip(open_choices, space.num_choices)]
            drawn.append(tuple(int(generator.choice(each)) for each in options))
        best = max(drawn, key=lambda tokens: len(missing & covered_choices(space, tokens)))
        missing -= covered_choices(space, best)
        chosen.append(best)
    return chosen
