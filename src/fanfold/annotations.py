"""Marks for arguments: `unmapped`, `allow_failure`, `quote` and `opaque`."""

from fanfold.engine.marks import BaseAnnotation as BaseAnnotation
from fanfold.engine.marks import allow_failure as allow_failure
from fanfold.engine.marks import opaque as opaque
from fanfold.engine.marks import quote as quote
from fanfold.engine.marks import unmapped as unmapped
