"""What results can be written with: the values of `result_serializer`.

The names "pickle", "json", "compressed/pickle" and "compressed/json" stand for these classes with
their defaults; any picklable object with `dumps(obj)` and `loads(bytes)` does as well.
"""

from fanfold.engine.results.serializers import CompressedJSONSerializer as CompressedJSONSerializer
from fanfold.engine.results.serializers import (
    CompressedPickleSerializer as CompressedPickleSerializer,
)
from fanfold.engine.results.serializers import CompressedSerializer as CompressedSerializer
from fanfold.engine.results.serializers import JSONSerializer as JSONSerializer
from fanfold.engine.results.serializers import PickleSerializer as PickleSerializer
from fanfold.engine.results.serializers import Serializer as Serializer
