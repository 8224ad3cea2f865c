"""All models side by side: read the same scans with each, score them alike, write one page.

data with truth -> readings of each model -> scores and cost -> page, tables. Importing this reads nothing.
"""
