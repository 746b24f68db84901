"""Cell search: NASNet (Zoph et al. 2018, arXiv 1707.07012)."""
