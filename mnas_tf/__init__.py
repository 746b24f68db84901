"""Platform-aware search: MnasNet (Tan et al. 2019, arXiv 1807.11626)."""
