"""Interfaces of other programs: INetwork's options, TF Hub's calling convention, and the deeplearning.ai functions."""
