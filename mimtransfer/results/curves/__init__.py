"""Accuracy against what it cost: from the points of a study to a picture and a page. No torch.

    points.py     -> the stored points, checked
    reach.py      -> mean curves, and when each reaches the baseline's final accuracy
    picture.py    -> one SVG
    page.py       -> tables in Markdown
"""
