"""Keys of values and code; `digests` says what counts, `policies` what a call's key is made of."""

from fanfold.engine.keys.codes import code_digest as code_digest
from fanfold.engine.keys.codes import code_parts as code_parts
from fanfold.engine.keys.digests import KEY_BYTES as KEY_BYTES
from fanfold.engine.keys.digests import digest as digest
from fanfold.engine.keys.digests import encode as encode
from fanfold.engine.keys.parts import digest_in_parts as digest_in_parts
