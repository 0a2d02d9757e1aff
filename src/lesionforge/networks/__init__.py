"""Plain modules, 2D and 3D through `spatial_dims`."""
