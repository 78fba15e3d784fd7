"""Interfaces of other programs: options of INetwork and neural-doodle, calls of TF Hub, functions of deeplearning.ai."""
