"""BAR and BAR-FSQ (arXiv 2602.09024) in plain PyTorch."""




