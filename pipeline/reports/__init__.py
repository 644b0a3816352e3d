"""Reports: figures with their goals, a page that shows them, and how both are published once.

Begin with `report.py`; `page.py` draws the page, `panel.py` its images, `publish.py` writes all of it. What is measured
is not here: see `evaluation` and `digits`.
"""
