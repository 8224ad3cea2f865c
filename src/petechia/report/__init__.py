"""Reading -> finished files: table, mask, JSON, page. Pure: nothing here touches the disk."""

from petechia.report.dataset import dataset_files
from petechia.report.files import render

__all__ = ["dataset_files", "render"]
