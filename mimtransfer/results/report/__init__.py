"""The transfer table as one HTML file: numbers, learning curves, costs, pictures and every record; needs no network."""
