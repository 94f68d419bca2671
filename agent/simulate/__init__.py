"""Rendered surfaces, cracks and flights with known truth. numpy and OpenCV only; one seed gives every picture."""
