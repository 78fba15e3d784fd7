"""Exercise: write the functions of notebook 3. Replace each ``...``, and then run

python -m impasto.classic.grade exercise.py

Activations are NumPy arrays of shape (1, n_H, n_W, n_C): one picture, height, width, channels.
"""

STYLE_LAYERS = [("relu1_1", 0.2), ("relu2_1", 0.2), ("relu3_1", 0.2), ("relu4_1", 0.2), ("relu5_1", 0.2)]


def compute_content_cost(content_output, generated_output):
    """Compare the last activations of two lists: the sum of squared differences / (4 n_H n_W n_C)."""
    ...  # a_C and a_G: the last element of each list
    ...  # n_H, n_W and n_C: from the shape of a_G
    return ...


def gram_matrix(A):
    """Multiply A, of shape (n_C, n_H * n_W), by its transpose; the result has the shape (n_C, n_C)."""
    return ...


def compute_layer_style_cost(a_S, a_G):
    """Compare two Gram matrices: the sum of squared differences / (4 n_C² (n_H n_W)²)."""
    ...  # unroll a_S and a_G: to (n_H * n_W, n_C), then transpose
    ...  # the Gram matrix of each
    return ...


def compute_style_cost(style_image_output, generated_image_output, STYLE_LAYERS=STYLE_LAYERS):
    """Add up the style costs of all layers except the last, each multiplied by its weight in STYLE_LAYERS."""
    ...  # ignore the last element of each list: the content layer
    return ...


def total_cost(J_content, J_style, alpha=10, beta=40):
    """Multiply the content cost by alpha and the style cost by beta, and add them."""
    return ...
