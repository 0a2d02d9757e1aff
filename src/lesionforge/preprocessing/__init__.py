"""From scan space to model space and back."""
