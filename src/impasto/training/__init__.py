"""Training of the networks that impasto uses; the training loops yield every step.

Modules:
    encoder: distillation of the slim encoder from VGG-19.
    style_swap: training of the decoder of the ``instant`` recipe.
    checkpoints: checkpoints and the running average of the parameters.
    crops, drawing, halfpainted: training pictures.
    agreement: how closely a student network agrees with its teacher.
"""
