"""Interfaces of other programs: INetwork's options, TF Hub's calling convention, the deeplearning.ai functions."""
