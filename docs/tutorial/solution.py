"""The functions of notebook 3: one solution of exercise.py. It works for NumPy arrays and for torch tensors."""

STYLE_LAYERS = [("relu1_1", 0.2), ("relu2_1", 0.2), ("relu3_1", 0.2), ("relu4_1", 0.2), ("relu5_1", 0.2)]


def compute_content_cost(content_output, generated_output):
    """Compare the last activations of two lists: the sum of squared differences / (4 n_H n_W n_C)."""
    a_C, a_G = content_output[-1], generated_output[-1]
    _, n_H, n_W, n_C = a_G.shape
    return ((a_C - a_G) ** 2).sum() / (4 * n_H * n_W * n_C)


def gram_matrix(A):
    """Multiply A, of shape (n_C, n_H * n_W), by its transpose; the result has the shape (n_C, n_C)."""
    return A @ A.T


def compute_layer_style_cost(a_S, a_G):
    """Compare two Gram matrices: the sum of squared differences / (4 n_C² (n_H n_W)²)."""
    _, n_H, n_W, n_C = a_G.shape
    G_S = gram_matrix(a_S.reshape(n_H * n_W, n_C).T)
    G_G = gram_matrix(a_G.reshape(n_H * n_W, n_C).T)
    return ((G_S - G_G) ** 2).sum() / (4 * n_C**2 * (n_H * n_W) ** 2)


def compute_style_cost(style_image_output, generated_image_output, STYLE_LAYERS=STYLE_LAYERS):
    """Add up the style costs of all layers except the last, each multiplied by its weight in STYLE_LAYERS."""
    pairs = zip(style_image_output[:-1], generated_image_output[:-1], STYLE_LAYERS, strict=True)
    return sum(weight * compute_layer_style_cost(a_S, a_G) for a_S, a_G, (_, weight) in pairs)


def total_cost(J_content, J_style, alpha=10, beta=40):
    """Multiply the content cost by alpha and the style cost by beta, and add them."""
    return alpha * J_content + beta * J_style
